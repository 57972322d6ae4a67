"""Distances between the surfaces of two masks: normalized surface Dice, Hausdorff distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.surface_elements import surface_elements
from ich_tf.metrics.voxel_grid import Grid, check_masks_on_grid, cut_to_marked

# Five times 0.4 mm is not always 2 mm in binary.
_ROUNDING_MM = 1e-9
_ROUNDING_SHARE = 1e-12


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from each element of one surface to the nearest of the other.

    Attributes:
      reference_mm: Distances from the reference's surface to the prediction's, float64 [r], mm;
        infinite if nothing is predicted.
      reference_area: Areas of the reference's elements, float64 [r], mm2; of masks of two axes
        their lengths, mm.
      predicted_mm: Distances from the prediction's surface to the reference's, float64 [p].
      predicted_area: Areas of the prediction's elements, float64 [p].
    """

    reference_mm: np.ndarray
    reference_area: np.ndarray
    predicted_mm: np.ndarray
    predicted_area: np.ndarray

    def dice(self, tolerance_mm: float = 2.0) -> float:
        """Share of both surfaces that lies within a tolerance of the other; see `surface_dice`."""
        if not tolerance_mm >= 0:
            raise ValueError(f"tolerance_mm is {tolerance_mm}; it must be 0 or more.")
        if not len(self.reference_mm):
            return float("nan")
        near = (
            self.reference_area[self.reference_mm <= tolerance_mm + _ROUNDING_MM].sum()
            + self.predicted_area[self.predicted_mm <= tolerance_mm + _ROUNDING_MM].sum()
        )
        return float(near / (self.reference_area.sum() + self.predicted_area.sum()))

    def hausdorff(self, percentile: float = 95.0) -> float:
        """Greater of both percentiles of the distances; see `hausdorff_distance`."""
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile is {percentile}; it must be in (0, 100].")
        if not len(self.reference_mm):
            return float("nan")
        if not len(self.predicted_mm):
            return float("inf")
        return max(
            _percentile(self.reference_mm, self.reference_area, percentile),
            _percentile(self.predicted_mm, self.predicted_area, percentile),
        )


def surface_distances(
    reference: ArrayLike, prediction: ArrayLike, spacing_mm: Sequence[ArrayLike]
) -> SurfaceDistances:
    """Measures the surfaces of two masks of one class against each other.

    The surfaces are those of marching cubes, halfway between marked and unmarked voxels; what is
    marked at the border ends there. Each element counts by its area, as voxels of 0.4 x 0.4 x 5 mm
    demand. Needs SciPy.

    Args:
      reference: Mask [slices, rows, columns] or [rows, columns], bool or of 0 and 1.
      prediction: Mask of the same shape.
      spacing_mm: Distance in mm between slices, between rows, between columns. In place of the
        first, the distances between neighbouring slices, [slices - 1], where they vary.

    Returns:
      The distances; without elements of an empty mask.

    Raises:
      ValueError: If shapes differ, or a value is out of range.

    Examples:
      >>> import numpy as np
      >>> reference = np.zeros((4, 8, 8), bool)
      >>> reference[1:3, 2:6, 2:6] = True
      >>> distances = surface_distances(reference, np.roll(reference, 1, axis=2), (5, 0.5, 0.5))
      >>> distances.hausdorff(), distances.dice(tolerance_mm=0.5)
      (0.5, 1.0)
    """
    return measure_surfaces(*check_masks_on_grid(reference, prediction, spacing_mm))


def measure_surfaces(true: np.ndarray, predicted: np.ndarray, grid: Grid) -> SurfaceDistances:
    """`surface_distances` of bool masks on their grid."""
    true, predicted, grid = cut_to_marked(true, predicted, grid)
    if not true.size:
        nothing = np.zeros(0)
        return SurfaceDistances(nothing, nothing, nothing, nothing)
    true_cells, true_area = surface_elements(true, grid)
    predicted_cells, predicted_area = surface_elements(predicted, grid)
    return SurfaceDistances(
        _distances(true_cells, predicted_cells, grid),
        true_area,
        _distances(predicted_cells, true_cells, grid),
        predicted_area,
    )


