"""Overlap of two masks of one class: Dice and intersection over union."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import ratio, scalar
from ich_tf.metrics.voxel_grid import check_masks


def dice(
    reference: ArrayLike, prediction: ArrayLike, axis: int | tuple[int, ...] | None = None
) -> np.ndarray | float:
    """Computes the Dice coefficient: twice the common voxels over the sum of both.

    Of an empty reference it is not defined, whatever is predicted: an average over series would
    otherwise count bleeds that are not there. What is predicted there is `false_ml` of
    `summarize_masks`.

    Args:
      reference: Mask of one class, bool or of 0 and 1.
      prediction: Mask of the same shape.
      axis: Axes to count over; the others stay, as slices do with (1, 2). None for all axes.

    Returns:
      A float, or float64 of the shape of the other axes, in [0, 1]; NaN where the reference is
      empty.

    Raises:
      ValueError: If shapes differ, or there are values other than 0 and 1.

    Examples:
      >>> dice([[0, 1, 1, 0]], [[0, 0, 1, 0]])
      0.6666666666666666
      >>> dice([[[1, 1]], [[0, 0]]], [[[1, 1]], [[0, 1]]], axis=(1, 2)).tolist()
      [1.0, nan]
    """
    common, true, predicted = _counts(reference, prediction, axis)
    return scalar(ratio(2 * common, np.where(true > 0, true + predicted, 0)))


def iou(
    reference: ArrayLike, prediction: ArrayLike, axis: int | tuple[int, ...] | None = None
) -> np.ndarray | float:
    """Computes the intersection over union (Jaccard index).

    Args:
      reference: Mask of one class, bool or of 0 and 1.
      prediction: Mask of the same shape.
      axis: Axes to count over; the others stay, as slices do with (1, 2). None for all axes.

    Returns:
      A float, or float64 of the shape of the other axes, in [0, 1]; NaN where the reference is
      empty.

    Raises:
      ValueError: If shapes differ, or there are values other than 0 and 1.

    Examples:
      >>> iou([[0, 1, 1, 0]], [[0, 0, 1, 0]])
      0.5
    """
    common, true, predicted = _counts(reference, prediction, axis)
    return scalar(ratio(common, np.where(true > 0, true + predicted - common, 0)))


def _counts(
    reference: ArrayLike, prediction: ArrayLike, axis: int | tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of common, true and predicted voxels, int64."""
    true, predicted = check_masks(reference, prediction)
    common, in_true, in_predicted = (
        np.asarray(np.count_nonzero(mask, axis=axis))
        for mask in (true & predicted, true, predicted)
    )
    return common, in_true, in_predicted
