"""The level at which exams are judged, and the known labels of one class."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from ich_tf.inference.postprocessing.aggregation import SERIES_MAX, SERIES_MODEL, Scored
from ich_tf.labels.classes import POSITIVE_SHARE

__all__ = ["SERIES_MAX", "exam_level", "known_examples"]


def exam_level(levels: Container[str]) -> str:
    """The level of exams: a model's that reads whole series, else the greatest of the slices."""
    return SERIES_MODEL if SERIES_MODEL in levels else SERIES_MAX


def known_examples(scored: Scored, column: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and patients of the examples whose label of a class is known.

    Args:
      scored: Examples of a level; unknown labels are NaN.
      column: Number of the class.

    Returns:
      Labels, int64 [k], 0 or 1; probabilities, float64 [k]; patient keys [k].
    """
    labels = np.asarray(scored.labels)[:, column]
    known = ~np.isnan(labels)
    truth = (labels[known] >= POSITIVE_SHARE).astype(np.int64)
    return truth, scored.probabilities[known, column], np.asarray(scored.patients)[known]
