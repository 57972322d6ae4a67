"""Each statistic's distance between phantoms and real scans, in units of the real scans' spread."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ich_tf.image_quality.discrimination import Discrimination, Group, discriminate
from ich_tf.image_quality.measurement import FAMILIES, Measurement
from ich_tf.image_quality.patches import KINDS, feature_names
from ich_tf.image_quality.statistics import Statistic
from ich_tf.image_quality.tissues import HISTOGRAMS

# From so many series on, the spread is that between series; below, between slices.
LEAST_SERIES = 4
WITHIN, NEAR = 1.0, 2.0


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A statistic of phantoms beside that of real scans.

    Attributes:
      statistic: The statistic.
      phantom: Median of the phantom series' medians; NaN if it could not be measured.
      phantom_low: Their 5th percentile.
      phantom_high: Their 95th percentile.
      real: Median of the real series' medians.
      spread: Spread of the real series, or of their slices.
      distance: |phantom - real| / spread.
      is_covered: Whether the real median lies between the phantoms' 5th and 95th percentile.
      verdict: `within the spread`, `near`, `apart`, or why it was not measurable.
    """

    statistic: Statistic
    phantom: float
    phantom_low: float
    phantom_high: float
    real: float
    spread: float
    distance: float
    is_covered: bool
    verdict: str


@dataclasses.dataclass(frozen=True, eq=False)
class RealismResult:
    """Phantoms beside real scans.

    Attributes:
      phantoms: Measures of the phantoms.
      real: Measures of the real series.
      comparisons: Heading -> comparisons.
      histogram_distances: Region -> distance between the histograms of phantoms and of real scans
        (earth mover's), HU.
      discriminations: How well patches tell phantoms from real scans, by kind.
      spread_of: Whose spread it is: `series` or `slices`.
      left_out: `phantoms` or `real` -> number of files, slices or series by the reason for which
        they were left out.
    """

    phantoms: list[Measurement]
    real: list[Measurement]
    comparisons: dict[str, list[Comparison]]
    histogram_distances: dict[str, float]
    discriminations: list[Discrimination]
    spread_of: str
    left_out: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)


def compare(phantoms: Sequence[Measurement], real: Sequence[Measurement]) -> RealismResult:
    """Compares phantoms with real scans.

    Args:
      phantoms: Measures of phantoms, one series or more.
      real: Measures of real series, one or more.
    """
    spread_of = "series" if len(real) >= LEAST_SERIES else "slices"
    comparisons = {
        heading: [_compare(statistic, phantoms, real) for statistic in statistics]
        for heading, statistics in FAMILIES.items()
    }
    discriminations = [
        discriminate(kind, feature_names(kind), _groups(phantoms, kind), _groups(real, kind))
        for kind in KINDS
    ]
    return RealismResult(
        list(phantoms),
        list(real),
        comparisons,
        {name: _earth_mover(name, phantoms, real) for name in HISTOGRAMS},
        discriminations,
        spread_of,
    )


def mean_histogram(name: str, measurements: Sequence[Measurement]) -> np.ndarray:
    """Share of the pixels in each bin, the mean of all series, float64 [bins]."""
    shares = [m.histograms[name] / max(1, m.histograms[name].sum()) for m in measurements]
    return np.asarray(np.mean(shares, axis=0))


def _groups(measurements: Sequence[Measurement], kind: str) -> list[Group]:
    return [
        Group(m.patient, m.patches[kind].slices, m.patches[kind].features) for m in measurements
    ]


def _compare(
    statistic: Statistic, phantoms: Sequence[Measurement], real: Sequence[Measurement]
) -> Comparison:
    of_phantoms, of_real = _medians(statistic, phantoms), _medians(statistic, real)
    nan = math.nan
    if not of_phantoms.size or not of_real.size:
        whose = "phantoms" if not of_phantoms.size else "real scans"
        reason = f"not measurable: no slice of the {whose} has it"
        return Comparison(statistic, nan, nan, nan, nan, nan, nan, False, reason)
    middle, target = float(np.median(of_phantoms)), float(np.median(of_real))
    low, high = (float(v) for v in np.percentile(of_phantoms, [5, 95]))
    if len(real) >= LEAST_SERIES:
        values = of_real
    else:
        values = np.concatenate([m.measured(statistic.name) for m in real])
    spread = max(_spread(values), statistic.resolution)
    distance = abs(middle - target) / spread
    verdict = "within the spread" if distance <= WITHIN else "near" if distance <= NEAR else "apart"
    slack = statistic.resolution
    is_covered = low - slack <= target <= high + slack
    return Comparison(statistic, middle, low, high, target, spread, distance, is_covered, verdict)


def _medians(statistic: Statistic, measurements: Sequence[Measurement]) -> np.ndarray:
    values = np.array([measurement.median(statistic.name) for measurement in measurements])
    return np.asarray(values[np.isfinite(values)])


def _spread(values: np.ndarray) -> float:
    """Robust standard deviation, from the middle half."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 1.349


def _earth_mover(name: str, phantoms: Sequence[Measurement], real: Sequence[Measurement]) -> float:
    """Mean distance by which HU must move for one histogram to become the other."""
    difference = mean_histogram(name, phantoms) - mean_histogram(name, real)
    return float(np.abs(np.cumsum(difference)).sum() * HISTOGRAMS[name].step)
