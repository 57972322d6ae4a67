"""Tissue of a scan without its noise, and the shares of brain and fluid in each pixel."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from scipy import ndimage

# Range of Hounsfield units that is denoised; beyond lie fat and bone.
_RANGE_HU = (-50.0, 120.0)
# Width of non-local means in standard deviations of the noise. Measured on a GE head scan of 28
# slices: with 1.1 what is taken away shows no anatomy, and cortex, sulci and ventricles stay.
_STRENGTH = 1.1
_PATCH_PX, _SEARCH_PX = 7, 21
_MARGIN_MM = 6.0
# The skull's edge is blurred over this distance; tissue there is continued from within.
_RIM_MM = 1.8
_DENSE_HU, _EDGE_MM = 75.0, 1.2
# Range about the median of the cavity that is brain, and reach of its slow changes.
_BRAIN_HU = 11.0
_SLOW_MM = 15.0
# Fluid below brain, HU, if no ventricle shows it, and the limits of what a ventricle may show.
_FLUID_BELOW_HU, _FLUID_LIMITS_HU = 25.0, (18.0, 32.0)
# Ventricles are the central fluid that is connected to what lies deep.
_VENTRICLE_DEPTH_MM = 24.0
_LEAST_VENTRICLE_ML = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class Tissue:
    """Tissue in the cranial cavity; arrays are float32 [S, rows, columns].

    Attributes:
      hu: Hounsfield units without noise; below the skull's blurred edge those of the tissue beside.
      fluid: Share of fluid around the brain, 0 to 1.
      ventricle: Share of ventricle, 0 to 1.
    """

    hu: np.ndarray
    fluid: np.ndarray
    ventricle: np.ndarray


def find_tissue(
    hu: np.ndarray,
    cavity: np.ndarray,
    depth_mm: np.ndarray,
    central: np.ndarray,
    lengths_mm: np.ndarray,
    pixel_mm: float,
    noise_hu: np.ndarray,
) -> Tissue:
    """Separates tissue from noise, and fluid from brain.

    Args:
      hu: Hounsfield units, float32 [S, rows, columns].
      cavity: The cranial cavity, bool [S, rows, columns].
      depth_mm: Distance from the skull in the plane, float32 [S, rows, columns], positive inside.
      central: Where ventricles may lie, bool [S, rows, columns].
      lengths_mm: Length along the normal that each slice stands for, [S].
      pixel_mm: Side of a pixel.
      noise_hu: Standard deviation of the noise of each slice, [S].
    """
    clean = np.zeros_like(hu)
    for index in np.flatnonzero(cavity.any(axis=(1, 2))):
        box = bounding_box(cavity[index], round(_MARGIN_MM / pixel_mm))
        clean[index][box] = denoised(hu[index][box], float(noise_hu[index]))
        _continue_to_bone(clean[index][box], depth_mm[index][box], pixel_mm)
    core = clean[depth_mm > 6.0]
    middle = float(np.median(core)) if core.size else 33.0
    below = middle - float(np.percentile(core, 0.5)) if core.size else _FLUID_BELOW_HU
    if below < _FLUID_LIMITS_HU[0]:
        below = _FLUID_BELOW_HU
    below = min(below, _FLUID_LIMITS_HU[1])
    all_fluid = np.zeros_like(hu)
    for index in np.flatnonzero(cavity.any(axis=(1, 2))):
        brain = _slow_brain(clean[index], cavity[index], middle, pixel_mm)
        # The darkest 3 HU of brain's own spread are no fluid.
        share = (brain - 3.0 - clean[index]) / (below - 3.0)
        all_fluid[index] = np.clip(share, 0.0, 1.0) * cavity[index]
    found = _ventricles((all_fluid > 0.5) & central, depth_mm, lengths_mm * pixel_mm**2)
    ventricle = np.where(found, all_fluid, 0.0).astype(np.float32)
    return Tissue(clean, all_fluid - ventricle, ventricle)


def bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns that hold a mask, which is not empty, and a margin of pixels around it."""
    rows, columns = (
        slice(max(0, int(found[0]) - margin), min(side, int(found[-1]) + 1 + margin))
        for found, side in (
            (np.flatnonzero(mask.any(axis=1 - axis)), mask.shape[axis]) for axis in (0, 1)
        )
    )
    return rows, columns


