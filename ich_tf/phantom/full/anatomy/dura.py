"""What is dense without a bleed: dura, venous sinuses, vessels, calcifications."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.skull import Skull
from ich_tf.phantom.full.anatomy.traits import Traits
from ich_tf.phantom.shapes import capsule, disc, share

# Vessels at the base, on the left: x, y, z and radius at both ends.
_ARTERIES = (
    ((9.0, -13.0, -34.0, 2.2), (8.0, -12.0, -23.0, 2.0)),  # internal carotid
    ((8.0, -12.0, -23.0, 1.5), (30.0, -19.0, -18.0, 1.4)),  # middle cerebral
    ((30.0, -19.0, -18.0, 1.1), (42.0, -14.0, -6.0, 0.9)),
    ((8.0, -12.0, -23.0, 1.2), (1.2, -26.0, -18.0, 1.0)),  # anterior cerebral
    ((1.2, -26.0, -18.0, 1.0), (1.2, -40.0, 4.0, 1.0)),
    ((0.0, -4.5, -21.0, 1.2), (16.0, 6.0, -18.0, 1.0)),  # posterior cerebral
    ((0.0, -9.0, -36.0, 1.7), (0.0, -4.5, -21.0, 1.7)),  # basilar
    ((7.0, 8.0, -66.0, 1.6), (0.0, -2.0, -46.0, 1.6)),  # vertebral
)


@dataclasses.dataclass(frozen=True)
class Calcification:
    """A grain of calcium, as dense as blood after partial volume, or denser.

    Attributes:
      center: x, y and z in the standard head, mm.
      radius_mm: Radius, 0.7 to 3.2 mm.
      stretch: Length along y relative to the other axes.
      hu: Hounsfield units, 90 to 700.
    """

    center: tuple[float, float, float]
    radius_mm: float
    stretch: float
    hu: float


def build_dense(
    calcifications: tuple[Calcification, ...],
    ground: Ground,
    skull: Skull,
    tent: np.ndarray,
) -> np.ndarray:
    """Hounsfield units of what is denser than brain in the cavity; 0 elsewhere."""
    traits = ground.traits
    x, y, z = ground.points
    side = np.abs(x)
    dense = np.zeros_like(x)
    dura = 55.0 + 0.3 * traits.contrast_hu
    blood = traits.blood_hu
    # The falx: thin before, thick behind, free above the corpus callosum.
    free = -disc(y - 2.0, z - 8.0, 50.0, 30.0) - 1.0
    sickle = np.minimum(np.minimum(free, tent), z + 24.0 + 0.55 * np.minimum(y, 40.0) * (y > 0))
    thick = 0.95 + 0.25 * np.clip(y / 60.0, -0.5, 1.0)
    patchy = np.clip(0.9 + 0.25 * ground.fine, 0.3, 1.0)
    _raise(dense, share(np.minimum(thick - side, sickle)) * patchy, dura)
    leaf = np.minimum(0.7 - np.abs(tent), np.minimum(side - 8.0, 100.0))
    _raise(dense, 0.75 * share(np.where(tent < -100.0, np.float32(-9.0), leaf)), dura)
    sagittal = 4.4 - side - 0.55 * np.abs(skull.vault - 2.5)
    _raise(dense, share(np.minimum(sagittal, 0.5 * y + z - 8.0)), blood)
    straight = 2.4 - np.hypot(side, 0.9 * (z - 5.0 + 0.5 * (y - 30.0)))
    _raise(dense, share(np.minimum(straight, y - 32.0)), blood)
    transverse = 3.8 - np.hypot(0.8 * (z + 22.0 + 0.12 * side - 2.0), skull.vault - 2.5)
    right = np.where(x > 0, np.float32(-0.8), np.float32(0.4))
    _raise(dense, share(np.minimum(transverse + right, y - 20.0)), blood)
    galen = capsule(side, y, z, (0.0, 26.0, -1.0, 1.8), (0.0, 33.0, 4.0, 2.2), 1.0)
    _raise(dense, share(galen), blood)
    for start, end in _ARTERIES:
        low = [min(pair) - 4.0 for pair in zip(start[:3], end[:3], strict=True)]
        high = [max(pair) + 4.0 for pair in zip(start[:3], end[:3], strict=True)]
        if region := ground.box((-high[0], low[1], low[2]), (high[0], high[1], high[2])):
            part = ground.crop(region)
            bent = np.abs(part.x) + 0.6 * part.fine, part.y + part.fine
            vessel = capsule(*bent, part.z, start, end, 1.0)
            _raise(dense[region], share(vessel), blood + 4.0)
    for item in calcifications:
        (px, py, pz), reach = item.center, 2.5 * item.radius_mm + 3.0
        corners = [(px + reach * s, py + reach * s, pz + reach * s) for s in (-1.0, 1.0)]
        if region := ground.box(corners[0], corners[1]):
            part = ground.crop(region)
            distance = np.sqrt(
                (part.x - px) ** 2 + ((part.y - py) / item.stretch) ** 2 + (part.z - pz) ** 2
            )
            grain = item.radius_mm - distance + 0.5 * part.fine
            _raise(dense[region], share(grain, 1.8), item.hu)
    return dense


def _raise(dense: np.ndarray, part: np.ndarray, value: float) -> None:
    np.maximum(dense, part * np.float32(value), out=dense)


def draw_calcifications(rng: np.random.Generator, traits: Traits) -> tuple[Calcification, ...]:
    """Draws which of choroid plexus, pineal gland, falx, basal ganglia and carotids have calcified.

    Chances are chosen, and rise with age: choroid plexus and pineal gland in most adults, basal
    ganglia in few.
    """
    old = (traits.age - 18.0) / 77.0
    spread = min(max(0.75 + 0.3 * traits.ventricle, 0.85), 1.1)
    places = [
        ((0.0, 27.0, -1.0), (1.2, 3.0), 0.55 + 0.3 * old),
        ((0.0, 22.0, 2.0), (0.7, 1.2), 0.3),
    ]
    for sign in (-1.0, 1.0):
        places += [
            ((sign * 23.0 * spread, 37.0, 11.0), (1.2, 3.2), 0.4 + 0.5 * old),
            ((sign * 22.0 * spread, 32.0, 16.0), (0.8, 2.0), 0.3 + 0.4 * old),
            ((sign * 19.0, -2.0, 1.0), (0.8, 2.5), 0.05 + 0.25 * old),
            ((sign * 10.0, -14.0, -32.0), (1.0, 2.0), 0.75 * old),
        ]
    for _ in range(3):
        falx = 0.0, float(rng.uniform(-66.0, -40.0)), float(rng.uniform(15.0, 50.0))
        places.append((falx, (1.0, 2.6), 0.3 * old))
    items = []
    for center, radius, chance in places:
        moved = [value + float(rng.normal(0.0, 1.2)) for value in center]
        item = Calcification(
            center=(moved[0], moved[1], moved[2]),
            radius_mm=float(rng.uniform(*radius)),
            stretch=float(rng.uniform(0.6, 2.0)),
            hu=float(rng.uniform(90.0, 700.0)),
        )
        if rng.uniform() < chance:
            items.append(item)
    return tuple(items)
