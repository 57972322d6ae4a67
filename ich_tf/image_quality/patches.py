"""Patches of brain and skull, and the features by which phantoms may be told from patients."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from ich_tf.image_quality.noise import detrended, power_density
from ich_tf.image_quality.regions import Regions, smooth

PATCH_MM = 24.0
KINDS = ("brain", "skull")
_STEP_MM = 12.0
_PER_SLICE = 40
_LEAST_PX = 6
# A patch of brain lies in the cavity whole; one of skull holds bone, and cavity on one side.
_BRAIN_SHARE = 0.98
_BONE_SHARES = (0.15, 0.6)
_CAVITY_SHARE = 0.2
_CLIP_HU = {"brain": (-20.0, 90.0), "skull": (-200.0, 2000.0)}
_BANDS_MM = ((0.0, 0.7), (0.7, 1.4), (1.4, 2.8), (2.8, 5.6))
_RINGS = (0.05, 0.12, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.95)
_LAGS_MM = (0.5, 1.0, 2.0, 4.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Patches:
    """Patches of one kind of a series.

    Attributes:
      slices: Index of each patch's slice, int64 [n].
      features: Features, float32 [n, features], in the order of `feature_names`.
    """

    slices: np.ndarray
    features: np.ndarray


def feature_names(kind: str) -> tuple[str, ...]:
    """Names of the features of a kind of patches, one of `KINDS`."""
    names = ["mean HU", "10th percentile", "median", "90th percentile"]
    names += [f"structure {fine:g}-{coarse:g} mm" for fine, coarse in _BANDS_MM]
    names += [f"kurtosis {fine:g}-{coarse:g} mm" for fine, coarse in _BANDS_MM[1:]]
    names += [f"share of power {low:g}-{high:g}/mm" for low, high in itertools.pairwise(_RINGS)]
    names += [f"correlation at {lag:g} mm" for lag in _LAGS_MM]
    names += ["median gradient", "90th percentile of gradient", "direction of gradients"]
    if kind == "brain":
        return (*names, "share of fluid", "share above 45 HU")
    return (*names, "share of bone", "median of bone", "90th percentile of bone", "share of fat")


def measure_patches(
    hu: np.ndarray, regions: Regions, pixel_mm: float, kind: str, slices: np.ndarray | None = None
) -> Patches:
    """Features of a series' patches, at most 40 of a slice.

    Args:
      hu: Hounsfield units, float32 [slices, rows, columns].
      regions: Regions of the series.
      pixel_mm: Side of a pixel.
      kind: One of `KINDS`.
      slices: Indices of the slices to take; None for all with brain.
    """
    size = round(PATCH_MM / pixel_mm)
    indices: list[int] = []
    features: list[np.ndarray] = []
    if slices is None:
        slices = np.flatnonzero(regions.has_brain)
    for index in slices if size >= _LEAST_PX else ():
        corners = _corners(regions, int(index), size, pixel_mm, kind)
        if len(corners):
            features.append(
                _features(hu[index], regions, int(index), corners, size, pixel_mm, kind)
            )
            indices += [int(index)] * len(corners)
    table = np.concatenate(features) if features else np.zeros((0, len(feature_names(kind))))
    return Patches(np.array(indices, np.int64), table.astype(np.float32))


def _corners(
    regions: Regions, index: int, size: int, pixel_mm: float, kind: str
) -> list[tuple[int, int]]:
    """Top and left of the patches of a slice."""
    rows, columns = regions.cavity.shape[1:]
    step = max(1, round(_STEP_MM / pixel_mm))
    found = []
    for top in range(0, rows - size + 1, step):
        for left in range(0, columns - size + 1, step):
            box = np.s_[index, top : top + size, left : left + size]
            inside = regions.cavity[box].mean()
            if kind == "brain":
                fits = inside >= _BRAIN_SHARE
            else:
                bone = regions.bone[box].mean() if inside >= _CAVITY_SHARE else 0.0
                fits = _BONE_SHARES[0] <= bone <= _BONE_SHARES[1]
            if fits:
                found.append((top, left))
    return found[:: -(-len(found) // _PER_SLICE) or 1]


def _features(
    hu: np.ndarray,
    regions: Regions,
    index: int,
    corners: list[tuple[int, int]],
    size: int,
    pixel_mm: float,
    kind: str,
) -> np.ndarray:
    """Features of the patches of one slice, float64 [n, features]."""
    clipped = np.clip(hu, *_CLIP_HU[kind]).astype(np.float32)

    def cut(image: np.ndarray) -> np.ndarray:
        parts = [image[y : y + size, x : x + size] for y, x in corners]
        return np.asarray(np.stack(parts), np.float64)

    plain = cut(clipped)
    columns = [plain.mean(axis=(1, 2))]
    blurred = {mm: smooth(clipped, mm, pixel_mm) for pair in _BANDS_MM for mm in pair}
    calm = cut(blurred[0.7])
    columns += list(np.percentile(calm.reshape(len(calm), -1), [10, 50, 90], axis=1))
    bands = [cut(blurred[fine] - blurred[coarse]) for fine, coarse in _BANDS_MM]
    columns += [np.log(band.std(axis=(1, 2)) + 0.1) for band in bands]
    columns += [_kurtosis(band) for band in bands[1:]]
    columns += _power_shares(plain, pixel_mm)
    columns += _correlations(plain, pixel_mm)
    down, right = np.gradient(smooth(clipped, 1.0, pixel_mm), pixel_mm)
    steep = cut(np.hypot(down, right)).reshape(len(plain), -1)
    columns += [np.log(np.percentile(steep, percent, axis=1) + 0.1) for percent in (50, 90)]
    columns.append(_coherence(cut(down), cut(right)))
    if kind == "brain":
        columns += [cut(regions.fluid[index]).mean(axis=(1, 2)), (calm > 45).mean(axis=(1, 2))]
    else:
        bone = cut(regions.bone[index]) > 0
        values = np.where(bone, cut(np.clip(hu, -1000, 3000)), np.nan).reshape(len(plain), -1)
        columns.append(bone.mean(axis=(1, 2)))
        columns += list(np.nanpercentile(values, [50, 90], axis=1))
        columns.append(((calm < -30) & (calm > -150)).mean(axis=(1, 2)))
    return np.stack(columns, axis=1)


def _kurtosis(band: np.ndarray) -> np.ndarray:
    deviation = band - band.mean(axis=(1, 2), keepdims=True)
    variance = np.mean(deviation**2, axis=(1, 2))
    return np.asarray(np.log(np.mean(deviation**4, axis=(1, 2)) / (variance**2 + 1e-6) + 0.1))


def _power_shares(patches: np.ndarray, pixel_mm: float) -> list[np.ndarray]:
    """Logarithm of each ring's share of the power of a patch without its trend."""
    density = power_density(detrended(patches), pixel_mm)
    axis = np.fft.fftfreq(patches.shape[-1], pixel_mm)
    radius = np.hypot(axis[:, None], axis)
    total = density.sum(axis=(1, 2)) + 1e-9
    shares = []
    for low, high in itertools.pairwise(_RINGS):
        ring = (radius >= low) & (radius < high)
        # Coarse pixels have no such frequency: their share is the least.
        shares.append(np.log(density[:, ring].sum(axis=1) / total + 1e-5))
    return shares


def _correlations(patches: np.ndarray, pixel_mm: float) -> list[np.ndarray]:
    """Correlation of a patch with itself moved to the right and down."""
    centred = patches - patches.mean(axis=(1, 2), keepdims=True)
    variance = np.mean(centred**2, axis=(1, 2)) + 1e-6
    found = []
    for lag_mm in _LAGS_MM:
        lag = min(max(1, round(lag_mm / pixel_mm)), patches.shape[-1] - 1)
        right = np.mean(centred[:, :, lag:] * centred[:, :, :-lag], axis=(1, 2))
        down = np.mean(centred[:, lag:] * centred[:, :-lag], axis=(1, 2))
        found.append((right + down) / 2 / variance)
    return found


def _coherence(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How far a patch's gradients share one direction, 0 to 1."""
    a, b, c = ((x * y).mean(axis=(1, 2)) for x, y in ((down, down), (down, right), (right, right)))
    return np.asarray(np.sqrt((a - c) ** 2 + 4 * b**2) / (a + c + 1e-9))
