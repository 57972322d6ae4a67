"""Cerebrospinal fluid: ventricles, fissures and cisterns."""

from __future__ import annotations

import itertools

import numpy as np

from ich_tf.phantom.full.anatomy.cortex import Cortex
from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.hindbrain import Hindbrain
from ich_tf.phantom.full.anatomy.skull import Skull
from ich_tf.phantom.shapes import capsule, disc, ellipsoid, largest

_VENTRICLE_BOX = ((-50.0, -56.0, -56.0), (50.0, 70.0, 36.0))
_CISTERN_BOX = ((-36.0, -34.0, -76.0), (36.0, 86.0, 8.0))


def ventricles(ground: Ground) -> np.ndarray:
    """Distance from the ventricles' wall, mm, positive inside."""
    distance = np.full_like(ground.x, -30.0)
    if region := ground.box(*_VENTRICLE_BOX):
        distance[region] = _ventricles(ground.crop(region))
    return distance


def _ventricles(ground: Ground) -> np.ndarray:
    traits = ground.traits
    x, y, z = ground.points
    width = np.float32(traits.ventricle) * (
        1.0 + np.float32(traits.ventricle_skew) * np.clip(x / 12.0, -1.0, 1.0)
    )
    side = np.abs(x)
    spread = max(0.75 + 0.3 * traits.ventricle, 0.85)
    # Frontal horn, body, atrium, occipital horn; temporal horn. Horns stand upright: z is pressed.
    course = (
        (18.0 * spread, -42.0, 5.0, 2.0),
        (11.5 * spread, -31.0, 8.0, 4.2),
        (4.5 * spread, -10.0, 10.0, 4.0),
        (9.0 * spread, 8.0, 15.0, 4.2),
        (15.0 * spread, 27.0, 15.0, 4.8),
        (25.0, 40.0, 8.0, 6.0),
        (24.0, 60.0, 5.0, 1.6),
    )
    temporal = (course[5], (34.0, 22.0, -8.0, 2.6), (31.0, -8.0, -16.0, 1.4))
    low = z * 0.72
    distance = np.full_like(x, -1e3)
    for points in (course, temporal):
        for start, end in itertools.pairwise(points):
            part = capsule(side, y, low, start, end, 1.0)
            # Width scales the rod's radius, which differs from side to side.
            radius = 0.5 * (start[3] + end[3])
            np.maximum(distance, part + radius * (width - 1.0), out=distance)
    caudate = ellipsoid(side - 13.5 * spread, y + 23.0, z - 6.0, 6.0, 9.0, 10.0)
    np.minimum(distance, 0.5 - caudate, out=distance)
    thalamus = ellipsoid(side - 11.0 - 0.3 * (y - 12.0), y - 13.0, z - 4.0, 9.0, 14.0, 10.0)
    np.minimum(distance, 0.5 - thalamus, out=distance)
    np.minimum(distance, side - 0.8, out=distance)
    third = np.minimum(
        min(0.5 + 1.6 * traits.ventricle**2, 4.0) - side, disc(y - 4.0, z + 0.5, 14.0, 10.0)
    )
    full = traits.ventricle
    fourth = largest(
        ellipsoid(side, y - 27.0 - 0.015 * side * side, z + 38.0, 9.0 * full, 3.8 * full, 9.0),
        ellipsoid(side, y - 24.0, z + 28.0, 2.0 * full, 2.0 * full, 8.0),
    )
    return np.asarray(largest(distance, third, fourth) + 0.35 * ground.fine)


