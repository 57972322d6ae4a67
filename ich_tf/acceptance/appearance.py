"""How a scan looks: its sharpness, its noise, and noise like its own."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from ich_tf.image_quality.noise import BINS, detrended, measure_noise, power_density, ring_means
from ich_tf.image_quality.regions import Regions
from ich_tf.image_quality.sharpness import measure_sharpness

# Half modulation of a standard kernel, cycles a mm, where the skull shows no edge to measure, and
# the limits of what kernels for heads have: smooth to bone.
_HALF_MODULATION, _MODULATION_LIMITS = 0.35, (0.2, 0.9)
# Noise of a slice in which none can be measured, if none can in any.
_NOISE_HU = 4.0
# Share of the noise that stays with blood, where white matter is too little to measure it.
_KEPT, _LEAST_PIXELS = 0.85, 500
# Residuals of denoising, beyond the blurred edge of the skull: larger ones are bone and
# calcifications; what does not average out over 1.5 mm is narrow fluid as often as noise.
CORE_DEPTH_MM, MOST_NOISE_HU, _ANATOMY_MM = 2.5, 25.0, 1.5
_PATCH_MM = 14.0
_LEAST_PATCHES = 8
_MOST_PATCHES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Appearance:
    """Sharpness and noise of a scan.

    Attributes:
      half_modulation: Frequency at which the modulation transfer function is 0.5, cycles per mm.
      is_sharpness_measured: Whether it was measured, not taken to be that of a standard kernel.
      noise_hu: Standard deviation of the noise in white matter of each slice, float64 [S]; that of
        the nearest slices where a slice has too little of it.
      is_noise_measured: Whether any slice's was measured.
      lost_hu: Standard deviation of the noise that goes with the tissue, float64 [S]: denoising
        left it there, or took it away with narrow fluid. Blood that replaces the tissue lacks it.
      lost_spectrum: Power of that noise at the middles of `noise.BINS`, float64, any unit.
    """

    half_modulation: float
    is_sharpness_measured: bool
    noise_hu: np.ndarray
    is_noise_measured: bool
    lost_hu: np.ndarray
    lost_spectrum: np.ndarray

    @property
    def blur_mm(self) -> float:
        """Standard deviation of the Gaussian with the same half modulation."""
        return math.sqrt(math.log(2.0) / 2.0) / (math.pi * self.half_modulation)

    def lost_noise(
        self, rng: np.random.Generator, index: int, shape: tuple[int, int], pixel_mm: float
    ) -> np.ndarray:
        """Draws noise like that which blood lacks, float32 [rows, columns].

        Args:
          rng: Random generator.
          index: Number of the slice.
          shape: Number of rows and columns.
          pixel_mm: Side of a pixel.
        """
        white = rng.standard_normal(shape, np.float32)
        rows = np.fft.fftfreq(shape[0], pixel_mm)[:, None]
        columns = np.fft.rfftfreq(shape[1], pixel_mm)
        middles = (BINS[1:] + BINS[:-1]) / 2
        power = np.interp(np.hypot(rows, columns), middles, self.lost_spectrum, right=0.0)
        noise = np.fft.irfft2(np.fft.rfft2(white) * np.sqrt(power), s=shape)
        spread = float(noise.std())
        return (noise * (self.lost_hu[index] / spread if spread else 0.0)).astype(np.float32)


def measure_sharpness_and_noise(
    hu: np.ndarray, regions: Regions, pixel_mm: float
) -> tuple[float, np.ndarray]:
    """Measures half modulation and noise of a series.

    Args:
      hu: Hounsfield units, float32 [S, rows, columns].
      regions: Regions of the series.
      pixel_mm: Side of a pixel.

    Returns:
      Frequency of half modulation, cycles per mm; NaN if it cannot be measured. Noise of each
      slice, HU, float64 [S]; NaN where it cannot.
    """
    half = measure_sharpness(hu, regions, pixel_mm).frequency_at(0.5)
    return half, measure_noise(hu, regions, pixel_mm).level_hu


def filled(levels: np.ndarray) -> np.ndarray:
    """Noise of each slice, that of the nearest measured slices where it is NaN."""
    known = np.flatnonzero(np.isfinite(levels))
    if not known.size:
        return np.full(len(levels), _NOISE_HU)
    return np.asarray(np.interp(np.arange(len(levels)), known, levels[known]))


def describe_appearance(
    hu: np.ndarray,
    clean: np.ndarray,
    depth_mm: np.ndarray,
    regions: Regions,
    pixel_mm: float,
    half_modulation: float,
    levels: np.ndarray,
) -> Appearance:
    """Finds how much of the noise stays where blood replaces tissue, and what goes with the tissue.

    Args:
      hu: Hounsfield units, float32 [S, rows, columns].
      clean: The same without noise.
      depth_mm: Distance from the skull, float32 [S, rows, columns], positive inside.
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
      half_modulation: As `measure_sharpness_and_noise` returned it.
      levels: Noise of each slice, as it returned it.
    """
    noise = filled(levels)
    kept, lost_parts = [], np.zeros_like(hu)
    for index in np.flatnonzero(regions.white.any(axis=(1, 2))):
        residual = hu[index] - clean[index]
        slow = slow_part(residual, depth_mm[index], pixel_mm)
        lost_parts[index] = clean[index] + slow
        inside = regions.white[index]
        if inside.sum() >= _LEAST_PIXELS:
            kept.append((residual - slow)[inside].std() / noise[index])
    share = min(float(np.median(kept)) if kept else _KEPT, 1.0)
    lost = noise * math.sqrt(1.0 - share**2)
    low, high = _MODULATION_LIMITS
    is_sharp = math.isfinite(half_modulation)
    return Appearance(
        min(max(half_modulation, low), high) if is_sharp else _HALF_MODULATION,
        is_sharp,
        noise,
        bool(np.isfinite(levels).any()),
        lost,
        _spectrum(lost_parts, regions, pixel_mm),
    )


def slow_part(residual: np.ndarray, depth_mm: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The part of what denoising took away that may be no noise: narrow fluid.

    Args:
      residual: What denoising took away from a slice, HU, float32 [rows, columns].
      depth_mm: Distance from the skull, float32 [rows, columns], positive inside.
      pixel_mm: Side of a pixel.
    """
    inner = (depth_mm > CORE_DEPTH_MM) & (np.abs(residual) < MOST_NOISE_HU)
    sigma = _ANATOMY_MM / pixel_mm
    weight = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), sigma)
    mean = cv2.GaussianBlur(np.where(inner, residual, 0.0).astype(np.float32), (0, 0), sigma)
    return np.asarray(np.where(inner, mean / np.maximum(weight, 1e-3), 0.0))


def _spectrum(lost: np.ndarray, regions: Regions, pixel_mm: float) -> np.ndarray:
    """Power of what goes with the tissue in patches of white matter, by ring of frequency."""
    size = max(8, round(_PATCH_MM / pixel_mm))
    patches = []
    for index in np.flatnonzero(regions.white.any(axis=(1, 2))):
        for top in range(0, lost.shape[1] - size, size):
            for left in range(0, lost.shape[2] - size, size):
                box = np.s_[index, top : top + size, left : left + size]
                if regions.white[box].mean() > 0.8 and not regions.fluid[box].any():
                    patches.append(lost[box])
    middles = (BINS[1:] + BINS[:-1]) / 2
    if len(patches) < _LEAST_PATCHES:
        # Slow noise below the passband that non-local means clean.
        return np.asarray(np.exp(-((middles / 0.15) ** 2)))
    found = detrended(np.stack(patches[:: -(-len(patches) // _MOST_PATCHES)]).astype(np.float64))
    variance = found.var(axis=(1, 2))
    power = ring_means(
        power_density(found[variance <= np.median(variance)], pixel_mm).mean(axis=0), pixel_mm
    )
    return np.nan_to_num(power)
