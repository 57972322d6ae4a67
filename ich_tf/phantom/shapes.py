"""Shapes as distances from their surface, mm, positive inside, and the voxels that they fill.

Arrays are float32 and of one shape, [sub-slices, rows, columns].
"""

from __future__ import annotations

import numpy as np

# Distance between the pixels that are tested to find a box; the box grows by twice as many mm.
_REGION_STEP = 4

# An index of arrays [sub-slices, rows, columns].
Region = tuple[slice, slice, slice]


def find_region(
    points: tuple[np.ndarray, np.ndarray, np.ndarray],
    low: tuple[float, float, float],
    high: tuple[float, float, float],
) -> Region | None:
    """The part of a grid of points that contains a box.

    Args:
      points: x, y and z of the points, mm.
      low: Lowest (x, y, z) of the box, mm.
      high: Highest (x, y, z) of the box, mm.

    Returns:
      An index of the arrays; None if no point lies in the box.
    """
    step = _REGION_STEP
    near = np.ones(points[0][:, ::step, ::step].shape, bool)
    for axis, least, most in zip(points, low, high, strict=True):
        coarse = axis[:, ::step, ::step]
        near &= (coarse > least - 2 * step) & (coarse < most + 2 * step)
    flat = near.any(axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not rows.size:
        return None
    return (
        slice(None),
        slice(int(rows[0]) * step, (int(rows[-1]) + 1) * step),
        slice(int(columns[0]) * step, (int(columns[-1]) + 1) * step),
    )


def share(distance: np.ndarray, width: float = 1.2) -> np.ndarray:
    """Share of a sub-voxel that lies inside a shape, 0 to 1.

    Args:
      distance: Distance from the surface, mm, positive inside.
      width: Range of distances over which the share rises from 0 to 1, mm.
    """
    return np.asarray(np.clip(distance * np.float32(1 / width) + np.float32(0.5), 0.0, 1.0))


def ellipsoid(
    x: np.ndarray | np.float32,
    y: np.ndarray,
    z: np.ndarray | np.float32,
    a: float,
    b: float,
    c: float,
) -> np.ndarray:
    """First-order distance from the surface of an ellipsoid at the origin, positive inside.

    Args:
      x: Position, mm.
      y: Position, mm.
      z: Position, mm.
      a: Half axis along x, mm.
      b: Half axis along y, mm.
      c: Half axis along z, mm.
    """
    return ellipsoid_radius(x, y, z, 1 / a, 1 / b, np.float32(1 / c))[0]


def ellipsoid_radius(
    x: np.ndarray | np.float32,
    y: np.ndarray,
    z: np.ndarray | np.float32,
    inverse_a: float,
    inverse_b: float,
    inverse_c: np.ndarray | np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the surface of an ellipsoid at the origin, and the relative radius.

    Args:
      x: Position, mm.
      y: Position, mm.
      z: Position, mm.
      inverse_a: 1 / half axis along x, 1 / mm.
      inverse_b: 1 / half axis along y, 1 / mm.
      inverse_c: 1 / half axis along z, 1 / mm; may differ from point to point.

    Returns:
      First-order distance, mm, positive inside; radius, 0 at the centre and 1 on the surface.
    """
    u, v, w = x * np.float32(inverse_a), y * np.float32(inverse_b), z * inverse_c
    u2, v2, w2 = u * u, v * v, w * w
    radius = np.sqrt(u2 + v2 + w2)
    slope = np.sqrt(
        u2 * np.float32(inverse_a**2) + v2 * np.float32(inverse_b**2) + w2 * inverse_c * inverse_c
    )
    # 0 / 0 at the centre, whose distance is about the smallest half axis, and is never used.
    return radius * (1.0 - radius) / np.maximum(slope, 1e-5), radius


def disc(y: np.ndarray, z: np.ndarray, b: float, c: float) -> np.ndarray:
    """First-order distance from the surface of an elliptic cylinder along x, positive inside.

    Args:
      y: Position, mm.
      z: Position, mm.
      b: Half axis along y, mm.
      c: Half axis along z, mm.
    """
    v2, w2 = (y * np.float32(1 / b)) ** 2, (z * np.float32(1 / c)) ** 2
    radius = np.sqrt(v2 + w2)
    slope = np.sqrt(v2 * np.float32(1 / b**2) + w2 * np.float32(1 / c**2))
    return np.asarray(radius * (1.0 - radius) / np.maximum(slope, 1e-5))


def capsule(
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    start: tuple[float, float, float, float],
    end: tuple[float, float, float, float],
    width: float,
) -> np.ndarray:
    """Distance from the surface of a rod with round ends, positive inside.

    Args:
      x: Position, mm.
      y: Position, mm.
      z: Position, mm.
      start: x, y, z and radius of the rod at one end, mm.
      end: x, y, z and radius of the rod at the other end, mm.
      width: Factor of both radii.
    """
    ex, ey, ez = (np.float32(e - s) for s, e in zip(start[:3], end[:3], strict=True))
    px, py, pz = x - np.float32(start[0]), y - np.float32(start[1]), z - np.float32(start[2])
    along = (px * ex + py * ey + pz * ez) / (ex * ex + ey * ey + ez * ez)
    np.clip(along, 0.0, 1.0, out=along)
    px -= along * ex
    py -= along * ey
    pz -= along * ez
    radius = np.float32(start[3] * width) + along * np.float32((end[3] - start[3]) * width)
    return np.asarray(radius - np.sqrt(px * px + py * py + pz * pz))


def largest(*arrays: np.ndarray) -> np.ndarray:
    """The distance from the union of shapes: the largest at each point."""
    result = arrays[0].copy()
    for array in arrays[1:]:
        np.maximum(result, array, out=result)
    return result


def blend(hu: np.ndarray, part: np.ndarray, value: np.ndarray | float) -> None:
    """Replaces a share of each voxel by another tissue, in place.

    Args:
      hu: Hounsfield units, changed in place.
      part: Share of each voxel to replace, 0 to 1.
      value: Hounsfield units of the tissue.
    """
    hu += part * (value - hu)
