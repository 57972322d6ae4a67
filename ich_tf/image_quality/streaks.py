"""Streaks and bars of the base: beam hardening and photon starvation between the petrous bones."""

from __future__ import annotations

import math

import numpy as np

from ich_tf.image_quality.regions import Regions, smooth
from ich_tf.image_quality.statistics import Statistic, Values, nothing

STATISTICS = (
    Statistic("base_spread_hu", "HU", "spread of brain blurred by 2.5 mm, slices of the base", 0.5),
    Statistic("base_dark_hu", "HU", "5th percentile of the same minus its median", 0.7),
    Statistic("base_bright_hu", "HU", "95th percentile of the same minus its median", 0.7),
    Statistic(
        "base_bars", "", "gradient along columns by that along rows, slices of the base", 0.1
    ),
    Statistic(
        "cupping_hu", "HU", "grey matter 4 to 8 mm from the bone minus that beyond 20 mm", 0.7
    ),
)
# The base: slices below the widest where the cavity has between these shares of its largest area.
_BASE_AREA = (0.15, 0.7)
_LEAST_MM2 = 800.0
_BLUR_MM = 2.5


def streak_statistics(hu: np.ndarray, regions: Regions, pixel_mm: float) -> Values:
    """Statistics of the slices of the base; cupping of those where the cavity is wide.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns], from the feet to the head.
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
    """
    values = {statistic.name: nothing(len(hu)) for statistic in STATISTICS}
    areas = regions.cavity.sum(axis=(1, 2))
    largest, widest = int(areas.max()), int(areas.argmax())
    for index in np.flatnonzero(areas > 0):
        depth = regions.depth_mm[index]
        if index < widest and areas[index] < _BASE_AREA[1] * largest:
            inside = depth > 5.0
            if areas[index] < _BASE_AREA[0] * largest:
                continue
            if inside.sum() * pixel_mm**2 < _LEAST_MM2:
                continue
            for name, value in _of_base(hu[index], inside, pixel_mm).items():
                values[name][index] = value
        elif areas[index] >= _BASE_AREA[1] * largest:
            grey = regions.grey[index]
            rim, middle = grey & (depth > 4.0) & (depth < 8.0), grey & (depth > 20.0)
            if min(rim.sum(), middle.sum()) > 30:
                values["cupping_hu"][index] = np.median(hu[index][rim]) - np.median(
                    hu[index][middle]
                )
    return values


def _of_base(hu: np.ndarray, inside: np.ndarray, pixel_mm: float) -> dict[str, float]:
    # A blur within the mask alone: bone would leak in.
    weight = smooth(inside.astype(np.float32), _BLUR_MM, pixel_mm)
    clipped = np.where(inside, np.clip(hu, -100, 150), 0).astype(np.float32)
    slow = smooth(clipped, _BLUR_MM, pixel_mm) / np.maximum(weight, 1e-3)
    values = slow[inside]
    low, quarter, middle, three, high = np.percentile(values, [5, 25, 50, 75, 95])
    down, right = np.gradient(slow)
    core = inside & (weight > 0.9)
    across = float(np.sum(right[core] ** 2))
    return {
        "base_spread_hu": float(three - quarter),
        "base_dark_hu": float(low - middle),
        "base_bright_hu": float(high - middle),
        "base_bars": math.sqrt(float(np.sum(down[core] ** 2)) / across) if across else math.nan,
    }
