"""Error of a model's volumes, and the intervals that hold it.

An interval is the volume v, moved on the scale log(v + offset) by the same way up and down: errors
of volumes that are small beside the offset are absolute, those of large ones relative. The way is
the one within which the masks of nine in ten validation series lay (split conformal prediction).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Share of the series whose true volume an interval is to hold.
COVERAGE = 0.9
# Volumes are given to the microlitre; less is no bleed.
LEAST_ML = 0.0005


@dataclass(frozen=True)
class VolumeError:
    """Error that volumes of a class have in nine of ten series.

    Attributes:
      offset_ml: Volume at which an error goes over from absolute to relative, ml, above 0.
      log_error: Greatest error, natural logarithm of a ratio, 0 or more.

    Examples:
      >>> [round(ml, 1) for ml in VolumeError(1.0, 0.3).interval(20.0)]
      [14.6, 27.3]
    """

    offset_ml: float
    log_error: float

    def __post_init__(self) -> None:
        if not (0 < self.offset_ml < math.inf and 0 <= self.log_error < math.inf):
            raise ValueError(
                "an error of volumes that is not finite, or an offset that is not above 0"
            )

    def interval(self, ml: float) -> tuple[float, float]:
        """Least and greatest true volume, ml, of a predicted one.

        Args:
          ml: Predicted volume, above 0; nothing follows from a bleed that was not found, for which
            both are NaN.
        """
        if not ml >= LEAST_ML:
            return math.nan, math.nan
        low, high = self.ends(np.array(ml))
        return float(low), float(high)

    def ends(self, ml: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`interval` of many volumes above 0, float64 [n] each."""
        low = (ml + self.offset_ml) * np.exp(-self.log_error) - self.offset_ml
        high = (ml + self.offset_ml) * np.exp(self.log_error) - self.offset_ml
        return np.maximum(low, 0.0), high
