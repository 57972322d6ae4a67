"""Volumes of leading bleeds."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

# Median in ml, and standard deviation of the natural logarithm, in the order of SUBTYPES.
# Intraparenchymal: a median of 11 ml with quartiles of 6 and 20 in INTERACT2 (Anderson et al., NEJM
# 2013), wider here, since trials leave out the large ones and contusions are small. The others are
# chosen, for series of all patients rather than of operated ones: epidural 20 ml (operated from 30
# ml on: Bullock et al., Neurosurgery 2006), subdural 28, subarachnoid 10, intraventricular 8.
_MEDIANS_ML = (20.0, 11.0, 8.0, 10.0, 28.0)
_SIGMAS = (1.1, 1.1, 1.1, 1.0, 1.1)


def draw_volume(rng: np.random.Generator, leading: int, low_ml: float, high_ml: float) -> float:
    """Draws the volume of a leading bleed: lognormal, cut off at both ends.

    Args:
      rng: Random generator.
      leading: Subtype, an index of `SUBTYPES`.
      low_ml: Smallest volume.
      high_ml: Largest volume.
    """
    normal = NormalDist(math.log(_MEDIANS_ML[leading]), _SIGMAS[leading])
    low, high = normal.cdf(math.log(low_ml)), normal.cdf(math.log(high_ml))
    probability = low + (high - low) * float(rng.uniform())
    # Both ends may lie so far out that their probability is 0 or 1.
    if not 0.0 < probability < 1.0:
        return low_ml
    return float(np.clip(math.exp(normal.inv_cdf(probability)), low_ml, high_ml))
