"""Old infarcts: dark areas of brain, as old people have them without knowing."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.traits import Traits
from ich_tf.phantom.shapes import blend, ellipsoid, share

# Middles of the usual places, on the left: branches of the middle cerebral artery, posterior
# cerebral artery, border zones, cerebellum.
_TERRITORIES = (
    (50.0, 0.0, 20.0),
    (46.0, -30.0, 12.0),
    (44.0, 42.0, 14.0),
    (30.0, 58.0, 0.0),
    (34.0, -40.0, 36.0),
    (30.0, 52.0, -42.0),
)
_DEEP = (
    (25.0, -4.0, 3.0),
    (17.0, -6.0, 8.0),
    (11.0, 13.0, 6.0),
    (22.0, 6.0, 22.0),
    (4.0, 6.0, -32.0),
)


@dataclasses.dataclass(frozen=True)
class Infarct:
    """An old infarct.

    Attributes:
      center: x, y and z in the standard head, mm.
      radii_mm: Half axes: 2 to 6 of a lacune (3 to 15 mm across by definition), 9 to 24 of an
        infarct of a branch.
      hu: Hounsfield units, 10 to 24: between fluid and white matter.
    """

    center: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    hu: float

    def add(self, ground: Ground, hu: np.ndarray) -> None:
        """Darkens brain.

        Args:
          ground: The points.
          hu: Hounsfield units of brain at the points, changed in place.
        """
        reach = [1.4 * radius + 3.0 for radius in self.radii_mm]
        low = [c - r for c, r in zip(self.center, reach, strict=True)]
        high = [c + r for c, r in zip(self.center, reach, strict=True)]
        region = ground.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        if region is None:
            return
        part = ground.crop(region)
        x, y, z = (
            axis - np.float32(middle) for axis, middle in zip(part.points, self.center, strict=True)
        )
        size = min(self.radii_mm)
        inside = ellipsoid(x, y, z, *self.radii_mm)
        inside += np.float32(0.18 * size) * np.clip(part.relief + 0.5 * part.fine, -2.0, 2.0)
        blend(hu[region], share(inside, 1.5 + 0.12 * size), self.hu)


def draw_infarcts(rng: np.random.Generator, traits: Traits) -> tuple[Infarct, ...]:
    """Draws old infarcts: chances are chosen, and rise with age and white-matter disease."""
    old = (traits.age - 18.0) / 77.0
    infarcts = []
    if rng.uniform() < 0.25 * old:
        radii = rng.uniform(9.0, 24.0) * rng.uniform(0.6, 1.0, 3)
        infarcts.append(_infarct(rng, _TERRITORIES, radii, 5.0))
    for _ in range(rng.poisson(1.6 * traits.white_disease)):
        radii = rng.uniform(2.0, 6.0) * rng.uniform(0.6, 1.0, 3)
        infarcts.append(_infarct(rng, _DEEP, radii, 3.0))
    return tuple(infarcts)


def _infarct(
    rng: np.random.Generator,
    places: tuple[tuple[float, float, float], ...],
    radii: np.ndarray,
    spread_mm: float,
) -> Infarct:
    place = np.array(places[rng.integers(len(places))]) + rng.normal(0.0, spread_mm, 3)
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    return Infarct(
        center=(side * float(place[0]), float(place[1]), float(place[2])),
        radii_mm=(float(radii[0]), float(radii[1]), float(radii[2])),
        hu=float(rng.uniform(10.0, 24.0)),
    )