def surface_dice(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[ArrayLike],
    tolerance_mm: float = 2.0,
) -> float:
    """Computes the normalized surface Dice: the share of both surfaces that is near the other.

    Needs SciPy. `surface_distances(...).dice()` is the same, and measures once for several scores.

    Args:
      reference: Mask [slices, rows, columns] or [rows, columns], bool or of 0 and 1.
      prediction: Mask of the same shape.
      spacing_mm: Distances in mm as of `surface_distances`.
      tolerance_mm: Greatest distance that is near, 0 or more.

    Returns:
      A float in [0, 1]; NaN if the reference is empty.

    Raises:
      ValueError: If shapes differ, or a value is out of range.

    Examples:
      >>> import numpy as np
      >>> square, dot = np.zeros((2, 9, 9), int)
      >>> square[2:5, 2:5], dot[3, 3] = 1, 1
      >>> surface_dice(square, dot, (1, 1)), surface_dice(square, dot, (1, 1), tolerance_mm=0.5)
      (1.0, 0.0)
    """
    return surface_distances(reference, prediction, spacing_mm).dice(tolerance_mm)


def hausdorff_distance(
    reference: ArrayLike,
    prediction: ArrayLike,
    spacing_mm: Sequence[ArrayLike],
    percentile: float = 95.0,
) -> float:
    """Computes a percentile of the Hausdorff distance (HD95).

    The percentile is taken by area from each surface to the other, without interpolation; the
    greater of the two is the distance. Needs SciPy. `surface_distances(...).hausdorff()` is the
    same, and measures once for several scores.

    Args:
      reference: Mask [slices, rows, columns] or [rows, columns], bool or of 0 and 1.
      prediction: Mask of the same shape.
      spacing_mm: Distances in mm as of `surface_distances`.
      percentile: Percentile in (0, 100]; 100 gives the Hausdorff distance itself.

    Returns:
      The distance in mm; NaN if the reference is empty, infinite if the prediction alone is.

    Raises:
      ValueError: If shapes differ, or a value is out of range.

    Examples:
      >>> reference, prediction = [[0, 1, 0, 0, 0]], [[0, 0, 0, 1, 0]]
      >>> hausdorff_distance(reference, prediction, (0.5, 0.5))
      1.0
    """
    return surface_distances(reference, prediction, spacing_mm).hausdorff(percentile)


def _distances(cells: np.ndarray, others: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance of each crossed cell, [k], from the nearest of the others."""
    # SciPy takes 0.2 s to import, and the other metrics do without it.
    from scipy.ndimage import distance_transform_edt

    # Layer by layer, since distances between slices may vary, as those of the transform may not.
    # A tree of points took 100 times as long where surfaces lie far apart on all sides.
    *layers, rows, columns = grid
    heights = layers[0].edges if layers else np.zeros(1)
    sampling = (rows.distances[0], columns.distances[0])
    layer, row, column = np.nonzero(cells.reshape(len(heights), *cells.shape[-2:]))
    height = heights[layer]
    squares = np.where(others[cells], 0.0, np.inf)
    for marked, other_height in zip(others.reshape(-1, *others.shape[-2:]), heights, strict=True):
        rise = np.square(height - other_height)
        nearer = np.flatnonzero(rise < squares)
        if len(nearer) and marked.any():
            flat = distance_transform_edt(~marked, sampling)[row[nearer], column[nearer]]
            squares[nearer] = np.minimum(squares[nearer], rise[nearer] + np.square(flat))
    return np.asarray(np.sqrt(squares))


def _percentile(distances: np.ndarray, areas: np.ndarray, percentile: float) -> float:
    """Least distance within which this percentage of the area lies."""
    order = np.argsort(distances, kind="stable")
    within = np.cumsum(areas[order])
    wanted = percentile / 100 * within[-1] * (1 - _ROUNDING_SHARE)
    return float(distances[order][np.searchsorted(within, wanted)])
