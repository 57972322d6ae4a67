"""What is said of each series: a row of a CSV for people, an object of a JSON file for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.inference.postprocessing.aggregation import (
    SERIES_MODEL,
    SLICE,
    max_probability,
    noisy_or,
)
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, POINTS, Postprocessing
from ich_tf.inference.prediction.store import StoredPrediction
from ich_tf.labels import CLASSES
from ich_tf.runtime.files import write_parts

SERIES_LEVEL = "series_max"


def write_series_csv(
    path: Path, members_of_series: Iterable[Sequence[StoredPrediction]], after: Postprocessing
) -> int:
    """A row a series: its length, each class's greatest probability, the slice of it, a decision.

    `slice_<class>` counts from 0 along the series' normal; `<class>_decision` is 1 at or above
    Youden's point for series, empty where there is none. `<class>_series` is what a series model
    says of the series as a whole, empty of other models.

    Returns:
      The number of series.
    """
    number = 0
    columns = ["study_id", "series_id", "num_slices"]
    for name in CLASSES:
        columns += [name, f"slice_{name}", f"{name}_decision", f"{name}_series"]

    def lines() -> Iterator[str]:
        nonlocal number
        yield csv_line(columns)
        for members in members_of_series:
            number += 1
            header, whole = members[0].header, members[0].whole
            row: list[Any] = [header.study_id, header.series_id, len(members)]
            probabilities = np.stack([one.values for one in members])
            for i, name in enumerate(CLASSES):
                greatest = float(probabilities[:, i].max())
                row += [repr(greatest), int(probabilities[:, i].argmax())]
                row.append(_decision(greatest, after.threshold(SERIES_LEVEL, name)))
                row.append("" if whole is None else repr(float(whole[i])))
            yield csv_line(row)

    write_parts(path, lines())
    return number


def write_series_json(
    path: Path,
    members_of_series: Iterable[Sequence[StoredPrediction]],
    names: Sequence[str],
    after: Postprocessing,
    *,
    model_sha256: str,
    prevalence: float,
) -> None:
    """An object: `model`, how probabilities were made, and `series` with their slices in order.

    Args:
      path: The file to write.
      members_of_series: In the order of the body.
      names: Of the files, by `StoredPrediction.source`.
      after: What made the probabilities.
      model_sha256: Of the model.
      prevalence: That the probabilities were moved to; 0 for none.
    """
    about = {
        "model": {"sha256": model_sha256, "postprocessing": after.describe()},
        "prevalence": prevalence or None,
        "classes": list(CLASSES),
        "operating_points": {
            level: {rule: after.thresholds.get(level, {}).get(rule, {}) for rule in POINTS}
            for level in (SLICE, SERIES_LEVEL, SERIES_MODEL)
        },
        "note": "Research only. Not for clinical use.",
    }

    def parts() -> Iterator[str]:
        yield json.dumps(about)[:-1] + ', "series": ['
        separator = "\n"
        for members in members_of_series:
            yield separator + json.dumps(_series(members, names, after))
            separator = ",\n"
        yield "\n]}\n"

    write_parts(path, parts())


def csv_line(row: Sequence[Any]) -> str:
    """A row as a line of a CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(row)
    return buffer.getvalue()


def _series(
    members: Sequence[StoredPrediction], names: Sequence[str], after: Postprocessing
) -> dict[str, Any]:
    header, whole = members[0].header, members[0].whole
    probabilities = np.stack([one.values for one in members])
    return {
        "study_id": header.study_id,
        "series_id": header.series_id,
        **summarize(probabilities, whole, after),
        "slices": [
            {
                "image_id": one.image_id,
                "file": names[one.source].encode("utf-8", "backslashreplace").decode(),
                "frame": one.header.frame or None,
                "z_mm": one.z_mm,
                "probabilities": _by_class(one.values),
            }
            for one in members
        ],
    }


def summarize(
    probabilities: np.ndarray, whole: np.ndarray | None, after: Postprocessing
) -> dict[str, dict[str, float] | dict[str, bool | None] | None]:
    """What is said of a series as a whole, by class.

    Args:
      probabilities: Of its slices, [n, 6].
      whole: Of a series model, [6], or None.
      after: Whose operating point for series decides.
    """
    return {
        "max": _by_class(max_probability(probabilities)),
        "noisy_or": _by_class(noisy_or(probabilities)),
        "series_model": None if whole is None else _by_class(whole),
        "decisions": {
            name: None if threshold is None else bool(probabilities[:, i].max() >= threshold)
            for i, name in enumerate(CLASSES)
            for threshold in (after.threshold(SERIES_LEVEL, name, DEFAULT_POINT),)
        },
    }


def _decision(probability: float, threshold: float | None) -> str:
    return "" if threshold is None else str(int(probability >= threshold))


def _by_class(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}
