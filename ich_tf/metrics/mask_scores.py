"""Scores of the masks of one class: of a series, or of each of its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.lesions import LesionMatches, match_on_grid
from ich_tf.metrics.surface_distance import measure_surfaces
from ich_tf.metrics.voxel_grid import Grid, check_masks_on_grid, cut_to_marked, marked_ml


@dataclass(frozen=True)
class MaskScores:
    """Scores of a prediction's mask of one class, of a series or of a slice.

    Attributes:
      reference_ml: Volume of the reference, ml.
      predicted_ml: Volume of the prediction, ml; where the reference is empty, all of it is false.
      common_ml: Volume that both mark, ml.
      surface_dice: Normalized surface Dice; NaN if the reference is empty.
      hausdorff_mm: HD95, or another percentile, in mm; NaN if the reference is empty, infinite if
        the prediction alone is.
      lesions: Lesions of both, matched; of a slice, its connected regions.
    """

    reference_ml: float
    predicted_ml: float
    common_ml: float
    surface_dice: float
    hausdorff_mm: float
    lesions: LesionMatches

    @property
    def dice(self) -> float:
        """Dice coefficient by volume; NaN if the reference is empty."""
        if not self.reference_ml:
            return float("nan")
        return 2 * self.common_ml / (self.reference_ml + self.predicted_ml)

    @property
    def volume_error_ml(self) -> float:
        """Predicted minus true volume, ml."""
        return self.predicted_ml - self.reference_ml


def score_series(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[ArrayLike],
    *,
    tolerance_mm: float = 2.0,
    percentile: float = 95.0,
    min_overlap: float = 0.0,
) -> MaskScores:
    """Scores the masks of one class in a series. Needs SciPy.

    Args:
      reference: Mask [slices, rows, columns], bool or of 0 and 1.
      prediction: Mask of the same shape.
      spacing_mm: Distance in mm between slices, between rows, between columns. In place of the
        first, the distances between neighbouring slices, [slices - 1], where they vary.
      tolerance_mm: Tolerance of the surface Dice, 0 or more.
      percentile: Percentile of the Hausdorff distance, in (0, 100].
      min_overlap: Least share of a lesion that must be covered, as of `match_lesions`.

    Raises:
      ValueError: If shapes differ, or a value is out of range.

    Examples:
      >>> import numpy as np
      >>> reference, prediction = np.zeros((2, 8, 64, 64), bool)
      >>> reference[2:5, 20:40, 20:40] = True
      >>> prediction[2:5, 20:40, 22:40] = True
      >>> scores = score_series(reference, prediction, (5, 0.5, 0.5))
      >>> round(scores.dice, 3), scores.surface_dice, scores.hausdorff_mm
      (0.947, 1.0, 1.0)
      >>> scores.reference_ml, round(scores.volume_error_ml, 3), scores.lesions.f1
      (1.5, -0.15, 1.0)
    """
    true, predicted, grid = _check_series(reference, prediction, spacing_mm)
    true, predicted, grid = cut_to_marked(true, predicted, grid)
    return _score(
        (true, predicted, grid), (true, predicted, grid), tolerance_mm, percentile, min_overlap
    )


def score_slices(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[ArrayLike],
    *,
    tolerance_mm: float = 2.0,
    percentile: float = 95.0,
    min_overlap: float = 0.0,
) -> list[MaskScores]:
    """Scores the masks of one class in each slice of a series by itself. Needs SciPy.

    Contours take the place of surfaces, and regions of 8-connected pixels that of lesions. Volumes
    are those for which the slice stands.

    Args:
      reference: Mask [slices, rows, columns], bool or of 0 and 1.
      prediction: Mask of the same shape.
      spacing_mm: Distances in mm as of `score_series`.
      tolerance_mm: Tolerance of the surface Dice, 0 or more.
      percentile: Percentile of the Hausdorff distance, in (0, 100].
      min_overlap: Least share of a region that must be covered, as of `match_lesions`.

    Returns:
      Scores of each slice.

    Raises:
      ValueError: If shapes differ, or a value is out of range.

    Examples:
      >>> import numpy as np
      >>> reference, prediction = np.zeros((2, 3, 64, 64), bool)
      >>> reference[1, 20:40, 20:40] = prediction[:2, 20:40, 20:40] = True
      >>> scores = score_slices(reference, prediction, (5, 0.5, 0.5))
      >>> [one.dice for one in scores], [one.predicted_ml for one in scores]
      ([nan, 1.0, nan], [0.5, 0.5, 0.0])
    """
    true, predicted, grid = _check_series(reference, prediction, spacing_mm)
    slices, *in_plane = grid
    scores = []
    for number in range(len(true)):
        here = slice(number, number + 1)
        flat = cut_to_marked(true[number], predicted[number], tuple(in_plane))
        slab = cut_to_marked(true[here], predicted[here], (slices.part(here), *in_plane))
        scores.append(_score(slab, flat, tolerance_mm, percentile, min_overlap))
    return scores


MasksOnGrid = tuple[np.ndarray, np.ndarray, Grid]


def _check_series(
    reference: ArrayLike, prediction: ArrayLike, spacing_mm: Sequence[ArrayLike]
) -> MasksOnGrid:
    masks = check_masks_on_grid(reference, prediction, spacing_mm)
    if masks[0].ndim != 3:
        raise ValueError(f"masks have shape {masks[0].shape}; expected (slices, rows, columns).")
    return masks


def _score(
    volumes: MasksOnGrid,
    surfaces: MasksOnGrid,
    tolerance_mm: float,
    percentile: float,
    min_overlap: float,
) -> MaskScores:
    """Scores of masks of 3 axes; their surfaces are measured on masks of 3 or of 2 axes."""
    true, predicted, grid = volumes
    distances = measure_surfaces(*surfaces)
    return MaskScores(
        reference_ml=marked_ml(true, grid),
        predicted_ml=marked_ml(predicted, grid),
        common_ml=marked_ml(true & predicted, grid),
        surface_dice=distances.dice(tolerance_mm),
        hausdorff_mm=distances.hausdorff(percentile),
        lesions=match_on_grid(true, predicted, grid, min_overlap),
    )
