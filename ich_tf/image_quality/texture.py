"""Texture of the brain: structure by scale, gradients, sulci, and how they are arranged."""

from __future__ import annotations

import numpy as np

from ich_tf.image_quality.regions import Regions, smooth
from ich_tf.image_quality.statistics import Statistic, Values, nothing

# Bands between two blurs, mm; the finest is mostly noise, the others are mostly anatomy.
BANDS_MM = ((0.0, 0.7), (0.7, 1.4), (1.4, 2.8), (2.8, 5.6))
STATISTICS = (
    *(
        Statistic(
            f"band_{fine:g}_{coarse:g}_hu",
            "HU",
            f"standard deviation of structure between {fine:g} and {coarse:g} mm in brain",
            0.15,
        )
        for fine, coarse in BANDS_MM
    ),
    Statistic("gradient_hu_mm", "HU/mm", "median gradient of brain, blurred by 1 mm", 0.15),
    Statistic("gradient_p95_hu_mm", "HU/mm", "95th percentile of the same", 0.3),
    Statistic("skewness", "", "skewness of brain with fluid, blurred by 1.4 mm", 0.15),
    Statistic("kurtosis", "", "excess kurtosis of structure between 1.4 and 2.8 mm", 0.3),
    Statistic("sulci_share", "", "share of fluid 2 to 15 mm from the bone", 0.01),
    Statistic("deep_fluid_share", "", "share of fluid farther than 20 mm from the bone", 0.01),
    Statistic("white_share", "", "share of white matter in the brain", 0.03),
    Statistic(
        "radial_share",
        "",
        "share of the gradient along the way to the bone, 3 to 15 mm from it: 0.5 for none",
        0.02,
    ),
)
_LEAST_MM2 = 1500.0


def texture_statistics(hu: np.ndarray, regions: Regions, pixel_mm: float) -> Values:
    """Statistics of each slice with 15 cm2 of brain.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
    """
    values = {statistic.name: nothing(len(hu)) for statistic in STATISTICS}
    for index, plane in enumerate(hu):
        depth = regions.depth_mm[index]
        inside = depth > 4.0
        if inside.sum() * pixel_mm**2 < _LEAST_MM2:
            continue
        for name, value in _of_slice(plane, regions, index, inside, pixel_mm).items():
            values[name][index] = value
    return values


def _of_slice(
    plane: np.ndarray, regions: Regions, index: int, inside: np.ndarray, pixel_mm: float
) -> dict[str, float]:
    depth, fluid = regions.depth_mm[index], regions.fluid[index]
    # Bone and calcifications would leak into the blurs.
    calm = np.where(inside, np.clip(plane, -20, 90), np.median(plane[inside])).astype(np.float32)
    blurred = {sigma: smooth(calm, sigma, pixel_mm) for pair in BANDS_MM for sigma in pair}
    measured: dict[str, float] = {}
    far = depth > 6.0
    for fine, coarse in BANDS_MM:
        band = (blurred[fine] - blurred[coarse])[far]
        measured[f"band_{fine:g}_{coarse:g}_hu"] = float(band.std())
    measured["kurtosis"] = _moment((blurred[1.4] - blurred[2.8])[far], 4) - 3.0
    measured["skewness"] = _moment(blurred[1.4][far], 3)
    down, right = np.gradient(smooth(calm, 1.0, pixel_mm), pixel_mm)
    steep = np.hypot(down, right)[far]
    measured["gradient_hu_mm"] = float(np.median(steep))
    measured["gradient_p95_hu_mm"] = float(np.percentile(steep, 95))
    measured["sulci_share"] = _share(fluid, (depth > 2.0) & (depth < 15.0))
    measured["deep_fluid_share"] = _share(fluid, depth > 20.0)
    measured["white_share"] = _share(regions.white[index], regions.brain[index])
    measured["radial_share"] = _radial(down, right, depth, pixel_mm)
    return measured


def _radial(down: np.ndarray, right: np.ndarray, depth: np.ndarray, pixel_mm: float) -> float:
    """Share of the squared gradient that points to the bone."""
    rim = (depth > 6.0) & (depth < 18.0)
    out_down, out_right = np.gradient(smooth(depth, 2.0, pixel_mm))
    length = np.hypot(out_down, out_right)
    rim &= length > 0.3 * pixel_mm
    along = (down * out_down + right * out_right)[rim] / length[rim]
    total = float(np.sum(down[rim] ** 2 + right[rim] ** 2))
    return float(np.sum(along**2)) / total if total > 0 else float("nan")


def _share(mask: np.ndarray, of: np.ndarray) -> float:
    count = int(of.sum())
    return float(np.count_nonzero(mask & of)) / count if count else float("nan")


def _moment(values: np.ndarray, order: int) -> float:
    deviation = values - values.mean()
    spread = float(deviation.std())
    return float(np.mean(deviation**order)) / spread**order if spread > 0 else float("nan")
