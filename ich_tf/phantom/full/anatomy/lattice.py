"""Fields on a lattice of points through a head, and their values between the points.

What is costly (folds of the cortex, air cells, distances) is computed once a head on the lattice;
slices then look it up. Distances from surfaces vary smoothly, so that interpolating them and
filling voxels afterwards keeps edges far sharper than the lattice's step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

# Channels of an atlas: cv2.remap takes any number, and is quickest a channel with many.
_GROUP = 16

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
Places = tuple[np.ndarray, np.ndarray]


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
        cls,
        origin_mm: tuple[float, float, float],
        step_mm: float,
        shape: tuple[int, ...],
        slabs: Iterable[Sequence[np.ndarray]],
    ) -> Lattice:
        """Lays fields out as atlases.

        Args:
          origin_mm: x, y and z of the first point.
          step_mm: Distance between neighbours.
          shape: Number of points along z, y and x.
          slabs: The fields, float32 [planes, y, x], of one set of planes after another.
        """
        depth, height, width = shape
        across = math.ceil(math.sqrt(depth * height / width))
        atlases: list[np.ndarray] = []
        index = 0
        for fields in slabs:
            if not atlases:
                size = math.ceil(depth / across) * height, across * width
                counts = [len(fields[at : at + _GROUP]) for at in range(0, len(fields), _GROUP)]
                atlases = [np.zeros((*size, count), np.float32) for count in counts]
            for planes in zip(*fields, strict=True):
                row, column = (
                    part * size
                    for part, size in zip(divmod(index, across), (height, width), strict=True)
                )
                for group, atlas in enumerate(atlases):
                    merged = cv2.merge(planes[group * _GROUP : (group + 1) * _GROUP])
                    atlas[row : row + height, column : column + width] = merged.reshape(
                        height, width, -1
                    )
                index += 1
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
        shape = x.shape[1:]
        fields = np.empty((sum(atlas.shape[2] for atlas in self.atlases), *x.shape), np.float32)
        # The same memory for all planes: new pages take longer than what is written to them.
        read = [np.empty((*shape, atlas.shape[2]), np.float32) for atlas in self.atlases]
        above = np.empty((len(fields), *shape), np.float32)
        for index, points in enumerate(zip(x, y, z, strict=True)):
            # A plane at a time stays in the processor's cache.
            part, lower, upper = self._places(*points)
            plane = fields[:, index]
            self._read(lower, read, plane)
            self._read(upper, read, above)
            for start, end in zip(plane, above, strict=True):
                np.subtract(end, start, out=end)
                np.multiply(end, part, out=end)
                np.add(end, start, out=start)
        return list(fields)

    def _places(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray
    ) -> tuple[np.ndarray, Places, Places]:
        """Share of the layer above at points [rows, columns], and places in both layers."""
        depth, height, width = self.shape
        column, row, layer = (
            np.clip((axis - np.float32(first)) * np.float32(1 / self.step_mm), 0, count - 1.001)
            for axis, first, count in zip(
                (x, y, z), self.origin_mm, (width, height, depth), strict=True
            )
        )
        below = np.floor(layer)
        lower, upper = (self._tiles(row, column, below + step) for step in (0, 1))
        return layer - below, lower, upper

    def _tiles(
        self, row: np.ndarray, column: np.ndarray, layer: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the atlas, float32 [rows, columns]."""
        _, height, width = self.shape
        across = self.atlases[0].shape[1] // width
        down = np.floor(layer * np.float32(1 / across) + np.float32(0.5 / across))
        columns = column + (layer - down * np.float32(across)) * np.float32(width)
        return row + down * np.float32(height), columns

    def _read(self, places: Places, read: list[np.ndarray], fields: np.ndarray) -> None:
        """Reads places of the atlases.

        Args:
          places: Rows and columns.
          read: Memory for the values of each atlas.
          fields: Where they go, float32 [fields, rows, columns].
        """
        rows, columns = places
        start = 0
        for atlas, values in zip(self.atlases, read, strict=True):
            cv2.remap(
                atlas, columns, rows, cv2.INTER_LINEAR, values, borderMode=cv2.BORDER_REPLICATE
            )
            count = atlas.shape[2]
            pairs = [channel for index in range(count) for channel in (index, index)]
            cv2.mixChannels([values], list(fields[start : start + count]), pairs)
            start += count
