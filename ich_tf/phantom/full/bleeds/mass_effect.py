"""Mass effect: how bleeds push the brain aside.

The brain is treated as a fluid that flows from the bleeds to the spaces that it presses empty: a
pressure p with -div(k grad p) + c p = q, where q is the share of a voxel that a bleed pushes out,
c how easily a voxel gives way, after its share of fluid, and k lower across the falx. The bone
lets nothing through. -k grad p is the displacement in mm: it adds up to the bleed's volume, has no
part towards the bone, narrows ventricles and sulci near the bleed and less so far away.

Sulci near the bleed have little to give: a first solution finds them, a second one moves the
brain. What they cannot take crosses the midline, as does the swelling of the brain around.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
from scipy import ndimage

from ich_tf.phantom.full.bleeds.flow import STEP_MM, Nodes, solve_flow
from ich_tf.phantom.full.voxels import Voxels

# The foramen magnum, and what the veins hold: a little room anywhere (chosen).
_LEAK = 0.02
# A bleed that empties the sulci beside it to two thirds (chosen).
_EMPTYING_ML = 25.0
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
            (a - o) * np.float32(1 / STEP_MM) for a, o in zip(points, self.origin, strict=True)
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


def push(
    interior: Voxels,
    pushed: np.ndarray,
    reach_mm: float,
    swelling: float = 0.0,
    widened: float = 0.0,
) -> MassEffect:
    """Computes how much the brain moves.

    Args:
      interior: Voxels of the cranial cavity, one-dimensional.
      pushed: Share of each voxel's volume that bleeds push aside.
      reach_mm: Distance over which the displacement falls, if fluid is as frequent as on average.
      swelling: Relative growth of the brain where the pressure is highest.
      widened: Relative growth of the ventricles by blocked outflow: 0 for none.
    """
    nodes = Nodes.around(interior)
    falx = nodes.averaged(interior.falx)
    source = nodes.averaged(pushed + np.float32(widened) * interior.ventricle)
    room = nodes.averaged(interior.fluid) + np.float32(_LEAK)
    if not widened:
        room += 2.0 * nodes.averaged(interior.ventricle)

    def solve(source: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        give = room / (room[nodes.inside].mean() * reach_mm**2)
        pressure, flow_mm = solve_flow(nodes, source, give, falx)
        # The share of its fluid that a node has lost.
        return pressure / (room[nodes.inside].mean() * reach_mm**2), flow_mm

    lost, _ = solve(source, room)
    low, high = lost[nodes.inside].min(), lost[nodes.inside].max()
    near = np.clip((lost - low) / max(high - low, 1e-9), 0.0, 1.0)
    pushed_ml = float(nodes.averaged(pushed).sum()) * STEP_MM**3 / 1000
    emptied = (1.0 - math.exp(-pushed_ml / _EMPTYING_ML)) * near
    source += np.float32(swelling) * nodes.averaged(interior.brain) * near
    lost, moved = solve(source, room * (1.0 - 0.8 * emptied))
    effaced = 1.0 - (1.0 - 0.8 * emptied) * np.exp(-2.0 * lost)
    x, y, z = nodes.axes
    septum = nodes.inside & (np.abs(falx) < 5) & (np.abs(x) < 9) & (y > -30) & (y < 10)
    septum &= (z > -5) & (z < 25)
    return MassEffect(
        nodes.origin,
        np.stack([nodes.extended(part) for part in moved]),
        nodes.extended(effaced),
        float(moved[0][septum].mean()) if septum.any() else 0.0,
    )
