"""Shapes as distances from their surface, mm, positive inside; and how they fill voxels.

Arrays are float32 and of one shape, [sub-slices, rows, columns].
"""

from __future__ import annotations

import numpy as np

# Pixels between those that are looked at to find a structure; boxes grow by two of it in mm.
_WINDOW_STEP = 4

Window = tuple[slice, slice, slice]


def find_window(
    points: tuple[np.ndarray, np.ndarray, np.ndarray],
    low: tuple[float, float, float],
    high: tuple[float, float, float],
) -> Window | None:
    """The part of x, y, z that holds all points of a box from `low` to `high`, or None."""
    step = _WINDOW_STEP
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
    """Share of a sub-voxel that lies inside, where `distance` mm is positive inside; 0 to 1."""
    return np.asarray(np.clip(distance * np.float32(1 / width) + np.float32(0.5), 0.0, 1.0))


def ellipsoid(
    x: np.ndarray | np.float32,
    y: np.ndarray,
    z: np.ndarray | np.float32,
    a: float,
    b: float,
    c: float,
) -> np.ndarray:
    """First-order distance from the surface of an ellipsoid at the origin, positive inside."""
    return ellipsoid_radius(x, y, z, 1 / a, 1 / b, np.float32(1 / c))[0]


def ellipsoid_radius(
    x: np.ndarray | np.float32,
    y: np.ndarray,
    z: np.ndarray | np.float32,
    inverse_a: float,
    inverse_b: float,
    inverse_c: np.ndarray | np.float32,
) -> tuple[np.ndarray, np.ndarray]:
    """First-order distance from the surface, positive inside; the radius, 1 on the surface."""
    u, v, w = x * np.float32(inverse_a), y * np.float32(inverse_b), z * inverse_c
    u2, v2, w2 = u * u, v * v, w * w
    radius = np.sqrt(u2 + v2 + w2)
    slope = np.sqrt(
        u2 * np.float32(inverse_a**2) + v2 * np.float32(inverse_b**2) + w2 * inverse_c * inverse_c
    )
    # At the centre 0 / 0; the distance there is about the smallest axis, and no one asks.
    return radius * (1.0 - radius) / np.maximum(slope, 1e-5), radius


def disc(y: np.ndarray, z: np.ndarray, b: float, c: float) -> np.ndarray:
    """`ellipsoid` without end along x."""
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
    """Distance from the surface of a rod (x, y, z, radius) to (x, y, z, radius)."""
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
    """The union of shapes: at each point the largest distance."""
    result = arrays[0].copy()
    for array in arrays[1:]:
        np.maximum(result, array, out=result)
    return result


def blend(hu: np.ndarray, part: np.ndarray, value: np.ndarray | float) -> None:
    """Puts `value` into the share `part` of each voxel, in place."""
    hu += part * (value - hu)