def outer_fluid(
    ground: Ground, skull: Skull, cortex: Cortex, hind: Hindbrain, tent: np.ndarray
) -> np.ndarray:
    """Distance from the surface of the fluid around the brain, mm, positive in the fluid."""
    traits = ground.traits
    old = traits.atrophy
    side, y, relief = np.abs(ground.x), ground.y, ground.relief
    sulcus = np.minimum(
        cortex.width * np.clip(1.15 - 0.03 * cortex.surface, 0.3, 1.0) - cortex.sulcus,
        cortex.reach,
    )
    front = np.clip((-y - 10.0) / 60.0, 0.0, 1.0)
    rim = 0.4 + (0.9 + 2.0 * front) * old * np.clip(0.8 + 0.5 * relief, 0.0, 2.0)
    above = np.maximum(rim - skull.depth, sulcus)
    np.maximum(above, _fissures(ground), out=above)
    behind = np.maximum(hind.stem, hind.cerebellum - old)
    below = np.minimum(0.4 * ground.fine - behind, 25.0 - side + 2.0 * np.maximum(y - 30.0, 0.0))
    np.maximum(below, 0.5 + 0.6 * old - skull.depth, out=below)
    # Fissures between the lobules of the cerebellum, around the fourth ventricle.
    turn = np.float32(1 / 10.0) * (hind.turn + 2.0 * relief)
    layer = 10.0 * np.abs(turn - np.floor(turn) - 0.5)
    fissure = np.minimum(0.6 * old - 0.1 + 0.3 * ground.fine - layer, 9.0 - hind.cerebellum)
    np.maximum(below, fissure, out=below)
    fluid = np.where(tent > 0.0, above, below)
    if region := ground.box(*_CISTERN_BOX):
        cisterns = _cisterns(ground.crop(region), hind.stem[region])
        np.maximum(fluid[region], cisterns, out=fluid[region])
    return fluid


def _fissures(ground: Ground) -> np.ndarray:
    old = ground.traits.atrophy
    x, y, z = ground.points
    side, relief = np.abs(x), ground.relief
    # Between the hemispheres, around the corpus callosum.
    around = -disc(y - 4.0, z - 8.0, 44.0, 22.0) + 0.0 * z
    front = np.clip((-y - 20.0) / 40.0, 0.0, 1.0)
    wide = 0.4 + (0.5 + 1.2 * front) * old * np.clip(1.0 + 0.8 * ground.fine, 0.0, 2.5)
    between = np.minimum(np.minimum(wide - side, around), z + 30.0)
    # The Sylvian fissure: the insula's cistern, and the cleft from it to the surface.
    bend = 2.5 * relief + 2.0 * ground.fine
    thin = 0.4 + 1.2 * old + (0.6 + 0.6 * old) * (ground.fine + 0.4 * relief)
    thin = np.clip(thin, -1.0, 2.4)
    insula = np.minimum(
        thin + 0.3 - np.abs(side - 42.5 + 0.009 * (y + 4.0) ** 2 + 0.6 * bend),
        np.minimum(24.0 - np.abs(y + 5.0), 13.0 - np.abs(z - 3.0 - 0.2 * y)),
    )
    cleft = np.minimum(
        0.8 * thin - 0.9 * np.abs(z - 1.0 - 0.5 * (y + 6.0) + 0.2 * (side - 45.0) + bend),
        np.minimum(side - 41.0, 26.0 - np.abs(y + 6.0)),
    )
    stem = capsule(
        side, y, z, (12.0, -12.0, -22.0, 2.4), (40.0, -24.0, -14.0, 2.8), 0.7 + 0.5 * old
    )
    return largest(between, insula, cleft, stem + 0.5 * ground.fine)


def _cisterns(ground: Ground, stem: np.ndarray) -> np.ndarray:
    old = ground.traits.atrophy
    x, y, z = ground.points
    side, fine = np.abs(x), 0.5 * ground.fine
    wide = 0.85 + 0.6 * old
    ambient = np.minimum(
        np.minimum(1.6 + 1.8 * old + 3.0 * fine + 1.2 * ground.relief + stem, -stem),
        9.0 - np.abs(z + 17.0),
    )
    return largest(
        np.minimum(ambient, 34.0 - y),
        ellipsoid(side, y + 11.0, z + 23.0, 12.0 * wide, 9.0 * wide, 6.0) + fine,
        ellipsoid(side, y + 3.0, z + 17.0, 5.0 * wide, 5.0, 6.0),
        ellipsoid(side, y - 29.0 - 0.03 * side * side, z + 8.0, 14.0 * wide, 4.0 * wide, 6.0)
        + fine,
        ellipsoid(side, y + 9.0 - 0.4 * (z + 40), z + 40.0, 17.0, 5.5 * wide, 16.0) + fine,
        ellipsoid(side - 17.0, y - 8.0, z + 40.0, 10.0, 4.5 * wide, 8.0) + fine,
        ellipsoid(side, y - 64.0, z + 60.0, 12.0 * wide, 12.0 * wide, 10.0) + fine,
    )
