"""Grids of masks: distances between voxels, which may vary from slice to slice, and the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.extents import end_steps_mm


@dataclass(frozen=True)
class Axis:
    """One axis of a grid, in mm.

    Attributes:
      edges: Positions of the voxels' edges, float64 [n + 1], rising.
      distances: Distance between the centres of the two voxels at each edge, float64 [n + 1]; at
        the two ends that to a voxel which would follow (`extents.end_steps_mm`).
    """

    edges: np.ndarray
    distances: np.ndarray

    @classmethod
    def of(cls, spacing: ArrayLike, size: int, name: str) -> Axis:
        """Axis of `size` voxels from one distance, or from the size - 1 distances between them.

        Raises:
          ValueError: If the spacing has another shape, or is not positive.
        """
        given = np.asarray(spacing, np.float64)
        if not (np.isfinite(given).all() and (given > 0).all()):
            raise ValueError(f"{name} has values that are not above 0: {given}; expected mm.")
        if given.ndim == 0:
            return cls(np.arange(size + 1) * given, np.full(size + 1, given))
        if given.ndim != 1 or size < 2 or len(given) != size - 1:
            raise ValueError(
                f"{name} has shape {given.shape}; expected one distance in mm"
                + (f", or {size - 1} between {size} voxels." if size > 1 else ".")
            )
        first, last = end_steps_mm(given)
        distances = np.concatenate([[first], given, [last]])
        centres = np.cumsum(distances) - first
        return cls(centres - distances / 2, distances)

    @property
    def extents(self) -> np.ndarray:
        """Extent of each voxel, float64 [n]: from one edge to the next."""
        return np.diff(self.edges)

    def part(self, span: slice) -> Axis:
        """The axis of a run of voxels."""
        edges = slice(span.start, span.stop + 1)
        return Axis(self.edges[edges], self.distances[edges])


Grid = tuple[Axis, ...]


def grid_of(shape: Sequence[int], spacing_mm: Sequence[ArrayLike]) -> Grid:
    """Grid of a mask of 2 or 3 axes.

    Raises:
      ValueError: If distances are not as many as axes, not positive, or vary within a slice.
    """
    if len(spacing_mm) != len(shape):
        raise ValueError(
            f"spacing_mm has {len(spacing_mm)} values; a mask of shape {tuple(shape)} needs "
            f"{len(shape)}: the distances between "
            + ("slices, rows, columns." if len(shape) == 3 else "rows, columns.")
        )
    if any(np.ndim(spacing) for spacing in spacing_mm[-2:]):
        raise ValueError("spacing_mm varies within slices; between slices alone it may.")
    return tuple(
        Axis.of(spacing, size, f"spacing_mm[{number}]")
        for number, (spacing, size) in enumerate(zip(spacing_mm, shape, strict=True))
    )


def check_mask(mask: ArrayLike, name: str) -> np.ndarray:
    """Mask as bool.

    Raises:
      ValueError: If it has values other than 0 and 1.
    """
    given = np.asarray(mask)
    if given.dtype == bool:
        return given
    marked = given == 1
    if not (marked | (given == 0)).all():
        raise ValueError(
            f"{name} has values other than 0 and 1. A mask is of one class; compare "
            "probabilities with a threshold, or bits with the class's bit, first."
        )
    return np.asarray(marked)


def check_masks(reference: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Masks of one class as bool.

    Raises:
      ValueError: If shapes differ, or there are values other than 0 and 1.
    """
    true, predicted = check_mask(reference, "reference"), check_mask(prediction, "prediction")
    if true.shape != predicted.shape:
        raise ValueError(f"prediction has shape {predicted.shape}; reference has {true.shape}.")
    return true, predicted


def check_masks_on_grid(
    reference: ArrayLike, prediction: ArrayLike, spacing_mm: Sequence[ArrayLike]
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Masks of 2 or 3 axes as bool, and their grid.

    Raises:
      ValueError: If shapes differ, there are values other than 0 and 1, or the spacing is wrong.
    """
    true, predicted = check_masks(reference, prediction)
    if true.ndim not in (2, 3):
        raise ValueError(
            f"masks have shape {true.shape}; expected (slices, rows, columns) or (rows, columns)."
        )
    return true, predicted, grid_of(true.shape, spacing_mm)


def cut_to_marked(
    true: np.ndarray, predicted: np.ndarray, grid: Grid
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Masks and grid without what neither of them marks around both, which no score depends on."""
    box = marked_box(true | predicted)
    parts = tuple(axis.part(span) for axis, span in zip(grid, box, strict=True))
    return true[box], predicted[box], parts


def marked_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box that holds all that a mask marks; an empty one if it marks nothing."""
    spans = []
    rest = mask
    # Each axis is cut before the next is looked at.
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        marked = np.flatnonzero(rest.any(axis=others))
        span = slice(int(marked[0]), int(marked[-1]) + 1) if len(marked) else slice(0, 0)
        spans.append(span)
        rest = rest[(slice(None),) * axis + (span,)]
    return tuple(spans)


def voxel_ml(places: tuple[np.ndarray, ...], grid: Grid) -> np.ndarray:
    """Volume of the voxels at these indices in ml; area of pixels in mm2 / 1000."""
    size = np.full(len(places[0]), 1e-3)
    for place, axis in zip(places, grid, strict=True):
        size *= axis.extents[place]
    return size


def marked_ml(mask: np.ndarray, grid: Grid) -> float:
    """Volume of a mask in ml; area of one of 2 axes in mm2 / 1000."""
    size = np.asarray(np.count_nonzero(mask, axis=-1) * grid[-1].extents[:1].sum())
    for axis in reversed(grid[:-1]):
        size = size @ axis.extents
    return float(size / 1000)
