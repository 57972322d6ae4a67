"""Points of a slice -> its image on the drawing grid, summed over the slice's thickness."""

from __future__ import annotations

import math

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.full.scanner.extent import STEP_MM, Extent, Paint
from ich_tf.phantom.geometry import Geometry, Pose

# Pixels of the drawing grid: half of the image's, within these limits, mm. Surfaces are drawn with
# an edge of 1.2 mm, so that finer ones would show nothing more.
_FINEST_MM, _COARSEST_MM = 0.7, 1.2
# The fine image has a multiple of so many pixels, and as many again as a margin on each side: what
# leaves a filtered image on one side enters it on the other.
_UNIT = 16
# Thickness that one plane of points stands for: at the crown, where surfaces are nearly parallel
# to the slice, a third of it. The points of a slice are as many as this many planes of 300 by 240.
_PLANE_MM, _MOST_PLANES = 1.8, 5.0
_FULL_PLANE = 300 * 240


class DrawingGrid:
    """The grid on which the slices of a scan are drawn: their field of view and a margin.

    Attributes:
      size: Rows and columns, with the margin.
      step_mm: Distance between pixels.
      margin: Pixels of the margin on each side.
      fine: Rows and columns of the field of view in the finest pixels that an image needs, a
        multiple of 16; `size` has the share `margin / 16` of these and their margin.
      fine_margin: Margin in these pixels.
    """

    def __init__(self, geometry: Geometry, matrix: int) -> None:
        """Chooses the pixels.

        Args:
          geometry: Position of the slices.
          matrix: Rows and columns of a slice.
        """
        self.view_mm = geometry.spacing_mm * matrix
        step = min(max(0.5 * geometry.spacing_mm, _FINEST_MM), _COARSEST_MM)
        self.fine = _UNIT * math.ceil(max(matrix, self.view_mm / step) / _UNIT)
        self.fine_margin = _UNIT
        self.margin = min(_UNIT, math.ceil(_UNIT * self.view_mm / step / self.fine))
        inner = self.fine // _UNIT * self.margin
        self.size = inner + 2 * self.margin
        self.step_mm = self.view_mm / inner
        self._geometry = geometry

    def points(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Patient coordinates of a slice.

        Args:
          index: Number of the slice.

        Returns:
          Centre of the first pixel, float64 [3]; distance of each row or column from it, float32
          [size], mm.
        """
        row, column = np.reshape(self._geometry.orientation, (2, 3))
        corner = (0.5 - self.margin) * self.step_mm - 0.5 * self._geometry.spacing_mm
        first = self._geometry.positions_mm[index] + corner * (row + column)
        return first, np.arange(self.size, dtype=np.float32) * np.float32(self.step_mm)

    def inner(self, image: np.ndarray) -> np.ndarray:
        """The image without its margin.

        Args:
          image: Array [..., size, size].
        """
        inner = slice(self.margin, self.size - self.margin)
        return image[..., inner, inner]


def draw_plane(
    paint: Paint,
    extent: Extent,
    pose: Pose,
    geometry: Geometry,
    grid: DrawingGrid,
    index: int,
    thickness_mm: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the head in one slice, without anything of the scanner but partial volume.

    Args:
      paint: The head.
      extent: Points of the head.
      pose: Position of the head.
      geometry: Position of the slices.
      grid: Grid of the image.
      index: Number of the slice.
      thickness_mm: Width over which the slice is summed.

    Returns:
      Hounsfield units, float32 [size, size]; share of each subtype's blood, float32 [5, ...].
    """
    row, column = np.reshape(geometry.orientation, (2, 3))
    first, along = grid.points(index)
    hu = np.full((grid.size, grid.size), -1000.0, np.float32)
    blood = np.zeros((len(SUBTYPES), grid.size, grid.size), np.float32)
    placed = extent.points @ pose.rotation.T + pose.center_mm - first
    near = placed[np.abs(placed @ geometry.normal) < 0.5 * thickness_mm + STEP_MM]
    if not len(near):
        return hu, blood
    rows, columns = (_span(near @ axis, grid) for axis in (column, row))
    high = float(np.median(extent.tissue[:, 2]) + np.percentile(extent.tissue[:, 2], 75)) / 2
    crown = float((first + 0.5 * along[-1] * (row + column) - pose.center_mm) @ geometry.normal)
    finest = _PLANE_MM / 3 if crown > high else _PLANE_MM
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    most = max(1, int(_MOST_PLANES * _FULL_PLANE / max(area, 1)))
    planes = min(math.ceil(thickness_mm / finest), most)
    depths = (np.arange(planes) + 0.5) / planes - 0.5
    to_head = pose.rotation.T
    origins = (first - pose.center_mm) + thickness_mm * depths[:, None] * geometry.normal
    origins, along_row, along_column = origins @ to_head.T, to_head @ row, to_head @ column
    x, y, z = (
        origins[:, axis].astype(np.float32)[:, None, None]
        + (along[rows] * np.float32(along_column[axis]))[None, :, None]
        + (along[columns] * np.float32(along_row[axis]))[None, None, :]
        for axis in range(3)
    )
    image, shares = paint(x, y, z)
    hu[rows, columns] = image.mean(axis=0)
    if shares.any():
        blood[:, rows, columns] = shares.mean(axis=1)
    return hu, blood


def _span(places: np.ndarray, grid: DrawingGrid) -> slice:
    """The rows or columns between the lowest and the highest place, mm, and a little more."""
    low = math.floor((float(places.min()) - STEP_MM) / grid.step_mm)
    high = math.ceil((float(places.max()) + STEP_MM) / grid.step_mm) + 1
    return slice(min(max(low, 0), grid.size), max(min(high, grid.size), 0))
