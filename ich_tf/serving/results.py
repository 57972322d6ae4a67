"""A finished study as a table."""

from __future__ import annotations

from ich_tf.inference.prediction.series_summary import csv_line
from ich_tf.labels import CLASSES
from ich_tf.serving.studies import Study


def results_csv(study: Study) -> str:
    """A row a slice: its series and its place in it, both from 0, and six probabilities."""
    lines = [csv_line(("series", "slice", "z_mm", *CLASSES))]
    for series, found in enumerate(study.series):
        rows = zip(found.z_mm, found.probabilities, strict=True)
        for number, (z_mm, row) in enumerate(rows):
            lines.append(csv_line((series, number, repr(z_mm), *map(repr, row))))
    return "".join(lines)
