"""Labels of an exam, which is a series: those that were given, or what its slices' labels tell."""

from __future__ import annotations

import numpy as np


def exam_of_slices(labels: np.ndarray) -> np.ndarray:
    """Labels of an exam by those of its slices.

    A class is present if a slice has it, and absent if every slice is known to be without it: one
    slice of which nothing is known leaves the question open.

    Args:
      labels: 0 or 1, or NaN where unknown, of all slices of the exam, [n, 6].

    Returns:
      0 or 1, or NaN where unknown, float32 [6].

    Examples:
      >>> nan = np.nan
      >>> exam_of_slices(np.array([[1, 0, nan, 0, 0, 1], [nan, 0, 0, 0, 0, nan]])).tolist()
      [1.0, 0.0, nan, 0.0, 0.0, 1.0]
    """
    labels = np.asarray(labels, np.float32)
    present = (labels == 1).any(axis=0)
    absent = (labels == 0).all(axis=0) if len(labels) else np.zeros_like(present)
    return np.where(present, 1, np.where(absent, 0, np.nan)).astype(np.float32)