def denoised(image: np.ndarray, noise_hu: float) -> np.ndarray:
    """A slice without its noise, by non-local means, float32 [rows, columns].

    Args:
      image: Hounsfield units, float32 [rows, columns].
      noise_hu: Standard deviation of its noise.
    """
    low, high = _RANGE_HU
    scale = 65535.0 / (high - low)
    stored = ((np.clip(image, low, high) - low) * scale).astype(np.uint16)
    width = float(max(noise_hu, 0.5) * _STRENGTH * scale)
    clean = cv2.fastNlMeansDenoising(
        stored, [width], None, _PATCH_PX, _SEARCH_PX, cv2.NORM_L1
    )  # fmt: skip
    return (clean.astype(np.float32) / np.float32(scale) + np.float32(low)).astype(np.float32)


def _continue_to_bone(clean: np.ndarray, depth_mm: np.ndarray, pixel_mm: float) -> None:
    """Continues tissue from within over the blurred edge of the skull, in place."""
    inner = (depth_mm > _RIM_MM).astype(np.float32)
    # Calcifications and their blurred edge hold no tissue either.
    width = 2 * round(_EDGE_MM / pixel_mm) + 1
    dense = cv2.dilate((clean > _DENSE_HU).astype(np.uint8), np.ones((width, width), np.uint8))
    inner *= dense == 0
    values, weight = clean * inner, inner
    filled = np.zeros_like(clean)
    missing = inner == 0
    for sigma_mm in (1.0, 3.0, 12.0):
        total = cv2.GaussianBlur(weight, (0, 0), sigma_mm / pixel_mm)
        mean = cv2.GaussianBlur(values, (0, 0), sigma_mm / pixel_mm) / np.maximum(total, 1e-6)
        reached = missing & (total > 0.02)
        filled[reached] = mean[reached]
        missing &= ~reached
    filled[missing] = 33.0
    outside = inner == 0
    clean[outside] = filled[outside]


def _slow_brain(
    clean: np.ndarray, cavity: np.ndarray, middle: float, pixel_mm: float
) -> np.ndarray:
    """Brain's own Hounsfield units, which beam hardening changes slowly along a slice."""
    brain = (cavity & (np.abs(clean - middle) < _BRAIN_HU)).astype(np.float32)
    sigma = _SLOW_MM / pixel_mm
    weight = cv2.GaussianBlur(brain, (0, 0), sigma)
    mean = cv2.GaussianBlur(brain * clean, (0, 0), sigma) / np.maximum(weight, 1e-3)
    return np.where(weight > 0.02, mean, np.float32(middle))


def _ventricles(fluid: np.ndarray, depth_mm: np.ndarray, pixel_mm3: np.ndarray) -> np.ndarray:
    """The pieces of fluid that belong to ventricles, bool [S, rows, columns]."""
    labels, count = ndimage.label(fluid & (depth_mm > _VENTRICLE_DEPTH_MM / 2))
    if not count:
        return np.zeros(fluid.shape, bool)
    volumes = np.zeros(count + 1)
    for index, volume in enumerate(pixel_mm3):
        deep = labels[index][depth_mm[index] > _VENTRICLE_DEPTH_MM]
        volumes += np.bincount(deep, minlength=count + 1) * volume * 1e-3
    volumes[0] = 0.0
    found = np.isin(labels, np.flatnonzero(volumes > _LEAST_VENTRICLE_ML))
    # The blurred border of a ventricle belongs to it.
    flat = ndimage.generate_binary_structure(3, 1)
    flat[0] = flat[2] = False
    return np.asarray(ndimage.binary_dilation(found, flat, iterations=2))
