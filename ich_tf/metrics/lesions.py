"""Lesions of a mask: connected voxels, found or missed as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import ratio
from ich_tf.metrics.voxel_grid import Grid, check_masks_on_grid, cut_to_marked, voxel_ml


@dataclass(frozen=True)
class LesionMatches:
    """Lesions of a reference and of a prediction, largest first.

    Attributes:
      reference_ml: Volume of each lesion of the reference, float64 [r], ml.
      is_found: Whether the prediction overlaps it, bool [r].
      predicted_ml: Volume of each predicted lesion, float64 [p], ml.
      is_confirmed: Whether the reference overlaps it, bool [p].
    """

    reference_ml: np.ndarray
    is_found: np.ndarray
    predicted_ml: np.ndarray
    is_confirmed: np.ndarray

    def between(self, low_ml: float = 0.0, high_ml: float = np.inf) -> LesionMatches:
        """Lesions of low_ml and more, and less than high_ml; whether they match does not change."""
        true = (self.reference_ml >= low_ml) & (self.reference_ml < high_ml)
        predicted = (self.predicted_ml >= low_ml) & (self.predicted_ml < high_ml)
        return LesionMatches(
            self.reference_ml[true],
            self.is_found[true],
            self.predicted_ml[predicted],
            self.is_confirmed[predicted],
        )

    @property
    def sensitivity(self) -> float:
        """Share of the reference's lesions that is found; NaN without any."""
        return _share(self.is_found)

    @property
    def precision(self) -> float:
        """Share of the predicted lesions that is confirmed; NaN without any."""
        return _share(self.is_confirmed)

    @property
    def f1(self) -> float:
        """Harmonic mean of both, 0 if nothing predicted is right; NaN without true lesions."""
        found, true = self.is_found.sum(), len(self.is_found)
        confirmed, predicted = self.is_confirmed.sum(), len(self.is_confirmed)
        return float(lesion_f1(*np.array([found, true, confirmed, predicted], np.float64)))


def match_lesions(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[ArrayLike],
    min_overlap: float = 0.0,
) -> LesionMatches:
    """Divides masks of one class into lesions, and matches them by overlap.

    A lesion is a set of voxels that are connected over faces, edges or corners (26 neighbours; of
    pixels, 8). One prediction may find several lesions, and several predictions one: a prediction
    that covers half of the head finds all of them, which Dice and volume show, or `min_overlap`.
    Needs SciPy.

    Args:
      reference: Mask [slices, rows, columns] or [rows, columns], bool or of 0 and 1.
      prediction: Mask of the same shape.
      spacing_mm: Distances in mm as of `surface_distances`.
      min_overlap: Least share of a lesion's volume that the other mask covers, in [0, 1]. With 0,
        one voxel is enough.

    Returns:
      The lesions. Areas of pixels are in mm2 / 1000.

    Raises:
      ValueError: If shapes differ, or a value is out of range.

    Examples:
      >>> matches = match_lesions([[1, 1, 0, 1, 0, 0]], [[0, 1, 0, 0, 0, 1]], (1, 1))
      >>> matches.is_found.tolist(), matches.is_confirmed.tolist()
      ([True, False], [True, False])
      >>> matches.sensitivity, matches.precision, matches.f1
      (0.5, 0.5, 0.5)
    """
    return match_on_grid(*check_masks_on_grid(reference, prediction, spacing_mm), min_overlap)


def match_on_grid(
    true: np.ndarray, predicted: np.ndarray, grid: Grid, min_overlap: float
) -> LesionMatches:
    """`match_lesions` of bool masks on their grid."""
    if not 0 <= min_overlap <= 1:
        raise ValueError(f"min_overlap is {min_overlap}; it must be in [0, 1].")
    true, predicted, grid = cut_to_marked(true, predicted, grid)
    return LesionMatches(
        *_lesions(true, predicted, grid, min_overlap), *_lesions(predicted, true, grid, min_overlap)
    )


def lesion_f1(
    found: np.ndarray, true: np.ndarray, confirmed: np.ndarray, predicted: np.ndarray
) -> np.ndarray:
    """Harmonic mean of found / true and confirmed / predicted, from counts of any shape."""
    sensitivity = ratio(found, true)
    precision = np.where(predicted > 0, ratio(confirmed, predicted), 0)
    sum_ = sensitivity + precision
    return np.where(sum_ == 0, 0.0, ratio(2 * sensitivity * precision, sum_))


def _lesions(
    mask: np.ndarray, other: np.ndarray, grid: Grid, min_overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Volume of each lesion of a mask, and whether the other mask overlaps it."""
    from scipy import ndimage

    labels, number = ndimage.label(mask, np.ones((3,) * mask.ndim))
    places = np.nonzero(labels)
    lesion, ml, common = labels[places] - 1, voxel_ml(places, grid), other[places]
    # Of no voxels, NumPy counts whole numbers.
    volumes = np.bincount(lesion, ml).astype(np.float64)
    covered = np.bincount(lesion[common], ml[common], number)
    # The same voxels, summed up in the same order: equal where all are covered.
    matched = (covered > 0) & (covered >= min_overlap * volumes)
    order = np.argsort(-volumes, kind="stable")
    return volumes[order], matched[order]


def _share(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
