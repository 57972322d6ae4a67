"""Volumes of masks, and the agreement of two methods that measure them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import ratio, scalar
from ich_tf.metrics.voxel_grid import check_mask, grid_of, marked_ml

# Of a normal distribution, 95 % lie within so many standard deviations.
_LIMIT = 1.959963984540054


@dataclass(frozen=True)
class BlandAltman:
    """Agreement of predicted with true volumes: floats, or float64 [...]; NaN if not defined.

    Attributes:
      bias_ml: Mean of predicted minus true volume, ml.
      sd_ml: Standard deviation of the differences, ml.
    """

    bias_ml: np.ndarray | float
    sd_ml: np.ndarray | float

    @property
    def low_ml(self) -> np.ndarray | float:
        """Lower 95 % limit of agreement, ml."""
        return self.bias_ml - _LIMIT * self.sd_ml

    @property
    def high_ml(self) -> np.ndarray | float:
        """Upper 95 % limit of agreement, ml."""
        return self.bias_ml + _LIMIT * self.sd_ml


def volume_ml(mask: ArrayLike, spacing_mm: Sequence[ArrayLike]) -> float:
    """Computes the volume of a mask of one class.

    A slice stands for half of the way to each of its neighbours, and beyond the outermost as far
    as on their other side, but not more than half of the usual distance.

    Args:
      mask: Mask [slices, rows, columns], bool or of 0 and 1.
      spacing_mm: Distance in mm between slices, between rows, between columns. In place of the
        first, the distances between neighbouring slices, [slices - 1], where they vary.

    Returns:
      The volume in ml.

    Raises:
      ValueError: If there are values other than 0 and 1, or the spacing does not fit.

    Examples:
      >>> import numpy as np
      >>> mask = np.ones((3, 100, 100), bool)
      >>> volume_ml(mask, (5, 0.5, 0.5)), volume_ml(mask, ([5, 10], 0.5, 0.5))
      (37.5, 50.0)
    """
    marked = check_mask(mask, "mask")
    if marked.ndim != 3:
        raise ValueError(f"mask has shape {marked.shape}; expected (slices, rows, columns).")
    return marked_ml(marked, grid_of(marked.shape, spacing_mm))


def bland_altman(
    reference_ml: ArrayLike, predicted_ml: ArrayLike, sample_weight: ArrayLike | None = None
) -> BlandAltman:
    """Computes bias and 95 % limits of agreement (Bland and Altman 1986).

    The limits take differences to be normal, of one spread at all volumes, and independent. Errors
    that grow with the volume show in a plot of differences over means.

    Args:
      reference_ml: True volumes [n], ml.
      predicted_ml: Predicted volumes [n], ml.
      sample_weight: How often each pair occurs: [n], or [..., n] for the agreement of each row.
        None for once.

    Returns:
      The agreement; its standard deviation is that of a sample (n - 1), NaN of fewer than 2 pairs.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> agreement = bland_altman([10, 20, 30], [11, 19, 33])
      >>> agreement.bias_ml, agreement.sd_ml
      (1.0, 2.0)
      >>> round(agreement.low_ml, 2), round(agreement.high_ml, 2)
      (-2.92, 4.92)
    """
    true, predicted = check_volumes(reference_ml, predicted_ml)
    difference = predicted - true
    weight = np.ones(len(true)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if weight.shape[-1:] != true.shape or not (weight >= 0).all():
        raise ValueError(
            f"sample_weight has shape {weight.shape}; expected (..., {len(true)}), 0 or more."
        )
    total = weight.sum(axis=-1)
    bias = ratio(weight @ difference, total)
    squares = (weight * np.square(difference - bias[..., None])).sum(axis=-1)
    spread = np.sqrt(ratio(squares, np.maximum(total - 1, 0)))
    return BlandAltman(scalar(bias), scalar(spread))


def check_volumes(
    reference_ml: ArrayLike, predicted_ml: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Checks and converts volumes to float64 [n].

    Raises:
      ValueError: If shapes differ, or a value is NaN, infinite or negative.
    """
    true, predicted = np.asarray(reference_ml, np.float64), np.asarray(predicted_ml, np.float64)
    if true.ndim != 1 or true.shape != predicted.shape:
        raise ValueError(
            f"predicted_ml has shape {predicted.shape}, reference_ml {true.shape}; expected (n,)."
        )
    for name, volumes in (("reference_ml", true), ("predicted_ml", predicted)):
        if not (np.isfinite(volumes).all() and (volumes >= 0).all()):
            raise ValueError(f"{name} must be finite, and 0 or more.")
    return true, predicted
