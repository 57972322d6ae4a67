"""Voxel grids of slices: their own where they are one, and else the grid to put them on.

A file of voxels has one step from plane to plane. Slices of a tilted gantry do not lie above each
other, others are missing, or change their distance midway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.dicom.geometry import order_along, series_normal
from ich_tf.dicom.header import Header
from ich_tf.errors import InputError

# Headers are rounded to hundredths of a millimetre by some scanners.
_TOLERANCE_MM = 0.02
# Cosines that differ by less are the same plane, rounded: 0.1 mm at the border of a head.
_ORIENTATION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3
# The grid of uneven slices is at most so many times as fine as their least distance.
_MAX_FINER = 5


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels in patient coordinates (LPS, mm).

    Attributes:
      origin_mm: Centre of the first voxel, float64 [3].
      axes_mm: Steps to the next row, column and plane, float64 [3, 3], a step a row; at right
        angles to each other.
      shape: Number of rows, columns and planes.
      planes: For each plane of the grid the index of the slice that it shows.
      shifts: For each plane the row and the column of the grid where that slice begins.
    """

    origin_mm: np.ndarray
    axes_mm: np.ndarray
    shape: tuple[int, int, int]
    planes: tuple[int, ...]
    shifts: tuple[tuple[int, int], ...]

    def filled(self, slices: Sequence[np.ndarray]) -> np.ndarray:
        """Puts slices onto the grid: uint8 [rows, columns] each -> [rows, columns, planes]."""
        voxels = np.zeros(self.shape, np.uint8)
        for k, (i, (row, column)) in enumerate(zip(self.planes, self.shifts, strict=True)):
            rows, columns = slices[i].shape
            voxels[row : row + rows, column : column + columns, k] = slices[i]
        return voxels


def require_one_grid(headers: Sequence[Header]) -> None:
    """Checks that slices agree in size, pixel spacing and orientation.

    Raises:
      InputError: If they do not.
    """
    first = headers[0]
    for header in headers:
        same = (
            (header.rows, header.columns) == (first.rows, first.columns)
            and np.allclose(header.spacing_mm, first.spacing_mm, rtol=_SPACING_TOLERANCE)
            and np.allclose(header.orientation, first.orientation, atol=_ORIENTATION_TOLERANCE)
        )
        if not same:
            raise InputError(
                "the slices of the series differ in size, pixel spacing or orientation, and one "
                "file has one of each. Write PNG files (--masks=png)."
            )


def make_grid(headers: Sequence[Header]) -> Grid:
    """Finds the grid of the slices of one pass of a series.

    Slices that lie above each other at even distances are a grid as they are. Others are put on
    one: a plane shows the slice nearest to it, moved by whole pixels, so by half a pixel too far at
    most; the distance of its planes is the greatest that meets all slices, down to a fifth of their
    least distance.

    Args:
      headers: Header of each slice, in any order.

    Raises:
      InputError: If the slices differ in size, pixel spacing or orientation.
    """
    require_one_grid(headers)
    order = order_along(headers)
    first = headers[order[0]]
    positions = np.array([headers[i].position_mm for i in order])
    along_row, along_column, normal = _axes(first)
    if normal @ series_normal(headers) < 0:
        normal = -normal
    places = (positions - positions[0]) @ normal
    step = _step(places, first.thickness_mm)
    num_planes = round(float(places[-1]) / step) + 1
    nearest = np.abs(places - step * np.arange(num_planes)[:, None]).argmin(axis=1)
    # Rows and columns by which a slice begins beyond the first.
    offsets = (positions - positions[0]) @ np.stack([along_column, along_row], axis=1)
    shifts = np.rint(offsets / first.spacing_mm).astype(np.int64)
    lowest = shifts.min(axis=0)
    shifts -= lowest
    extent = shifts.max(axis=0) + np.array([first.rows, first.columns])
    axes = np.stack(
        [along_column * first.spacing_mm[0], along_row * first.spacing_mm[1], normal * step]
    )
    return Grid(
        origin_mm=positions[0] + lowest @ axes[:2],
        axes_mm=axes,
        shape=(int(extent[0]), int(extent[1]), num_planes),
        planes=tuple(order[i] for i in nearest),
        shifts=tuple((int(shifts[i, 0]), int(shifts[i, 1])) for i in nearest),
    )


def _axes(header: Header) -> np.ndarray:
    """Unit vectors along a row, along a column and normal to both, float64 [3, 3].

    Headers are rounded, and readers of NIfTI refuse what is not at right angles.
    """
    along_row = np.array(header.orientation[:3])
    along_row /= np.linalg.norm(along_row)
    along_column = np.array(header.orientation[3:])
    along_column -= (along_column @ along_row) * along_row
    along_column /= np.linalg.norm(along_column)
    return np.stack([along_row, along_column, np.cross(along_row, along_column)])


def _step(places_mm: np.ndarray, thickness_mm: float) -> float:
    """Distance of a grid's planes, mm, from the slices' places along their normal, from 0."""
    steps = np.diff(places_mm)
    steps = steps[steps > _TOLERANCE_MM]
    if not len(steps):
        return thickness_mm or 1.0
    least = float(steps.min())
    for parts in range(1, _MAX_FINER + 1):
        # Of many slices the mean, which no rounding moves.
        step = least / parts
        step = float(places_mm[-1]) / max(1, round(float(places_mm[-1]) / step))
        if np.abs(places_mm - step * np.rint(places_mm / step)).max() <= _TOLERANCE_MM * 5:
            return step
    return step
