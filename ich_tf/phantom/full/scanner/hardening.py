"""Beam hardening: what a polychromatic ray through water and bone reads, beyond its linear share.

Spectrum by Kramers' law (1923) behind 8 mm of aluminium, detectors that sum energy. Attenuation of
water, cortical bone and aluminium from NIST's tables (Hubbell and Seltzer, 1995).
"""

from __future__ import annotations

import cv2
import numpy as np

# keV; attenuation by density, cm2/g.
_ENERGY = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_WATER = (0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)
_BONE = (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480)
_ALUMINIUM = (1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378)
_BONE_DENSITY, _ALUMINIUM_DENSITY = 1.92, 2.699
_FILTER_CM = 0.8
# Attenuation of that bone relative to water's, as its Hounsfield units say: 1,500.
BONE_SHARE = 2.5

# The table's steps and sizes, mm of water and of bone.
_WATER_STEP, _WATER_STEPS = 4.0, 90
_BONE_STEP, _BONE_STEPS = 2.0, 80
# A ray through a usual head reads what it should: mm of water, and bone of both walls.
_USUAL = (40, 6)


class Hardening:
    """Excess of rays through water and bone, mm of water, for one tube."""

    def __init__(self, kvp: int, share: float, scatter: float) -> None:
        """Makes the table.

        Args:
          kvp: Voltage of the tube, kV.
          share: Share of the hardening by bone that is left in the images, 0 to 1.
          scatter: Scattered photons left in each ray, as a share of those without tissue.
        """
        energy = np.arange(32.0, kvp, 4.0)
        water, bone, aluminium = (
            np.exp(np.interp(np.log(energy), np.log(_ENERGY), np.log(values)))
            for values in (_WATER, _BONE, _ALUMINIUM)
        )
        photons = (kvp / energy - 1.0) * np.exp(-aluminium * _ALUMINIUM_DENSITY * _FILTER_CM)
        weight = photons * energy
        weight /= weight.sum()
        water_cm = 0.1 * _WATER_STEP * np.arange(_WATER_STEPS)
        bone_cm = 0.1 * _BONE_STEP * np.arange(_BONE_STEPS)
        passed = (
            np.exp(-water * water_cm[:, None] - _BONE_DENSITY * bone * bone_cm[:, None, None])
            @ weight
        )
        # Water's correction: a ray through water alone reads its length.
        read_mm = 10.0 * np.interp(-np.log(passed), -np.log(passed[0]), water_cm)
        beyond = -np.log(passed) > -np.log(passed[0, -1])
        steepness = (np.log(passed[0, -2]) - np.log(passed[0, -1])) / _WATER_STEP
        further = (-np.log(passed) + np.log(passed[0, -1])) / steepness
        read_mm = np.where(beyond, 10.0 * water_cm[-1] + further, read_mm)
        bone_mm = 10.0 * bone_cm[:, None]
        excess = read_mm - 10.0 * water_cm
        slope = excess[_USUAL[1], _USUAL[0]] / bone_mm[_USUAL[1], 0]
        scattered = -np.log1p(scatter / np.maximum(passed, 1e-9)) / steepness
        scattered -= scattered[0]
        self._table = (share * (excess - slope * bone_mm) + scattered).astype(np.float32)

    def excess(self, water_mm: np.ndarray, bone_mm: np.ndarray) -> np.ndarray:
        """Excess of rays, mm of water, negative behind much bone.

        Args:
          water_mm: Water along each ray, float32 [rows, columns].
          bone_mm: Bone along each ray, of the same shape.
        """
        return np.asarray(
            cv2.remap(
                self._table,
                np.ascontiguousarray(water_mm * np.float32(1 / _WATER_STEP)),
                np.ascontiguousarray(bone_mm * np.float32(1 / _BONE_STEP)),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )
