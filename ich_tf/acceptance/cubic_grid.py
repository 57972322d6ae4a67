"""A grid of cubes about the cavity of a scan, whose slices may be sheared and unevenly spaced."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.acceptance.head_frame import HeadFrame
from ich_tf.acceptance.scan import Scan

GRID_MM = 1.5
_MARGIN_MM = 6.0
# The cavity goes on below the last slice of it, and ends above the first: the foramen magnum is no
# bone.
_BELOW_MM, _ABOVE_MM = 15.0, 9.0


@dataclasses.dataclass(frozen=True, eq=False)
class CubicGrid:
    """Nodes along the normal, the columns and the rows of a scan.

    Attributes:
      corner_mm: Position of the first node along a row and along a column, from the first slice's
        first pixel.
      heights_mm: Positions of the planes of nodes along the normal, as `Scan.places_mm`.
      sides: Number of nodes along a column and along a row.
    """

    corner_mm: tuple[float, float]
    heights_mm: np.ndarray
    sides: tuple[int, int]

    @classmethod
    def around(cls, scan: Scan, cavity: np.ndarray) -> CubicGrid:
        """Makes a grid that holds the cavity, bool [S, rows, columns]."""
        used = np.flatnonzero(cavity.any(axis=(1, 2)))
        corners = _corners(scan)
        lows, highs = [], []
        for index in used:
            found = (np.flatnonzero(cavity[index].any(axis=axis)) for axis in (0, 1))
            ends = np.array([[pixels[0], pixels[-1]] for pixels in found], float)
            ends = ends * np.array(scan.spacing_mm[::-1])[:, None] + corners[index][:, None]
            lows.append(ends[:, 0])
            highs.append(ends[:, 1])
        low, high = np.min(lows, axis=0) - _MARGIN_MM, np.max(highs, axis=0) + _MARGIN_MM
        columns, rows = (int(np.ceil(side / GRID_MM)) + 1 for side in high - low)
        places = scan.places_mm[used]
        heights = np.arange(places[0] - _BELOW_MM, places[-1] + _ABOVE_MM, GRID_MM)
        return cls((float(low[0]), float(low[1])), heights, (rows, columns))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of planes, rows and columns of nodes."""
        return len(self.heights_mm), *self.sides

    def volume(self, scan: Scan, values: np.ndarray, used: np.ndarray, beyond: float) -> np.ndarray:
        """Values at the nodes: between slices on the line between them, below the first its own.

        Args:
          scan: The scan.
          values: Values of its slices, float32 [S, rows, columns].
          used: Numbers of the slices to use, ascending.
          beyond: Value outside of the slices' pixels and above the last slice that is used.

        Returns:
          float32 of the grid's shape.
        """
        planes = [self._plane(scan, values[index], int(index), beyond) for index in used]
        places = scan.places_mm[used]
        result = np.full(self.shape, beyond, np.float32)
        for number, height in enumerate(self.heights_mm):
            after = int(np.searchsorted(places, height))
            if after == 0:
                result[number] = planes[0]
            elif after < len(places):
                part = (height - places[after - 1]) / (places[after] - places[after - 1])
                result[number] = (1 - part) * planes[after - 1] + part * planes[after]
        return result

    def on_slice(
        self, scan: Scan, field: np.ndarray, index: int, box: tuple[slice, slice]
    ) -> np.ndarray:
        """Values of the grid at a slice's pixels, float32 [rows, columns].

        Args:
          scan: The scan.
          field: Values at the nodes, float32.
          index: Number of the slice.
          box: Rows and columns.
        """
        at = (scan.places_mm[index] - self.heights_mm[0]) / GRID_MM
        low = int(np.clip(np.floor(at), 0, len(field) - 2))
        plane = (field[low] + np.float32(at - low) * (field[low + 1] - field[low])).astype(
            np.float32
        )
        row_mm, column_mm = scan.spacing_mm
        left, top = _corners(scan)[index] - self.corner_mm
        to_grid = np.array([
            [column_mm / GRID_MM, 0.0, (left + box[1].start * column_mm) / GRID_MM],
            [0.0, row_mm / GRID_MM, (top + box[0].start * row_mm) / GRID_MM],
        ])  # fmt: skip
        size = (box[1].stop - box[1].start, box[0].stop - box[0].start)
        return cv2.warpAffine(
            plane, to_grid, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip

    def points(self, scan: Scan, frame: HeadFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions of the nodes in the head frame, mm, float32 of the grid's shape each."""
        plane = np.reshape(scan.headers[0].orientation, (2, 3)) @ frame.axes.T
        first = np.array(scan.headers[0].position_mm)
        base = frame.axes @ (first - frame.origin_mm)
        base = base + plane[0] * self.corner_mm[0] + plane[1] * self.corner_mm[1]
        normal = frame.axes @ scan.normal
        heights = (self.heights_mm - float(first @ scan.normal))[:, None, None]
        rows = (np.arange(self.sides[0]) * GRID_MM)[None, :, None]
        columns = (np.arange(self.sides[1]) * GRID_MM)[None, None, :]
        x, y, z = (
            base[k] + normal[k] * heights + plane[1][k] * rows + plane[0][k] * columns
            for k in range(3)
        )
        return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)

    def _plane(self, scan: Scan, values: np.ndarray, index: int, beyond: float) -> np.ndarray:
        """Values of a slice at the nodes' rows and columns."""
        row_mm, column_mm = scan.spacing_mm
        left, top = self.corner_mm - _corners(scan)[index]
        to_image = np.array([
            [GRID_MM / column_mm, 0.0, left / column_mm],
            [0.0, GRID_MM / row_mm, top / row_mm],
        ])  # fmt: skip
        return cv2.warpAffine(
            values.astype(np.float32), to_image, self.sides[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT, borderValue=(beyond,),
        )  # fmt: skip


def _corners(scan: Scan) -> np.ndarray:
    """Position of each slice's first pixel along rows and columns, from the first slice's, mm."""
    plane = np.reshape(scan.headers[0].orientation, (2, 3))
    first = np.array(scan.headers[0].position_mm)
    return np.array([plane @ (np.array(header.position_mm) - first) for header in scan.headers])
