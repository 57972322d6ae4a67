"""Threshold of masks: the one at which predicted volumes are right on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.voxel_grid import grid_of


def volumes_at(
    probability: ArrayLike, spacing_mm: Sequence[ArrayLike], thresholds: ArrayLike
) -> np.ndarray:
    """Computes the volume of one class in a series at each of many thresholds.

    Args:
      probability: Probability, or another score without NaN, of each voxel,
        [slices, rows, columns].
      spacing_mm: Distance in mm between slices, between rows, between columns. In place of the
        first, the distances between neighbouring slices, [slices - 1], where they vary.
      thresholds: Thresholds [t], rising; a score at or above one is marked.

    Returns:
      Volumes in ml, float64 [t].

    Raises:
      ValueError: If a value is NaN, the thresholds do not rise, or the spacing does not fit.

    Examples:
      >>> import numpy as np
      >>> probability = np.linspace(0, 0.999, 1000).reshape(1, 10, 100)
      >>> volumes_at(probability, (5, 1, 1), [0.25, 0.5, 0.75]).tolist()
      [3.75, 2.5, 1.25]
    """
    score = np.asarray(probability)
    ends = _check_thresholds(thresholds)
    if score.ndim != 3:
        raise ValueError(f"probability has shape {score.shape}; expected (slices, rows, columns).")
    if np.isnan(score).any():
        raise ValueError(f"probability has {int(np.isnan(score).sum())} NaN values.")
    if np.issubdtype(score.dtype, np.floating):
        # As in `probability >= threshold`, which compares in the array's own precision.
        ends = ends.astype(score.dtype)
    slices, rows, columns = grid_of(score.shape, spacing_mm)
    areas = np.zeros((len(score), len(ends)))
    for number, slice_ in enumerate(score):
        # Most of a head is below all thresholds, and does not have to be sorted in.
        marked = slice_[slice_ >= ends[0]]
        last = np.searchsorted(ends, marked, side="right") - 1
        counts = np.bincount(last, minlength=len(ends))
        areas[number] = np.cumsum(counts[::-1])[::-1]
    pixel_mm2 = rows.extents[:1].sum() * columns.extents[:1].sum()
    return np.asarray(slices.extents @ areas * pixel_mm2 / 1000)


def choose_mask_threshold(
    thresholds: ArrayLike, predicted_ml: ArrayLike, reference_ml: ArrayLike
) -> float:
    """Chooses the threshold of least volume bias.

    The bias is the mean of predicted minus true volume: what some series have too much, others have
    too little. It is meant for series with a bleed: what is falsely marked in others would be paid
    for with true volume, and has a score of its own. `bland_altman` of a column of `predicted_ml`
    tells the bias at its threshold, before the choice and after; other patients than those of the
    choice tell how well it holds.

    Args:
      thresholds: Thresholds [t], rising.
      predicted_ml: Volumes of n series at each threshold, [n, t], as of `volumes_at`.
      reference_ml: True volumes, [n], ml.

    Returns:
      The threshold; of several with the same bias, the one in their middle. NaN without series.

    Raises:
      ValueError: If shapes differ, a value is NaN or negative, or the thresholds do not rise.

    Examples:
      >>> choose_mask_threshold([0.3, 0.5, 0.7], [[30, 22, 15], [9, 7, 5]], [20, 8])
      0.5
    """
    ends = _check_thresholds(thresholds)
    predicted, true = np.asarray(predicted_ml, np.float64), np.asarray(reference_ml, np.float64)
    if true.ndim != 1 or predicted.shape != (len(true), len(ends)):
        raise ValueError(
            f"predicted_ml has shape {predicted.shape}, reference_ml {true.shape}; expected "
            f"(n, {len(ends)}) and (n,)."
        )
    if not all(np.isfinite(ml).all() and (ml >= 0).all() for ml in (predicted, true)):
        raise ValueError("volumes must be finite, and 0 or more.")
    if not len(true):
        return float("nan")
    bias = np.abs((predicted - true[:, None]).sum(axis=0))
    best = np.flatnonzero(bias == bias.min())
    return float(ends[best[(len(best) - 1) // 2]])


def _check_thresholds(thresholds: ArrayLike) -> np.ndarray:
    ends = np.asarray(thresholds, np.float64)
    if ends.ndim != 1 or not len(ends) or not (np.diff(ends) > 0).all():
        raise ValueError("thresholds must be one or more rising numbers.")
    return ends
