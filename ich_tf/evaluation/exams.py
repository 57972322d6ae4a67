"""Exams: a table of their labels and probabilities, and what an evaluation says of their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import max_probability
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE


def exams_table(
    predictions: SlicePredictions, probabilities: np.ndarray, whole: np.ndarray | None
) -> pd.DataFrame:
    """Makes a table with a row for each exam, which is a series.

    Columns are ids, the level of the labels, labels (`label_any`, ...), empty where unknown, and
    probabilities (`any`, ...).

    Args:
      predictions: Predictions for n slices.
      probabilities: Probabilities of the slices, [n, 6].
      whole: Probabilities of each slice's series by a series model, [n, 6]; None without one, which
        makes the greatest of its slices the exam's.
    """
    groups = list(rows_of(predictions.series_key).values())
    first = [rows[0] for rows in groups]
    if whole is None:
        pooled = np.stack([max_probability(probabilities[rows]) for rows in groups])
    else:
        pooled = whole[first]
    columns: dict[str, Any] = {
        "series_key": [predictions.series_key[row] for row in first],
        "patient_key": [predictions.patient_key[row] for row in first],
        "label_level": [predictions.label_level[row] for row in first],
    }
    for i, name in enumerate(CLASSES):
        columns[f"label_{name}"] = label_column(predictions.exam_labels[first, i])
    for i, name in enumerate(CLASSES):
        columns[name] = pooled[:, i]
    return pd.DataFrame(columns)


def label_column(labels: np.ndarray) -> Any:
    """A column of labels, [n]: whole numbers where they are, and empty where unknown."""
    known = ~np.isnan(labels)
    if (labels[known] % 1 == 0).all():
        whole = np.where(known, labels, 0).astype(np.int64)
        return whole if known.all() else pd.arrays.IntegerArray(whole, ~known)
    return np.asarray(labels, np.float64).round(6)


def describe_exams(predictions: SlicePredictions) -> dict[str, Any]:
    """What is known of a split's exams, for people; empty where all slices are labelled.

    Returns:
      `levels`: level -> number of exams with labels of it; `known`, `positives`: class -> number of
      exams of which it is known, and which have it; `labelled_slices`: number of slices with a
      label of their own.
    """
    if not np.isnan(predictions.labels).any() and set(predictions.label_level) == {"slice"}:
        return {}
    first = [rows[0] for rows in rows_of(predictions.series_key).values()]
    labels = predictions.exam_labels[first]
    return {
        "levels": dict(Counter(predictions.label_level[row] or "unknown" for row in first)),
        "known": dict(zip(CLASSES, (~np.isnan(labels)).sum(axis=0).tolist(), strict=True)),
        "positives": dict(
            zip(CLASSES, (labels >= POSITIVE_SHARE).sum(axis=0).tolist(), strict=True)
        ),
        "labelled_slices": int((~np.isnan(predictions.labels)).any(axis=1).sum()),
    }


def exam_lines(exams: Mapping[str, Any], noun: str) -> list[str]:
    """Describes what `describe_exams` found, in lines of text.

    Args:
      exams: Its result, not empty.
      noun: What the main scores are of, `slices` or `exams`.
    """
    levels = ", ".join(f"{number} of {level}" for level, number in exams["levels"].items())
    lines = [f"labels of exams, by level: {levels}; {exams['labelled_slices']} labelled slices"]
    if noun == "exams":
        lines.append("no slice is labelled: the scores below are of exams")
    return lines
