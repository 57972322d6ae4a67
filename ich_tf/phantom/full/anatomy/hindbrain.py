"""The posterior fossa: tentorium, brain stem, cerebellum."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.skull import Skull
from ich_tf.phantom.shapes import capsule, ellipsoid, largest


@dataclasses.dataclass(frozen=True, eq=False)
class Hindbrain:
    """Distances, mm, positive inside.

    Attributes:
      stem: Distance from the surface of midbrain, pons, medulla and cord.
      cerebellum: Distance from the surface of the cerebellum.
      turn: Distance from the middle of its leaves, with their unevenness.
    """

    stem: np.ndarray
    cerebellum: np.ndarray
    turn: np.ndarray


def build_hindbrain(ground: Ground, skull: Skull) -> Hindbrain:
    """Builds brain stem and cerebellum, which fills its fossa up to the tentorium."""
    x, y, z = ground.points
    side = np.abs(x)
    stem = largest(
        capsule(side, y, z, (0.0, 11.0, -8.0, 13.5), (0.0, 7.0, -24.0, 14.0), 1.0),
        ellipsoid(side, y - 6.0, z + 33.0, 18.0, 14.0, 14.0),
        capsule(side, y, z, (0.0, 12.0, -42.0, 11.0), (0.0, 30.0, -72.0, 7.0), 1.0),
        capsule(side, y, z, (0.0, 30.0, -72.0, 7.0), (0.0, 40.0, -135.0, 5.5), 1.0),
    )
    # The peduncles stand apart.
    notch = ellipsoid(side, y + 5.0, z + 14.0, 5.0, 8.0, 8.0)
    # Before the cerebellum is the angle between pons and petrous bone, below and behind a cistern.
    front = y - 7.0 - 0.42 * np.maximum(side - 12.0, 0.0)
    bottom = z + 66.0 - 0.25 * np.abs(side - 22.0)
    cleft = np.hypot(0.6 * side, 0.5 * (y - 84.0)) - 6.0 + 0.15 * np.maximum(z + 40.0, 0.0)
    body = np.minimum(np.minimum(front, bottom), np.minimum(skull.depth - 0.5, cleft))
    turn = np.sqrt(x * x + (y - 26.0) ** 2 + 1.7 * (z + 48.0) ** 2) + 1.2 * ground.fine
    return Hindbrain(np.minimum(stem, -notch), body, turn)


def tentorium_height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Height of the tentorium at each point of the axial plane, mm, float32.

    Before the petrous ridges there is none: -200. In its notch, around the brain stem, it is the
    plane between midbrain and pons.
    """
    side = np.abs(x)
    middle = 5.0 - 0.5 * (y - 30.0)
    fall = 0.66 * np.clip(1.0 - (y - 28.0) * np.float32(1 / 64), 0.06, 1.1)
    leaf = middle - fall * side
    notch = (side * np.float32(1 / 17)) ** 2 + ((y - 8.0) * np.float32(1 / 26)) ** 2 < 1.0
    behind = y > 2.0 + 0.58 * np.maximum(side - 14.0, 0.0)
    height = np.where(behind, leaf, np.float32(-200.0))
    return np.asarray(np.where(notch, np.minimum(leaf, np.float32(-17.0)), height))
