"""How well inserted bleeds are found: AUC and sensitivity of groups of cases, and false alarms."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ich_tf import metrics
from ich_tf.labels import SUBTYPES

# Bounds of the groups by millilitres, contrast, noise and thickness.
_BOUNDS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "volume": ("ml", "ml", (2.0, 5.0, 15.0, 30.0)),
    "contrast with the tissue beside": ("contrast_hu", "HU", (10.0, 20.0, 30.0)),
    "noise of the scan": ("noise_hu", "HU", (3.0, 4.0, 5.5)),
    "depth below the skull": ("depth_mm", "mm", (5.0, 15.0, 30.0)),
    "slice thickness": ("thickness_mm", "mm", (2.0, 4.0, 6.0)),
}
# Fewer studies give intervals that are too narrow to show.
_LEAST_SOURCES = 5


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with its interval.

    Attributes:
      value: The number; None where it is undefined.
      low: Lower end of the 95 % interval; None without one.
      high: Upper end.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def text(self) -> str:
        """The number as a report shows it."""
        if self.value is None:
            return "undefined"
        interval = f" ({self.low:.2f} to {self.high:.2f})" if self.low is not None else ""
        return f"{self.value:.2f}{interval}"


@dataclasses.dataclass(frozen=True)
class Row:
    """Detectability of a group of cases.

    Attributes:
      name: Name of the group.
      num_sources: Number of source studies.
      num_cases: Number of cases with a labelled slice.
      num_slices: Number of their labelled slices.
      auc: AUC of the labelled slices against all slices of the untouched scans.
      slice_sensitivity: Share of the labelled slices at or above the threshold.
      case_sensitivity: Share of the cases with such a slice.
    """

    name: str
    num_sources: int
    num_cases: int
    num_slices: int
    auc: Estimate
    slice_sensitivity: Estimate
    case_sensitivity: Estimate


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredSlices:
    """Slices with their probability of any bleed.

    Attributes:
      scores: Probabilities, float64 [n].
      sources: Source study of each, str [n].
      scans: Scan of each, which is a case or an untouched series, str [n].
    """

    scores: np.ndarray
    sources: np.ndarray
    scans: np.ndarray

    def take(self, mask: np.ndarray) -> ScoredSlices:
        """Some of the slices."""
        return ScoredSlices(self.scores[mask], self.sources[mask], self.scans[mask])


def tables(
    cases: Sequence[dict[str, Any]],
    labelled: ScoredSlices,
    untouched: ScoredSlices,
    threshold: float,
    num_resamples: int,
) -> dict[str, list[Row]]:
    """Computes the tables of the report.

    Args:
      cases: Cases of the manifest.
      labelled: Labelled slices of all cases.
      untouched: All slices of the untouched scans.
      threshold: Least probability of a positive decision.
      num_resamples: Number of bootstrap resamples; 0 for no intervals.

    Returns:
      Heading -> rows.
    """

    def row(name: str, members: Sequence[dict[str, Any]]) -> Row:
        names = [case["case"] for case in members]
        part = labelled.take(np.isin(labelled.scans, names))
        return _row(name, part, untouched, threshold, num_resamples)

    found = {"all": [row("all cases", cases)]}
    found["leading subtype"] = [
        row(subtype, [case for case in cases if case["leading"] == subtype])
        for subtype in SUBTYPES
        if any(case["leading"] == subtype for case in cases)
    ]
    for heading, (key, unit, bounds) in _BOUNDS.items():
        groups: dict[str, list[dict[str, Any]]] = {}
        edges = [-math.inf, *bounds, math.inf]
        for low, high in itertools.pairwise(edges):
            inside = [case for case in cases if case[key] is not None and low <= case[key] < high]
            if inside:
                groups[_interval(low, high, unit)] = inside
        found[heading] = [row(name, inside) for name, inside in groups.items()]
    kernels = sorted({str(case["kernel"]) for case in cases})
    found["kernel"] = [
        row(kernel, [case for case in cases if case["kernel"] == kernel]) for kernel in kernels
    ]
    return found


def false_alarms(
    untouched: ScoredSlices, threshold: float, num_resamples: int
) -> tuple[Estimate, Estimate]:
    """Shares of the untouched slices, and of the untouched scans, at or above the threshold."""
    scans, sources, alarms = _by_scan(untouched, threshold)
    by_slice = _share(untouched.scores >= threshold, untouched.sources, num_resamples)
    return by_slice, _share(alarms, sources, num_resamples) if len(scans) else Estimate(None)


def _interval(low: float, high: float, unit: str) -> str:
    if low == -math.inf:
        return f"below {high:g} {unit}"
    return f"{low:g} {unit} and more" if high == math.inf else f"{low:g} to {high:g} {unit}"


def _row(
    name: str,
    part: ScoredSlices,
    untouched: ScoredSlices,
    threshold: float,
    num_resamples: int,
) -> Row:
    scans, sources, found = _by_scan(part, threshold)
    truth = np.repeat([1, 0], [len(part.scores), len(untouched.scores)])
    scores = np.concatenate([part.scores, untouched.scores])
    groups = np.concatenate([part.sources, untouched.sources])
    auc = _estimate(lambda weight: metrics.roc_auc(truth, scores, weight), groups, num_resamples)
    return Row(
        name,
        len(set(part.sources.tolist())),
        len(scans),
        len(part.scores),
        auc if len(part.scores) else Estimate(None),
        _share(part.scores >= threshold, part.sources, num_resamples),
        _share(found, sources, num_resamples),
    )


def _by_scan(part: ScoredSlices, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names of the scans, their sources, and whether any slice is at or above the threshold."""
    scans, first, member = np.unique(part.scans, return_index=True, return_inverse=True)
    found = np.zeros(len(scans), bool)
    np.logical_or.at(found, member, part.scores >= threshold)
    return scans, part.sources[first], found


def _share(hits: np.ndarray, sources: np.ndarray, num_resamples: int) -> Estimate:
    if not len(hits):
        return Estimate(None)

    def share(weight: np.ndarray) -> np.ndarray:
        total = weight.sum(axis=-1)
        return np.asarray((weight @ hits.astype(float)) / np.where(total > 0, total, np.nan))

    return _estimate(share, sources, num_resamples)


def _estimate(
    statistic: Callable[[np.ndarray], Any], groups: np.ndarray, num_resamples: int
) -> Estimate:
    value = float(np.ravel(statistic(np.ones((1, len(groups)))))[0]) if len(groups) else math.nan
    if math.isnan(value):
        return Estimate(None)
    if not num_resamples or len(set(groups.tolist())) < _LEAST_SOURCES:
        return Estimate(value)
    interval = metrics.bootstrap_interval(statistic, groups, num_resamples=num_resamples)
    if math.isnan(interval.low):
        return Estimate(value)
    return Estimate(value, float(interval.low), float(interval.high))
