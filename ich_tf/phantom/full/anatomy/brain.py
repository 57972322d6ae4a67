"""The brain: its parts, the sulci of its cortex, and its Hounsfield units.

Each hemisphere has a core, a line through its white matter. A point lies on a ray from the core to
the surface; noise at the surface, where the ray meets it, says where sulci are. They are walls
upright on the surface, on the outside and towards the falx, wind with it, and wander as they go
deeper, which noise at the point itself sees to.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.ground import BOX, Ground
from ich_tf.phantom.full.anatomy.noise import Noise
from ich_tf.phantom.full.anatomy.skull import Skull, slope_distance
from ich_tf.phantom.shapes import capsule, disc, ellipsoid, largest, share

BRAIN_BOX = ((-72.0, -92.0, -78.0), (72.0, 96.0, 76.0))
# Ends of the cores, on the left: frontal to parietal, and temporal.
_CORES = (
    ((25.0, -46.0, 4.0), (26.0, 44.0, 20.0)),
    ((43.0, -24.0, -32.0), (36.0, 34.0, -10.0)),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Cortex:
    """Distances, mm, in the cerebrum.

    Attributes:
      surface: Distance below the surface of a hemisphere.
      sulcus: Distance from the wall in the middle of the nearest sulcus.
      reach: Distance below the surface at which that sulcus ends, less that of the point.
      width: Half width of the sulcus; negative where its banks touch.
    """

    surface: np.ndarray
    sulcus: np.ndarray
    reach: np.ndarray
    width: np.ndarray


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


def build_cortex(
    rng: np.random.Generator, ground: Ground, skull: Skull, tent: np.ndarray
) -> Cortex:
    """Folds the surface of the hemispheres."""
    old = ground.traits.atrophy
    x, y, z = ground.points
    side = np.abs(x)
    # Towards the falx a hemisphere has a surface around the corpus callosum only.
    medial = np.maximum(side - 0.6, disc(y - 4.0, z - 8.0, 44.0, 22.0) * 1.5)
    medial = np.where(z < -14.0, np.maximum(medial, 12.0 + 0.3 * (y + 60)), medial)
    surface = np.minimum(np.minimum(skull.depth, medial), np.maximum(tent, 0.0) + 1.0)
    px, py, pz = _nearest_core(side, y, z)
    dx, dy, dz = side - px, y - py, z - pz
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    outwards = 1.0 + surface / np.maximum(length, 4.0)
    wander = Noise(rng, 4.5, *BOX), Noise(rng, 4.5, *BOX), Noise(rng, 4.5, *BOX)
    deep = 2.6 + 0.05 * surface
    at = tuple(
        point + delta * outwards + deep * noise(ground.points)
        for point, delta, noise in zip((px, py, pz), (dx, dy, dz), wander, strict=True)
    )
    at = (at[0] + np.where(x > 0, 0.0, 75.0).astype(np.float32), at[1], at[2])
    box = ((-20.0, -110.0, -100.0), (160.0, 120.0, 95.0))
    folds = Noise(rng, 4.0, *box, band=True)(at)
    sulcus = np.abs(slope_distance(folds, ground.step_mm, 0.09))
    depths = Noise(rng, 7.0, *box)(at)
    widths = Noise(rng, 5.0, *box)(at)
    # The opercula are folded down to the insula.
    insular = np.exp(-(((y + 4.0) / 26.0) ** 2) - ((z - 4.0) / 18.0) ** 2)
    reach = 13.0 + 5.0 * depths + 9.0 * insular - surface
    width = 0.35 + 1.05 * old + (0.4 + 0.35 * old) * widths
    return Cortex(surface, sulcus, reach, width)


def _nearest_core(
    side: np.ndarray, y: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    best: list[np.ndarray] = []
    for start, end in _CORES:
        ends = [np.float32(e - s) for s, e in zip(start, end, strict=True)]
        offsets = [axis - np.float32(s) for axis, s in zip((side, y, z), start, strict=True)]
        square = sum(float(e) ** 2 for e in ends)
        along = np.clip(
            sum(o * e for o, e in zip(offsets, ends, strict=True)) * np.float32(1 / square), 0, 1
        )
        point = [np.float32(s) + along * e for s, e in zip(start, ends, strict=True)]
        distance = sum((a - p) ** 2 for a, p in zip((side, y, z), point, strict=True))
        if not best:
            best, nearest = point, distance
        else:
            closer = distance < nearest
            best = [np.where(closer, new, kept) for new, kept in zip(point, best, strict=True)]
    return best[0], best[1], best[2]


def brain_stem(side: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance from the surface of midbrain, pons, medulla and cord, positive inside."""
    stem = largest(
        capsule(side, y, z, (0.0, 11.0, -8.0, 13.5), (0.0, 7.0, -24.0, 14.0), 1.0),
        ellipsoid(side, y - 6.0, z + 33.0, 18.0, 14.0, 14.0),
        capsule(side, y, z, (0.0, 12.0, -42.0, 11.0), (0.0, 30.0, -72.0, 7.0), 1.0),
        capsule(side, y, z, (0.0, 30.0, -72.0, 7.0), (0.0, 40.0, -135.0, 5.5), 1.0),
    )
    # The peduncles stand apart.
    notch = ellipsoid(side, y + 5.0, z + 14.0, 5.0, 8.0, 8.0)
    return np.asarray(np.minimum(stem, -notch))


def cerebellum(skull: Skull, side: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance from the surface of the cerebellum, positive inside; it fills its fossa to the tent.

    Before it lie the angle between pons and petrous bone and the brain stem, below it a cistern.
    """
    front = y - 7.0 - 0.42 * np.maximum(side - 12.0, 0.0)
    bottom = z + 66.0 - 0.25 * np.abs(side - 22.0)
    notch = np.hypot(0.6 * side, 0.5 * (y - 84.0)) - 6.0 + 0.15 * np.maximum(z + 40.0, 0.0)
    body = np.minimum(np.minimum(front, bottom), skull.depth - 0.5)
    return np.asarray(np.minimum(body, notch))


def nuclei(ground: Ground) -> np.ndarray:
    """Share of grey matter in the depth: caudate, lentiform nucleus, thalamus, insula."""
    x, y, z = ground.points
    side = np.abs(x)
    spread = 2.5 * ground.traits.ventricle - 1.5
    wide = 0.8 * ground.fine
    caudate = largest(
        ellipsoid(side - 12.0 - spread, y + 24.0, z - 8.0, 6.0, 11.0, 11.0),
        capsule(
            side, y, z, (13.0 + spread, -16.0, 16.0, 4.0), (19.0 + spread, 22.0, 20.0, 2.0), 1.0
        ),
    )
    lentiform = ellipsoid(side - 25.0 - 0.18 * (y + 3.0), y + 3.0, z - 3.0, 7.5, 20.0, 13.0)
    thalamus = ellipsoid(side - 11.0 - 0.3 * (y - 12.0), y - 13.0, z - 6.0, 9.0, 15.0, 11.0)
    grey = share(caudate + wide, 2.5)
    np.maximum(grey, 0.9 * share(lentiform + wide, 2.5), out=grey)
    np.maximum(grey, 0.75 * share(thalamus + wide, 3.5), out=grey)
    return grey
