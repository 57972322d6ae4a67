"""A statistic: one number of each slice, by which scans are compared."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Statistic:
    """Name and meaning of a number that is measured of slices.

    Attributes:
      name: Name, unique among all statistics.
      unit: Unit; empty for a share or a ratio.
      meaning: What it is, for the report.
      resolution: Difference below which two values are the same, in the unit. Spreads smaller than
        it count as this large.
    """

    name: str
    unit: str
    meaning: str
    resolution: float


# Name of a statistic -> its value in each slice, float64 [slices]; NaN where it has none.
Values = dict[str, np.ndarray]


def nothing(num_slices: int) -> np.ndarray:
    """Values of a statistic before any slice is measured, float64 [num_slices]."""
    return np.full(num_slices, np.nan)
