"""Exams: the labels that each slice's series has as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.records.exam_labels import exam_of_slices


def exams_of(
    labels: np.ndarray,
    series: Sequence[str],
    given: np.ndarray | None = None,
    levels: Sequence[str] = (),
) -> tuple[np.ndarray, list[str]]:
    """Labels of each slice's exam: those that were given, or what its slices' labels tell.

    Args:
      labels: Labels of the slices, [n, 6], 0 or 1, or NaN where unknown.
      series: Series key of each slice, [n].
      given: Given labels of each slice's exam, [n, 6], in [0, 1] or NaN; None for none.
      levels: Level of each slice's given labels, [n], empty where there are none.

    Returns:
      Labels of the exams, float32 [n, 6], NaN where unknown; and their levels, [n].

    Examples:
      >>> labels = np.array([[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]])
      >>> exams, levels = exams_of(labels, ["a", "a"])
      >>> exams.tolist() == [[0, 1, 0, 0, 0, 1]] * 2, levels
      (True, ['slice', 'slice'])
    """
    exams = np.full((len(labels), len(CLASSES)), np.nan, np.float32)
    if given is not None:
        exams[:] = given
    found = list(levels) or [""] * len(labels)
    for rows in rows_of(series).values():
        if found[rows[0]]:
            continue
        of_slices = exam_of_slices(labels[rows])
        exams[rows] = of_slices
        if not np.isnan(of_slices).all():
            for row in rows.tolist():
                found[row] = "slice"
    return exams, found


def join_exams(labels: np.ndarray) -> np.ndarray:
    """Labels of several exams together, such as a patient's.

    Args:
      labels: Labels of the exams, [m, 6], in [0, 1] or NaN where unknown.

    Returns:
      The greatest of each class, float32 [6]. It is NaN where one is unknown and no other is
      positive: the unknown one may be.
    """
    known = ~np.isnan(labels)
    most = np.where(known, labels, -1).max(axis=0)
    told = known.all(axis=0) | (most >= POSITIVE_SHARE)
    return np.where(told, most, np.nan).astype(np.float32)
