"""The cortex and its sulci.

Each hemisphere has a core, a line through its white matter. A point lies on a ray from the core to
the surface; noise at the surface, where the ray meets it, says where sulci are. They are walls
upright on the surface, on the outside and towards the falx, wind with it, and wander as they go
deeper, which noise at the point itself sees to.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.noise import Noise
from ich_tf.phantom.full.anatomy.skull import Skull, slope_distance
from ich_tf.phantom.shapes import disc

# Box of all brain, medulla included: lowest and highest (x, y, z) in the standard head.
BRAIN_BOX = ((-72.0, -92.0, -100.0), (72.0, 96.0, 76.0))
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


class Folds:
    """Where the sulci of a head are, how deep and how wide."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draws the folds."""
        self.wander = Noise(rng, 4.5, *BRAIN_BOX, count=3)
        # The right hemisphere's noise lies beside the left one's.
        box = ((-10.0, -100.0, -60.0), (150.0, 105.0, 85.0))
        self.walls = Noise(rng, 4.0, *box, band=True)
        self.depths = Noise(rng, 7.0, *box)
        self.widths = Noise(rng, 5.0, *box)


def build_cortex(folds: Folds, ground: Ground, skull: Skull, tent: np.ndarray) -> Cortex:
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
    deep = 2.6 + 0.05 * surface
    at = tuple(
        point + delta * outwards + deep * noise
        for point, delta, noise in zip(
            (px, py, pz), (dx, dy, dz), folds.wander.all(ground.points), strict=True
        )
    )
    at = (at[0] + np.where(x > 0, 0.0, 76.0).astype(np.float32), at[1], at[2])
    sulcus = np.abs(slope_distance(folds.walls(at), ground.step_mm, 0.09))
    # The opercula are folded down to the insula.
    insular = np.exp(-(((y + 4.0) / 26.0) ** 2) - ((z - 4.0) / 18.0) ** 2)
    reach = 13.0 + 5.0 * folds.depths(at) + 9.0 * insular - surface
    width = 0.45 + 1.4 * old + (0.45 + 0.8 * old) * folds.widths(at)
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
