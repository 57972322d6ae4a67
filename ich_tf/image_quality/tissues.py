"""Hounsfield units of the tissues: histograms, medians and widths."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.image_quality.regions import Regions
from ich_tf.image_quality.statistics import Statistic, Values, nothing

STATISTICS = (
    Statistic("white_hu", "HU", "median of white matter", 1.0),
    Statistic("grey_hu", "HU", "median of grey matter", 1.0),
    Statistic("contrast_hu", "HU", "grey minus white matter, medians", 0.5),
    Statistic("brain_iqr_hu", "HU", "75th minus 25th percentile of brain", 0.5),
    Statistic("fluid_hu", "HU", "median of the ventricles' middle", 1.0),
    Statistic("bone_hu", "HU", "median of the skull where the cavity is wide", 30.0),
    Statistic("bone_p90_hu", "HU", "90th percentile of the same: its tables", 30.0),
    Statistic("scalp_hu", "HU", "median of what lies between that skull and the skin", 5.0),
    Statistic("scalp_iqr_hu", "HU", "75th minus 25th percentile of the same", 5.0),
)
_LEAST_PIXELS = 30
# The vault: slices with this share of the largest area of the cavity.
_WIDE_AREA = 0.7


@dataclasses.dataclass(frozen=True)
class HistogramRange:
    """Bins of a histogram, HU: from `low` to `high` in steps."""

    low: float
    high: float
    step: float

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, float64 [n + 1]."""
        return np.arange(self.low, self.high + self.step / 2, self.step)


HISTOGRAMS = {
    "brain": HistogramRange(-10, 90, 2),
    "white matter": HistogramRange(-10, 90, 2),
    "fluid": HistogramRange(-40, 60, 2),
    "bone": HistogramRange(200, 2200, 40),
    "outside": HistogramRange(-1100, 300, 25),
    "whole": HistogramRange(-1100, 2200, 60),
}


def tissue_statistics(hu: np.ndarray, regions: Regions) -> Values:
    """Statistics of each slice; those of brain only where there is brain.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.
    """
    values = {statistic.name: nothing(len(hu)) for statistic in STATISTICS}
    areas = regions.cavity.sum(axis=(1, 2))
    for index in np.flatnonzero(areas > 0):
        plane = hu[index]
        wide = areas[index] >= _WIDE_AREA * areas.max()
        white, grey = regions.white[index], regions.grey[index]
        deep = regions.depth_mm[index] > 4.0
        bone = regions.bone[index]
        outer = regions.head[index] & ~regions.cavity[index] & ~bone
        measured = {
            "white_hu": _percentile(plane[white], 50),
            "grey_hu": _percentile(plane[grey & deep], 50),
            "brain_iqr_hu": _width(plane[regions.brain[index] & deep]),
            "fluid_hu": _percentile(plane[_middle(regions, index)], 50),
        }
        if wide:
            # In the base, bone and soft tissue are mixed: how many slices it has would count.
            measured["bone_hu"] = _percentile(plane[bone], 50)
            measured["bone_p90_hu"] = _percentile(plane[bone], 90)
            measured["scalp_hu"] = _percentile(plane[outer], 50)
            measured["scalp_iqr_hu"] = _width(plane[outer])
        measured["contrast_hu"] = measured["grey_hu"] - measured["white_hu"]
        for name, value in measured.items():
            values[name][index] = value
    return values


def tissue_histograms(hu: np.ndarray, regions: Regions) -> dict[str, np.ndarray]:
    """Counts of the pixels of each region by HU, of all slices with brain.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.

    Returns:
      Name in `HISTOGRAMS` -> counts, int64 [bins].
    """
    masks = {
        "brain": regions.brain,
        "white matter": regions.white,
        "fluid": regions.fluid,
        "bone": regions.bone,
        "outside": ~regions.head,
        "whole": np.ones(hu.shape, bool),
    }
    shown = regions.has_brain
    return {
        name: np.histogram(hu[shown][masks[name][shown]], range_.edges)[0]
        for name, range_ in HISTOGRAMS.items()
    }


def _middle(regions: Regions, index: int) -> np.ndarray:
    """Fluid far from the bone whose neighbours are fluid, too."""
    fluid = np.logical_and(regions.fluid[index], regions.depth_mm[index] > 15.0)
    inner = fluid
    for axis in (0, 1):
        for step in (-2, 2):
            inner = np.logical_and(inner, np.roll(fluid, step, axis))
    return np.asarray(inner)


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size >= _LEAST_PIXELS else float("nan")


def _width(values: np.ndarray) -> float:
    return _percentile(values, 75) - _percentile(values, 25)
