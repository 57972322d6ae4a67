"""Mass effect: how bleeds push the brain aside.

The brain is treated as a fluid that flows from the bleeds to the spaces that it presses empty: a
pressure p with -div(k grad p) + s c p = q, where q is the share of a voxel that a bleed pushes
out, c the share of fluid, s how easily it gives way, and k lower across the falx. The bone lets
nothing through. -k grad p is the displacement in mm: it adds up to the bleed's volume, has no
part towards the bone, narrows ventricles and sulci near the bleed and less so far away.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from scipy import ndimage

from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import disc

_STEP_MM = 6.0
# The falx gives way: a tenth of what brain does.
_FALX = 0.1
# The foramen magnum, and what the veins hold: a little room anywhere.
_LEAK = 0.02
# Distance between points at which displacements are looked up.
_STRIDE = 4


@dataclasses.dataclass(frozen=True, eq=False)
class MassEffect:
    """Displacement of the brain, on a lattice in the head frame.

    Attributes:
      origin: Position of the first node, mm, float32 [3].
      moved: Displacement of the tissue at each node, mm, float32 [3, X, Y, Z].
      effaced: Share of its fluid that each node has lost, float32 [X, Y, Z].
      shift_mm: Shift of the midline between the foramina of Monro, mm, positive to the left.
    """

    origin: np.ndarray
    moved: np.ndarray
    effaced: np.ndarray
    shift_mm: float

    def displacement(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vector from each point to where its tissue came from, mm, three arrays like `x`."""
        dx, dy, dz = self._look_up(x, y, z, list(-self.moved))
        return dx, dy, dz

    def effacement(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Share of the fluid that was pressed out at each point, 0 to 1."""
        return self._look_up(x, y, z, [self.effaced])[0]

    def _look_up(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, fields: list[np.ndarray]
    ) -> list[np.ndarray]:
        shape = x.shape
        points: tuple[np.ndarray, ...] = (x, y, z)
        plane = _corners(points) if x.ndim == 3 and min(shape[1:]) > 2 * _STRIDE else None
        if plane is not None:
            points = plane
        nodes = [
            (a - o) * np.float32(1 / _STEP_MM) for a, o in zip(points, self.origin, strict=True)
        ]
        values = [
            ndimage.map_coordinates(f, nodes, np.float32, order=1, mode="nearest", prefilter=False)
            for f in fields
        ]
        if plane is None:
            return values
        return [np.stack([_enlarge(image, shape[1:]) for image in value]) for value in values]


def _corners(points: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...] | None:
    """Every few points of planes, the last ones included; None if they are not evenly spaced."""
    coarse = []
    rows, columns = (-(-(n - 1) // _STRIDE) + 1 for n in points[0].shape[1:])
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    right = np.linspace(0, 1, columns, dtype=np.float32)
    for axis in points:
        first, below, beside = axis[:, :1, :1], axis[:, -1:, :1], axis[:, :1, -1:]
        even = first + (below - first) * down + (beside - first) * right
        middle = axis[:, axis.shape[1] // 2, axis.shape[2] // 2]
        at = (axis.shape[1] // 2) / (axis.shape[1] - 1), (axis.shape[2] // 2) / (axis.shape[2] - 1)
        line = first + (below - first) * np.float32(at[0]) + (beside - first) * np.float32(at[1])
        if np.abs(middle - line[:, 0, 0]).max() > 0.05:
            return None
        coarse.append(even)
    return tuple(coarse)


def _enlarge(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Linear interpolation between values whose first and last are those of the result."""
    rows, columns = shape
    scale = np.array(
        [
            [(image.shape[1] - 1) / (columns - 1), 0, 0],
            [0, (image.shape[0] - 1) / (rows - 1), 0],
        ]
    )
    return np.asarray(
        cv2.warpAffine(
            image, scale, (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )  # fmt: skip


def push(interior: Voxels, pushed: np.ndarray, reach_mm: float, widened: float = 0.0) -> MassEffect:
    """Computes how much the brain moves.

    Args:
      interior: Voxels of the cranial cavity, one-dimensional.
      pushed: Share of each voxel's volume that bleeds push aside.
      reach_mm: Distance over which the displacement falls, if fluid is as frequent as on average.
      widened: Relative growth of the ventricles by blocked outflow: 0 for none.
    """
    places = np.stack([interior.x, interior.y, interior.z])
    origin = places.min(axis=1) - 2 * _STEP_MM
    nodes = np.rint((places - origin[:, None]) / _STEP_MM).astype(np.intp)
    shape = tuple((nodes.max(axis=1) + 3).tolist())
    flat = np.ravel_multi_index(tuple(nodes), shape)
    size = int(np.prod(shape))
    count = np.bincount(flat, minlength=size).reshape(shape).astype(np.float32)
    blurred = ndimage.gaussian_filter(count, 0.7)
    inside = blurred > 0.5 * np.median(blurred[count > 0])

    def averaged(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(flat, values, size).reshape(shape).astype(np.float32)
        sums = ndimage.gaussian_filter(sums, 0.7)
        return np.asarray(np.where(inside, sums / np.maximum(blurred, 1e-6), 0.0))

    source = averaged(pushed + np.float32(widened) * interior.ventricle)
    ventricle = averaged(interior.ventricle) if not widened else np.zeros(shape, np.float32)
    room = averaged(interior.fluid) + 2.0 * ventricle + _LEAK
    falx = averaged(interior.falx)
    grid = [
        np.arange(n, dtype=np.float32) * _STEP_MM + o for n, o in zip(shape, origin, strict=True)
    ]
    pressure, faces = _solve(grid, inside, source, room, falx, reach_mm)
    moved = np.zeros((3, *shape), np.float32)
    for axis in range(3):
        for side in _pairs(moved[axis], axis):
            side += 0.5 * faces[axis]
    moved = np.stack([_extended(m, inside) for m in moved])
    give = float(room[inside].mean()) * reach_mm**2
    effaced = _extended(np.clip(pressure / give, 0.0, 0.9).astype(np.float32), inside)
    x, y, z = (grid[0][:, None, None], grid[1][:, None], grid[2])
    septum = inside & (np.abs(falx) < 5) & (np.abs(x) < 9) & (y > -30) & (y < 10)
    septum &= (z > -5) & (z < 25)
    shift_mm = float(moved[0][septum].mean()) if septum.any() else 0.0
    return MassEffect(origin.astype(np.float32), moved, effaced, shift_mm)


def _solve(
    grid: list[np.ndarray],
    inside: np.ndarray,
    source: np.ndarray,
    room: np.ndarray,
    falx: np.ndarray,
    reach_mm: float,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Pressure in mm2 at each node, and the flow through the faces along each axis in mm."""
    has_falx = disc(grid[1][:, None] - 4.0, grid[2] - 6.0, 46.0, 27.0) < 0
    has_falx &= grid[2] > -14.0
    conductances = []
    for axis in range(3):
        low, high = _pairs(inside, axis)
        conductance = (low & high) / np.float64(_STEP_MM)
        if axis == 0:
            conductance[(falx[:-1] * falx[1:] < 0) & has_falx] *= _FALX
        conductances.append(conductance)
    give = np.where(inside, room / (room[inside].mean() * reach_mm**2), 0.0)
    diagonal = give + ~inside
    for axis, conductance in enumerate(conductances):
        for side in _pairs(diagonal, axis):
            side += conductance / _STEP_MM

    def flows(pressure: np.ndarray) -> list[np.ndarray]:
        sides = (_pairs(pressure, axis) for axis in range(3))
        return [c * (low - high) for c, (low, high) in zip(conductances, sides, strict=True)]

    # Conjugate gradients. Sums by NumPy, not by BLAS, whose order depends on its threads.
    pressure = np.zeros(inside.shape)
    residual = np.where(inside, source, 0.0).astype(np.float64)
    aim, direction, last = 1e-6 * np.square(residual).sum(), np.zeros_like(pressure), 1.0
    for _ in range(200):
        scaled = residual / diagonal
        now = (residual * scaled).sum()
        direction = scaled + (now / last) * direction
        product = give * direction
        for axis, flow in enumerate(flows(direction)):
            low, high = _pairs(product, axis)
            low += flow / _STEP_MM
            high -= flow / _STEP_MM
        step = now / max((direction * product).sum(), 1e-30)
        pressure += step * direction
        residual -= step * product
        last = now
        if np.square(residual).sum() <= aim:
            break
    return pressure, flows(pressure)


def _pairs(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of all nodes but the last, and all but the first, along an axis."""
    index = (slice(None),) * axis
    return array[(*index, slice(None, -1))], array[(*index, slice(1, None))]


def _extended(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Values outside the cavity as at the nearest node inside: points lie between the two."""
    near = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(near)], np.float32)
