"""All measures of one series, small enough to keep of every series of a set."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.image_quality import anatomy, streaks, surroundings, texture, tissues
from ich_tf.image_quality.noise import Noise, measure_noise
from ich_tf.image_quality.patches import KINDS, Patches, measure_patches
from ich_tf.image_quality.regions import Regions, find_regions
from ich_tf.image_quality.series import Series
from ich_tf.image_quality.sharpness import Sharpness, measure_sharpness
from ich_tf.image_quality.statistics import Statistic, Values

_PHYSICS = (
    Statistic("noise_hu", "HU", "standard deviation of the noise in white matter", 0.2),
    Statistic("noise_mean_frequency", "1/mm", "mean frequency of the noise's power", 0.015),
    Statistic("mtf50", "1/mm", "frequency of a modulation of 50 %, inner table", 0.02),
    Statistic("mtf10", "1/mm", "frequency of a modulation of 10 %, inner table", 0.03),
)
# Heading -> the statistics under it, in the order of the report.
FAMILIES: dict[str, tuple[Statistic, ...]] = {
    "Noise and sharpness": _PHYSICS,
    "Tissues": tissues.STATISTICS,
    "Texture of the brain": texture.STATISTICS,
    "Head and skull": anatomy.STATISTICS,
    "Beam hardening and streaks": streaks.STATISTICS,
    "Outside the head": surroundings.STATISTICS,
}
_PICTURE_PX = 128
_PICTURES = 6
_WINDOW_HU = (0.0, 80.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Measurement:
    """Measures of a series.

    Attributes:
      name: Name of the series.
      patient: Its patient.
      num_slices: Number of slices.
      slices_with_brain: Number of slices with any of the cranial cavity.
      pixel_mm: Side of a pixel.
      thickness_mm: Median thickness of the slices; 0 if unknown.
      kernel: Class of its kernel.
      statistics: Name of each statistic of `FAMILIES` -> values of the slices, NaN where none.
      noise: Noise of the series.
      sharpness: Sharpness of the series.
      histograms: Counts of each region by HU, as `tissues.tissue_histograms` returns them.
      patches: Kind of patches -> features.
      pictures: Slices from the base up in a brain window, uint8 [n, px, px].
    """

    name: str
    patient: str
    num_slices: int
    slices_with_brain: int
    pixel_mm: float
    thickness_mm: float
    kernel: str
    statistics: Values
    noise: Noise
    sharpness: Sharpness
    histograms: dict[str, np.ndarray]
    patches: dict[str, Patches]
    pictures: np.ndarray

    def measured(self, name: str) -> np.ndarray:
        """Values of a statistic in the slices that have it, float64 [n]."""
        values = self.statistics[name]
        return np.asarray(values[np.isfinite(values)])

    def median(self, name: str) -> float:
        """Median of a statistic over the slices; NaN if none has it."""
        values = self.measured(name)
        return float(np.median(values)) if values.size else float("nan")


def measure(series: Series) -> Measurement | None:
    """Measures a series; None if it shows no head."""
    hu, pixel_mm = series.hu, series.pixel_mm
    regions = find_regions(hu, pixel_mm)
    if not regions.has_brain.any():
        return None
    noise = measure_noise(hu, regions, pixel_mm)
    sharpness = measure_sharpness(hu, regions, pixel_mm)
    statistics: Values = {
        **_physics(hu, regions, pixel_mm, noise),
        **tissues.tissue_statistics(hu, regions),
        **texture.texture_statistics(hu, regions, pixel_mm),
        **anatomy.anatomy_statistics(hu, regions, pixel_mm),
        **streaks.streak_statistics(hu, regions, pixel_mm),
        **surroundings.surroundings_statistics(hu, regions, pixel_mm),
    }
    return Measurement(
        series.name,
        series.patient,
        len(hu),
        int(regions.has_brain.sum()),
        pixel_mm,
        float(np.median(series.thickness_mm)),
        series.kernel,
        statistics,
        noise,
        sharpness,
        tissues.tissue_histograms(hu, regions),
        {kind: measure_patches(hu, regions, pixel_mm, kind) for kind in KINDS},
        _pictures(hu, regions),
    )


def _physics(hu: np.ndarray, regions: Regions, pixel_mm: float, noise: Noise) -> Values:
    """Noise and sharpness by slice, so that a single series has a spread."""
    values = {statistic.name: np.full(len(hu), np.nan) for statistic in _PHYSICS}
    values["noise_hu"] = noise.level_hu
    for index in np.flatnonzero(regions.has_brain):
        plane, there = hu[index : index + 1], regions.of_slices(slice(index, index + 1))
        values["noise_mean_frequency"][index] = measure_noise(plane, there, pixel_mm).mean_frequency
        if regions.cavity[index].sum() >= 0.6 * regions.cavity.sum(axis=(1, 2)).max():
            sharpness = measure_sharpness(plane, there, pixel_mm)
            values["mtf50"][index] = sharpness.frequency_at(0.5)
            values["mtf10"][index] = sharpness.frequency_at(0.1)
    return values


def _pictures(hu: np.ndarray, regions: Regions) -> np.ndarray:
    shown = np.flatnonzero(regions.has_brain)
    indices = shown[np.linspace(0, len(shown) - 1, _PICTURES).astype(int)]
    low, high = _WINDOW_HU
    grey = np.clip((hu[indices] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    size = (_PICTURE_PX, _PICTURE_PX)
    return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in grey])
