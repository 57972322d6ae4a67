"""Noise in white matter: its level, and its power spectrum.

Patches of white matter hold little but noise. A plane of second order is taken out of each, for
cupping and slow anatomy; what is left is weighted by a Hann window, and the squared moduli of its
Fourier transform are averaged over rings of frequency (as IEC 61223-3-5 and ICRU 87 describe the
noise power spectrum, there of a water phantom).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.image_quality.regions import Regions

PATCH_MM = 14.0
# Share of a patch that must be white matter; none of it may be fluid.
_LEAST_WHITE = 0.75
_LEAST_PATCH_PX = 8
_MOST_PATCHES = 400
# Rings of the spectrum, cycles per mm; soft kernels pass nothing beyond 0.8.
BINS = np.arange(0.0, 1.05, 0.05)


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """Noise of a series.

    Attributes:
      level_hu: Standard deviation in white matter, float64 [slices]; NaN where there is no patch.
      frequencies: Middle of each ring, cycles per mm, float64 [n].
      spectrum: Power density by frequency, float64 [n], HU^2 mm^2; NaN beyond the Nyquist frequency
        and in a series without patches.
      num_patches: Number of patches.
    """

    level_hu: np.ndarray
    frequencies: np.ndarray
    spectrum: np.ndarray
    num_patches: int

    @property
    def mean_frequency(self) -> float:
        """Mean of the frequencies, weighted by the power in each ring, cycles per mm."""
        power = np.nan_to_num(self.spectrum) * self.frequencies
        total = float(power.sum())
        return float((power * self.frequencies).sum()) / total if total > 0 else float("nan")

    @property
    def peak_frequency(self) -> float:
        """Frequency of the largest power density, by a parabola through it, cycles per mm."""
        if not np.isfinite(self.spectrum).any():
            return float("nan")
        at = int(np.nanargmax(self.spectrum))
        around = self.spectrum[max(at - 1, 0) : at + 2]
        shift = 0.0
        if len(around) == 3 and np.isfinite(around).all():
            curve = around[0] - 2 * around[1] + around[2]
            shift = 0.5 * float((around[0] - around[2]) / curve) if curve < 0 else 0.0
        return float(self.frequencies[at] + shift * (BINS[1] - BINS[0]))


def measure_noise(hu: np.ndarray, regions: Regions, pixel_mm: float) -> Noise:
    """Measures the noise of a series in its white matter.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
    """
    frequencies = (BINS[1:] + BINS[:-1]) / 2
    size = round(PATCH_MM / pixel_mm)
    nothing = Noise(
        np.full(len(hu), np.nan), frequencies, np.full(len(frequencies), np.nan), 0
    )  # fmt: skip
    if size < _LEAST_PATCH_PX:
        return nothing
    places = _places(regions, size)
    if not len(places):
        return nothing
    patches = np.stack([hu[s, y : y + size, x : x + size] for s, y, x in places])
    residual = detrended(patches.astype(np.float64))
    variance = residual.var(axis=(1, 2))
    level = np.full(len(hu), np.nan)
    for index in np.unique(places[:, 0]):
        level[index] = np.sqrt(np.median(variance[places[:, 0] == index]))
    # Anatomy only adds power: the quieter half of the patches is nearer to noise alone.
    quiet = residual[variance <= np.median(variance)]
    scale = np.median(variance) / quiet.var(axis=(1, 2)).mean()
    spectrum = scale * ring_means(power_density(quiet, pixel_mm).mean(axis=0), pixel_mm)
    return Noise(level, frequencies, spectrum, len(places))


def detrended(patches: np.ndarray) -> np.ndarray:
    """Takes the best fitting surface of second order out of each patch.

    Args:
      patches: float64 [n, size, size].
    """
    num, size, _ = patches.shape
    axis = np.linspace(-1.0, 1.0, size)
    y, x = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
    basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1))
    flat = patches.reshape(num, -1)
    return np.asarray((flat - flat @ basis @ basis.T).reshape(patches.shape))


def power_density(patches: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Noise power density of patches without a trend, float64 [n, size, size], HU^2 mm^2.

    Its integral over both frequencies is a patch's variance.
    """
    size = patches.shape[-1]
    hann = np.hanning(size + 2)[1:-1]
    window = np.outer(hann, hann)
    power = np.abs(np.fft.fft2(patches * window)) ** 2
    return np.asarray(power * pixel_mm**2 / np.sum(window**2))


def ring_means(density: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Mean of a two-dimensional spectrum over the rings of `BINS`; NaN beyond Nyquist's frequency.

    Args:
      density: float64 [size, size], in the order of `numpy.fft`.
      pixel_mm: Side of a pixel.
    """
    axis = np.fft.fftfreq(len(density), pixel_mm)
    radius = np.hypot(axis[:, None], axis)
    ring = np.digitize(radius, BINS) - 1
    counts = np.bincount(ring.ravel(), minlength=len(BINS))[: len(BINS) - 1]
    sums = np.bincount(ring.ravel(), density.ravel(), minlength=len(BINS))[: len(BINS) - 1]
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    means[BINS[1:] > 0.5 / pixel_mm + 1e-9] = np.nan
    return np.asarray(means)


def _places(regions: Regions, size: int) -> np.ndarray:
    """Slice, top and left of the patches, int [n, 3]; they overlap by half."""
    step = max(1, size // 2)
    found = []
    for index in np.flatnonzero(regions.white.any(axis=(1, 2))):
        white = _window_means(regions.white[index], size, step)
        fluid = _window_means(regions.fluid[index], size, step)
        rows, columns = np.nonzero((white >= _LEAST_WHITE) & (fluid == 0))
        found += [(index, y * step, x * step) for y, x in zip(rows, columns, strict=True)]
    places = np.array(found, int).reshape(-1, 3)
    every = -(-len(places) // _MOST_PATCHES) or 1
    return places[::every]


def _window_means(mask: np.ndarray, size: int, step: int) -> np.ndarray:
    """Share of a mask in each window of a grid, float64 [rows, columns]."""
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    total[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    tops = np.arange(0, mask.shape[0] - size + 1, step)[:, None]
    lefts = np.arange(0, mask.shape[1] - size + 1, step)[None, :]
    sums = (
        total[tops + size, lefts + size]
        - total[tops, lefts + size]
        - total[tops + size, lefts]
        + total[tops, lefts]
    )
    return np.asarray(sums / size**2)
