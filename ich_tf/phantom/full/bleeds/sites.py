"""Where bleeds are found: points of the brain and of the inner table of the skull."""

from __future__ import annotations

import math

import numpy as np

from ich_tf.phantom.full.voxels import Voxels

# Site -> side * x, y, z of the middle of a small bleed there, mm, and its half axes' ratio.
DEEP_SITES = {
    "putamen": ((27.0, -1.0, 4.0), (0.75, 1.3, 1.0)),
    "thalamus": ((12.0, 14.0, 5.0), (0.9, 1.15, 0.95)),
    "caudate": ((13.0, -24.0, 9.0), (0.8, 1.2, 1.0)),
    "cerebellum": ((22.0, 48.0, -36.0), (1.1, 1.0, 0.9)),
    "pons": ((1.0, 6.0, -34.0), (1.1, 0.9, 1.0)),
}
# Side * direction of the brain's surface where contusions lie: it slides over rough bone.
CONTUSION_SITES = {
    "frontal pole": (0.35, -0.93, -0.1),
    "orbitofrontal": (0.3, -0.85, -0.35),
    "temporal pole": (0.62, -0.55, -0.5),
    "temporal": (0.92, -0.05, -0.35),
}


def direction(azimuth_deg: float, elevation_deg: float, side: int) -> np.ndarray:
    """Unit vector: azimuth 0 is the ear of that side, 90 the back; elevation 90 the crown."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    flat = math.cos(elevation)
    return np.array(
        [side * flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)]
    )


def surface_point(
    interior: Voxels, towards: np.ndarray, depth_mm: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """The point below the inner table in a direction, and the skull's axes there.

    Args:
      interior: Voxels of the cranial cavity, one-dimensional.
      towards: Direction from the origin.
      depth_mm: Depth of the point.

    Returns:
      The point, float64 [3]; unit vectors to the back, upwards and outwards, float64 [3, 3].
    """
    places = np.stack([interior.x, interior.y, interior.z], axis=1)
    away = np.linalg.norm(places, axis=1)
    towards = towards / np.linalg.norm(towards)
    score = places @ towards / np.maximum(away, 1.0) - 0.05 * np.abs(interior.depth - depth_mm)
    point = places[int(np.argmax(score - 2.0 * (interior.depth < 0)))].astype(np.float64)
    near = np.linalg.norm(places - point, axis=1) < 14.0
    design = np.column_stack([places[near] - point, np.ones(near.sum())])
    slope = np.linalg.lstsq(design, interior.depth[near], rcond=None)[0][:3]
    # Between two tables, as at the tips of the temporal lobes, the plane has no clear slope.
    out = -slope / np.linalg.norm(slope) if np.linalg.norm(slope) > 0.2 else towards
    back = np.array([0.0, 1.0, 0.0]) - out[1] * out
    if np.linalg.norm(back) < 0.3:
        back = np.array([1.0, 0.0, 0.0]) - out[0] * out
    back /= np.linalg.norm(back)
    up = np.cross(out, back)
    return point, np.stack([back, up if up[2] >= 0 else -up, out])


def brain_point(interior: Voxels, wanted: np.ndarray, above: bool) -> np.ndarray:
    """The brain's voxel that is next to a position, float64 [3].

    Args:
      interior: Voxels of the cranial cavity, one-dimensional.
      wanted: The position, mm.
      above: Whether it must lie above the tentorium, rather than below.
    """
    places = np.stack([interior.x, interior.y, interior.z], axis=1)
    away = np.linalg.norm(places - wanted, axis=1)
    away += 1e3 * ((interior.brain < 0.5) | ((interior.tent > 0) != above))
    return np.asarray(places[int(np.argmin(away))], np.float64)


def lobar_point(
    rng: np.random.Generator, interior: Voxels, side: int, radius_mm: float
) -> np.ndarray:
    """A random place in the white matter below the cortex, float64 [3].

    Args:
      rng: Random generator.
      interior: Voxels of the cranial cavity, one-dimensional.
      side: -1 right, 1 left.
      radius_mm: Radius of the bleed, which leaves a rim of cortex and keeps off the falx.
    """
    eligible = (
        (interior.brain > 0.5) & (interior.tent > 6) & (side * interior.falx > 0.9 * radius_mm + 3)
    )
    eligible &= (interior.depth > radius_mm + 4) & (interior.depth < radius_mm + 18)
    # Not the nuclei, which are a site of their own.
    eligible &= (np.abs(interior.y) > 35) | (interior.z > 25) | (np.abs(interior.x) > 44)
    indices = np.flatnonzero(eligible)
    draw = rng.uniform()
    if not indices.size:
        return brain_point(interior, np.array([side * 35.0, 20.0, 30.0]), True)
    index = indices[int(draw * indices.size)]
    return np.array([interior.x[index], interior.y[index], interior.z[index]], np.float64)
