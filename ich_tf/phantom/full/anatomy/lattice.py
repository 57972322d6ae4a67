"""Fields on a lattice of points through a head, and their values between the points.

What is costly (folds of the cortex, air cells, distances) is computed once a head on the lattice;
slices then look it up. Distances from surfaces vary smoothly, so that interpolating them and
filling voxels afterwards keeps edges far sharper than the lattice's step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

# cv2.remap takes any number of channels, but is quickest a channel at 4 to 8.
_GROUP = 8

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Lattice:
    """Values at the points of a cubic lattice.

    Attributes:
      origin_mm: x, y and z of the first point.
      step_mm: Distance between neighbours.
      shape: Number of points along z, y and x.
      atlases: The planes of the lattice as tiles of one image, float32 [rows, columns, channels]:
        `cv2.remap` reads them ten times as fast as NumPy's indexing.
    """

    origin_mm: tuple[float, float, float]
    step_mm: float
    shape: tuple[int, int, int]
    atlases: tuple[np.ndarray, ...]

    @classmethod
    def pack(
        cls, origin_mm: tuple[float, float, float], step_mm: float, fields: Sequence[np.ndarray]
    ) -> Lattice:
        """Lays fields of one shape, [z, y, x], out as atlases."""
        depth, height, width = fields[0].shape
        across = math.ceil(math.sqrt(depth * height / width))
        down = math.ceil(depth / across)
        atlases = []
        for first in range(0, len(fields), _GROUP):
            group = fields[first : first + _GROUP]
            atlas = np.zeros((down * height, across * width, len(group)), np.float32)
            for channel, field in enumerate(group):
                for index, plane in enumerate(field):
                    row, column = divmod(index, across)
                    atlas[
                        row * height : (row + 1) * height,
                        column * width : (column + 1) * width,
                        channel,
                    ] = plane
            atlases.append(atlas)
        return cls(origin_mm, step_mm, (depth, height, width), tuple(atlases))

    def sample(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
        """Values at points, interpolated; a point outside gets the value of the nearest inside.

        Args:
          x: Position, mm, float32 [n, rows, columns].
          y: Position, of the same shape.
          z: Position, of the same shape.

        Returns:
          The fields in the order of `pack`, float32, each of the points' shape.
        """
        depth, height, width = self.shape
        across = self.atlases[0].shape[1] // width
        column, row, layer = (
            np.clip((axis - np.float32(first)) * np.float32(1 / self.step_mm), 0, count - 1.001)
            for axis, first, count in zip(
                (x, y, z), self.origin_mm, (width, height, depth), strict=True
            )
        )
        below = np.floor(layer)
        part = (layer - below).reshape(-1, x.shape[-1])
        lower, upper = (self._tiles(row, column, below + step, across) for step in (0, 1))
        fields = []
        for atlas in self.atlases:
            values = _read(atlas, *lower)
            above = _read(atlas, *upper)
            for channel in range(atlas.shape[2]):
                start = np.ascontiguousarray(values[..., channel])
                start += part * (above[..., channel] - start)
                fields.append(start.reshape(x.shape))
        return fields

    def _tiles(
        self, row: np.ndarray, column: np.ndarray, layer: np.ndarray, across: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the atlas, float32 [n * rows, columns]."""
        _, height, width = self.shape
        down = np.floor(layer * np.float32(1 / across) + np.float32(0.5 / across))
        flat = (-1, row.shape[-1])
        rows = row + down * np.float32(height)
        columns = column + (layer - down * np.float32(across)) * np.float32(width)
        return rows.reshape(flat), columns.reshape(flat)


def _read(atlas: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    values = cv2.remap(atlas, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values).reshape(*rows.shape, -1)
