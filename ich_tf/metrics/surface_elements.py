"""Surface of a mask: where it lies between voxels, and the area of each of its elements.

The surface is that of marching cubes. A cell has the centres of 2 x 2 x 2 neighbouring voxels (or
of 2 x 2 pixels) as its corners; the surface cuts its edges halfway between a marked and an unmarked
corner. What this leaves open is settled so: if fewer corners are marked than unmarked, the marked
ones are cut off from each other, else the unmarked ones; and a polygon that is not flat is divided
into those triangles that have the largest area in a cube. Areas are then those of the tables that
papers on segmentation use (Nikolov et al. 2021, doi:10.2196/26151).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import numpy as np

from ich_tf.metrics.voxel_grid import Grid

Point = tuple[int, ...]
Triangles = list[tuple[int, int, int]]


def surface_elements(mask: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Areas of the elements of a mask's surface, one in each cell that it crosses.

    Args:
      mask: Mask of 2 or 3 axes, bool [..., n, m]; outside of it, nothing is marked.
      grid: Its axes.

    Returns:
      Whether each cell is crossed, bool [..., n + 1, m + 1]; a cell's place is the corner that its
      voxels share. And the area of the crossed cells' elements, float64 [k], mm2; in 2 axes their
      length, mm.
    """
    padded = np.pad(mask, 1)
    code = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for bit, corner in enumerate(itertools.product((0, 1), repeat=mask.ndim)):
        cells = tuple(slice(at, at + size + 1) for at, size in zip(corner, mask.shape, strict=True))
        code |= np.left_shift(padded[cells].view(np.uint8), np.uint8(bit))
    crossed = (code != 0) & (code != (1 << 2**mask.ndim) - 1)
    # Distances vary along the first axis alone: a table of areas for each of its layers of cells.
    first, *others = grid
    steps = [np.array([axis.distances[0] for axis in others])] * len(first.distances)
    layers = np.column_stack([first.distances, steps])
    scales = layers.prod(axis=1, keepdims=True) / layers
    normals = _normals(mask.ndim)
    areas = np.sqrt(np.square(normals * scales[:, None, None, :]).sum(axis=-1)).sum(axis=-1)
    return crossed, areas[np.nonzero(crossed)[0], code[crossed]]


@functools.cache
def _normals(num_axes: int) -> np.ndarray:
    """Normals of a cell's elements, as long as their area in a unit cell, by marked corners.

    Returns:
      float64 [256, 4, 3], or [16, 2, 2] in 2 axes: zero where a cell has fewer elements. The code
      of a cell has bit k if corner k of `itertools.product((0, 1), repeat=num_axes)` is marked.
    """
    corners = list(itertools.product((0, 1), repeat=num_axes))
    normals = np.zeros((1 << len(corners), 4 if num_axes == 3 else 2, num_axes))
    elements = _triangle_normals if num_axes == 3 else _segment_normals
    for code in range(1, len(normals) - 1):
        marked = {corner for bit, corner in enumerate(corners) if code >> bit & 1}
        rare = marked if len(marked) <= len(corners) // 2 else set(corners) - marked
        found = elements(rare)
        normals[code, : len(found)] = found
    return normals


def _segment_normals(rare: set[Point]) -> list[np.ndarray]:
    square: list[Point] = [(0, 0), (0, 1), (1, 1), (1, 0)]
    # Ends of segments are doubled, that they are whole.
    ends = [np.subtract(end, start) / 2 for start, end in _segments(square, rare)]
    return [np.array([-along[1], along[0]]) for along in ends]


def _triangle_normals(rare: set[Point]) -> list[np.ndarray]:
    found = []
    for polygon in _polygons(rare):
        points = np.array(polygon) / 2
        choices = [
            [np.cross(points[b] - points[a], points[c] - points[a]) / 2 for a, b, c in triangles]
            for triangles in _triangulations(0, len(polygon) - 1)
        ]
        found += max(choices, key=lambda normals: sum(map(np.linalg.norm, normals)))
    return found


def _polygons(rare: set[Point]) -> Iterator[list[Point]]:
    """Closed polygons, of doubled points, in which the surface crosses the faces of a cube."""
    neighbours: dict[Point, list[Point]] = {}
    for axis, side in itertools.product(range(3), (0, 1)):
        flat: list[Point] = [(0, 0), (0, 1), (1, 1), (1, 0)]
        face = [(*point[:axis], side, *point[axis:]) for point in flat]
        for start, end in _segments(face, rare):
            neighbours.setdefault(start, []).append(end)
            neighbours.setdefault(end, []).append(start)
    while neighbours:
        polygon = [next(iter(neighbours))]
        while ahead := [point for point in neighbours.pop(polygon[-1]) if point in neighbours]:
            polygon.append(ahead[0])
        yield polygon


def _segments(square: list[Point], rare: set[Point]) -> list[tuple[Point, Point]]:
    """Segments, of doubled points, in which the surface crosses a square of corners in order."""
    middles = [tuple(np.add(square[i], square[(i + 1) % 4]).tolist()) for i in range(4)]
    cut = [i for i in range(4) if (square[i] in rare) != (square[(i + 1) % 4] in rare)]
    if len(cut) == 4:
        return [(middles[i - 1], middles[i]) for i in range(4) if square[i] in rare]
    return [(middles[cut[0]], middles[cut[1]])] if cut else []


def _triangulations(first: int, last: int) -> list[Triangles]:
    """All ways to divide the polygon of these points into triangles."""
    if last - first < 2:
        return [[]]
    return [
        [(first, middle, last), *left, *right]
        for middle in range(first + 1, last)
        for left in _triangulations(first, middle)
        for right in _triangulations(middle, last)
    ]
