"""Blood as CT shows it: density by age, haematocrit and clotting, texture, fluid levels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.phantom.full.bleeds.noise import Noise
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import share

# Serum, and the fluid that is left of an old clot.
_SERUM_HU = 20.0
# A clot reaches its density within hours, and keeps it for about three days.
_CLOTTING_HOURS = 1.5
_PLATEAU_DAYS = 3.0


@dataclasses.dataclass(frozen=True, eq=False)
class Blood:
    """The blood of one bleed.

    Density follows from haemoglobin: whole blood of a haematocrit of 45 % has about 55 HU, and a
    clot, which squeezes serum out, 60 to 80 HU (New and Aronow, Radiology 1976). It then falls by
    1.4 HU a day on average (0.7 EMI units; Dolinskas et al., AJR 1977), from the outside inwards.
    Unclotted blood settles: serum above, cells below, with a level between them, found in patients
    with a disorder of coagulation (Pfleger et al., AJNR 1994). A patient lies on the back.

    Attributes:
      days: Age.
      haematocrit: Share of cells: 0.36 to 0.48, and 0.2 to 0.3 in anaemia (textbooks).
      retraction: Factor of the density of cells by clotting: 1.25 to 1.5 (chosen, for 60 to 80 HU).
      loss_hu: Loss of density a day, after the first three: 1.0 to 2.0 (around Dolinskas' mean);
        2 to 4 in fluid spaces, where blood is washed out (chosen).
      texture_hu: Standard deviation of the clot's texture: 1.5 to 5 (chosen).
      swirl: Share of liquid, not yet clotted blood in the clot: 0, or 0.08 to 0.3 in the first
        hours (the swirl sign; chosen).
      settled: Share of the bleed above a level between serum and cells; 0 for none.
      mixture: Share of fresh blood in an old bleed, as pools between membranes; 0 for none.
      membranes: Whether membranes divide an old bleed.
      level_mm: y of the level between serum and cells; nothing above it if infinite.
      texture: Noise of clot and pools.
    """

    days: float
    haematocrit: float
    retraction: float
    loss_hu: float
    texture_hu: float
    texture: Noise
    swirl: float = 0.0
    settled: float = 0.0
    mixture: float = 0.0
    membranes: bool = False
    level_mm: float = -math.inf

    @property
    def clot_hu(self) -> float:
        """Mean density of the clot at this age, without liquid parts."""
        return self._density(self.days)

    def hu(self, part: Voxels, inside_mm: np.ndarray) -> np.ndarray:
        """Density of the blood at each point.

        Args:
          part: Points.
          inside_mm: Distance from the bleed's surface, positive inside.
        """
        grain = self.texture.at(part.x, part.y, part.z)
        hu = np.float32(self.clot_hu) + np.float32(self.texture_hu) * grain
        old = min(max(self.days - _PLATEAU_DAYS, 0.0) / 10.0, 1.0)
        if old:
            # Dissolved from the outside: the rim is ahead of the middle.
            loss = min(10.0 * old, self.clot_hu - _SERUM_HU)
            hu -= np.float32(loss) * (1.0 - share(inside_mm - 4.0, 8.0))
        if self.swirl or self.mixture:
            lump = self.texture.at(0.45 * part.y, 0.45 * part.z, 0.45 * part.x)
        if self.swirl:
            # Standard normal: the largest values are the liquid pools.
            pool = share(lump - np.float32(_normal_quantile(1.0 - self.swirl)), 0.5)
            hu += pool * (np.float32(100.0 * self.haematocrit - 2.0) - hu)
        if self.mixture:
            fresh = share(lump - np.float32(_normal_quantile(1.0 - self.mixture)), 0.7)
            hu += fresh * (np.float32(self._density(1.0)) - hu)
        if self.membranes:
            wall = self.texture.at(0.3 * part.x, 0.3 * part.y, 0.3 * part.z)
            hu += share(0.16 - np.abs(wall), 0.16) * (52.0 - hu)
        if self.level_mm > -math.inf:
            # Towards the level serum clears and cells gather.
            above = share(self.level_mm - part.y + 0.6 * grain, 4.0)
            hu += 4.0 * (1.0 - above)
            hu += above * (_SERUM_HU + 8.0 + 0.3 * self.texture_hu * grain - hu)
        return np.asarray(hu, np.float32)

    def levelled(self, y: np.ndarray) -> Blood:
        """The blood with its level placed in a bleed.

        Args:
          y: y of the bleed's voxels.
        """
        if not self.settled or not y.size:
            return self
        return dataclasses.replace(self, level_mm=float(np.quantile(y, self.settled)))

    def later(self, days: float) -> Blood:
        """The same blood after some days, all of it clotted."""
        return dataclasses.replace(self, days=self.days + days, swirl=0.0)

    def _density(self, days: float) -> float:
        whole = 12.0 + 95.0 * self.haematocrit
        clot = 12.0 + 95.0 * self.haematocrit * self.retraction
        dense = whole + (clot - whole) * (1.0 - math.exp(-24.0 * days / _CLOTTING_HOURS))
        return max(dense - self.loss_hu * max(days - _PLATEAU_DAYS, 0.0), _SERUM_HU)


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
