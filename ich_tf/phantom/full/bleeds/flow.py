"""Slow flow of the brain on a coarse lattice: from sources to what gives way."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import disc

STEP_MM = 6.0
# The falx gives way a little: a thirtieth of what brain does (chosen).
_FALX = 0.03


@dataclasses.dataclass(frozen=True, eq=False)
class Nodes:
    """A lattice over the cranial cavity, in the head frame.

    Attributes:
      origin: Position of the first node, mm, float32 [3].
      inside: Whether a node lies in the cavity, bool [X, Y, Z].
      nearest: Index of the nearest node of each voxel, of the flattened lattice.
      weight: Number of voxels about each node, float32 [X, Y, Z].
    """

    origin: np.ndarray
    inside: np.ndarray
    nearest: np.ndarray
    weight: np.ndarray

    @classmethod
    def around(cls, interior: Voxels) -> Nodes:
        """The nodes about voxels.

        Args:
          interior: Voxels of the cranial cavity, one-dimensional, at any distance.
        """
        places = np.stack([interior.x, interior.y, interior.z])
        origin = (places.min(axis=1) - 2 * STEP_MM).astype(np.float32)
        index = np.rint((places - origin[:, None]) / STEP_MM).astype(np.intp)
        shape = tuple((index.max(axis=1) + 3).tolist())
        nearest = np.ravel_multi_index(tuple(index), shape)
        count = np.bincount(nearest, minlength=int(np.prod(shape))).reshape(shape)
        # Slices may lie farther apart than nodes.
        weight = ndimage.gaussian_filter(count.astype(np.float32), 0.7)
        inside = weight > 0.5 * np.median(weight[count > 0])
        return cls(origin, inside, nearest, weight)

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y and z of the nodes, mm, float32, to be broadcast."""
        x, y, z = (
            np.arange(count, dtype=np.float32) * np.float32(STEP_MM) + first
            for count, first in zip(self.inside.shape, self.origin, strict=True)
        )
        return x[:, None, None], y[:, None], z

    def averaged(self, values: np.ndarray) -> np.ndarray:
        """Mean of the voxels' values about each node, 0 outside, float32 [X, Y, Z]."""
        sums = np.bincount(self.nearest, values, self.inside.size).reshape(self.inside.shape)
        sums = ndimage.gaussian_filter(sums.astype(np.float32), 0.7)
        return np.asarray(np.where(self.inside, sums / np.maximum(self.weight, 1e-6), 0.0))

    def extended(self, values: np.ndarray) -> np.ndarray:
        """Values outside as at the nearest node inside: points lie between the two."""
        near = ndimage.distance_transform_edt(
            ~self.inside, return_distances=False, return_indices=True
        )
        return np.asarray(values[tuple(near)], np.float32)


def solve_flow(
    nodes: Nodes, source: np.ndarray, give: np.ndarray, falx: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solves -div(k grad p) + give p = source; k is 1 in brain, less in the falx, 0 in bone.

    Args:
      nodes: The nodes.
      source: Share of a node's volume that is pushed out, [X, Y, Z].
      give: How easily a node gives way, 1 / mm2, [X, Y, Z].
      falx: Distance from the plane between the hemispheres, mm, [X, Y, Z].

    Returns:
      Pressure p, mm2, float64 [X, Y, Z]; flow -k grad p, mm, float32 [3, X, Y, Z].
    """
    inside = nodes.inside
    _, y, z = nodes.axes
    has_falx = (disc(y - 4.0, z - 6.0, 46.0, 27.0) < 0) & (z > -14.0)
    conductances = []
    for axis in range(3):
        low, high = _pairs(inside, axis)
        conductance = (low & high) / np.float64(STEP_MM)
        if axis == 0:
            conductance[(falx[:-1] * falx[1:] < 0) & has_falx] *= _FALX
        conductances.append(conductance)
    give = np.where(inside, give, 0.0).astype(np.float64)
    diagonal = give + ~inside
    for axis, conductance in enumerate(conductances):
        for side in _pairs(diagonal, axis):
            side += conductance / STEP_MM

    def flows(pressure: np.ndarray) -> list[np.ndarray]:
        sides = (_pairs(pressure, axis) for axis in range(3))
        return [c * (low - high) for c, (low, high) in zip(conductances, sides, strict=True)]

    # Conjugate gradients. Sums by NumPy, not by BLAS, whose order depends on its threads.
    pressure = np.zeros(inside.shape)
    residual = np.where(inside, source, 0.0).astype(np.float64)
    aim, direction, last = 1e-5 * np.square(residual).sum(), np.zeros_like(pressure), 1.0
    for _ in range(200):
        scaled = residual / diagonal
        now = (residual * scaled).sum()
        direction = scaled + (now / last) * direction
        product = give * direction
        for axis, flow in enumerate(flows(direction)):
            low, high = _pairs(product, axis)
            low += flow / STEP_MM
            high -= flow / STEP_MM
        step = now / max((direction * product).sum(), 1e-30)
        pressure += step * direction
        residual -= step * product
        last = now
        if np.square(residual).sum() <= aim:
            break
    flow_mm = np.zeros((3, *inside.shape), np.float32)
    for axis, flow in enumerate(flows(pressure)):
        # At a node, the mean of the two faces along the axis.
        for side in _pairs(flow_mm[axis], axis):
            side += 0.5 * flow
    return pressure, flow_mm


def _pairs(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Views of all nodes but the last, and all but the first, along an axis."""
    index = (slice(None),) * axis
    return array[(*index, slice(None, -1))], array[(*index, slice(1, None))]
