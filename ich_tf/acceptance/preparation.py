"""A scan made ready for bleeds: its head, its tissue, its sharpness and noise."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from ich_tf.acceptance.appearance import (
    Appearance,
    describe_appearance,
    filled,
    measure_sharpness_and_noise,
)
from ich_tf.acceptance.head_frame import HeadFrame, find_head_frame
from ich_tf.acceptance.scan import Scan
from ich_tf.acceptance.scan_head import OUTSIDE_MM, Relief, ScanHead
from ich_tf.acceptance.tissue import find_tissue
from ich_tf.errors import InputError
from ich_tf.image_quality.regions import find_regions

# Below the widest slice a smaller cavity is the spinal canal's.
_LEAST_BASE_MM2 = 2500.0
# A head has 1,000 to 1,700 ml of cavity; a part of one must hold any bleed and what it pushes.
_LEAST_CAVITY_ML = 250.0
_LEAST_SLICES = 3
# Beside and below lie Sylvian fissures and basal cisterns.
_VENTRICLE_SIDE_MM, _VENTRICLE_FLOOR_MM = 31.0, -8.0
# Coarser pixels show no sulci, by which tissue is told apart.
_MOST_PIXEL_MM = 2.0


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan that bleeds can be put into.

    Attributes:
      head: Its head.
      appearance: Its sharpness and noise.
      cavity_ml: Volume of the cranial cavity that it shows.
    """

    head: ScanHead
    appearance: Appearance
    cavity_ml: float


def prepare(scan: Scan, rng: np.random.Generator) -> PreparedScan:
    """Finds head, tissue, sharpness and noise of a scan.

    Args:
      scan: The scan.
      rng: Random generator of the outlines' noise.

    Raises:
      InputError: If it shows no head, or too little of one; the message follows the series' name.
    """
    pixel_mm = math.sqrt(math.prod(scan.spacing_mm))
    if pixel_mm > _MOST_PIXEL_MM:
        raise InputError(
            f"its pixels have {pixel_mm:.1f} mm; expected {_MOST_PIXEL_MM:g} mm or less."
        )
    regions = find_regions(scan.hu, pixel_mm)
    cavity = _joined(regions.cavity, pixel_mm)
    volume_ml = float((cavity.sum(axis=(1, 2)) * scan.lengths_mm).sum() * pixel_mm**2 * 1e-3)
    num_slices = int(cavity.any(axis=(1, 2)).sum())
    if num_slices < _LEAST_SLICES or volume_ml < _LEAST_CAVITY_ML:
        raise InputError(
            f"{num_slices} of its {len(scan.hu)} slices show the inside of a skull, "
            f"{volume_ml:.0f} ml of it; expected {_LEAST_SLICES} slices and "
            f"{_LEAST_CAVITY_ML:.0f} ml or more of a head whose skull is closed."
        )
    half_modulation, levels = measure_sharpness_and_noise(scan.hu, regions, pixel_mm)
    depth = np.stack([_signed_distance(plane, pixel_mm) for plane in cavity])
    frame = find_head_frame(scan, cavity)
    tissue = find_tissue(
        scan.hu, cavity, depth, _central(scan, frame), scan.lengths_mm, pixel_mm, filled(levels)
    )
    appearance = describe_appearance(
        scan.hu, tissue.hu, depth, regions, pixel_mm, half_modulation, levels
    )
    head = ScanHead(scan, frame, cavity, depth, tissue, Relief.draw(rng))
    return PreparedScan(head, appearance, volume_ml)


def _joined(cavity: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The cavity without spinal canal, of slices that follow each other."""
    areas = cavity.sum(axis=(1, 2)) * pixel_mm**2
    kept = np.zeros(len(cavity), bool)
    widest = int(areas.argmax())
    for step, end, least in ((-1, -1, _LEAST_BASE_MM2), (1, len(cavity), 1.0)):
        for index in range(widest, end, step):
            if areas[index] < least:
                break
            kept[index] = True
    return np.asarray(cavity & kept[:, None, None])


def _signed_distance(mask: np.ndarray, pixel_mm: float) -> np.ndarray:
    """Distance from the border of a mask in the plane, mm, positive inside, float32."""
    if not mask.any():
        return np.full(mask.shape, OUTSIDE_MM, np.float32)
    inside, outside = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (mask, ~mask)
    )
    # The border lies half a pixel before the first pixel that is outside.
    signed = np.where(mask, inside - 0.5, 0.5 - outside)
    return np.asarray(signed * pixel_mm, np.float32)


def _central(scan: Scan, frame: HeadFrame) -> np.ndarray:
    """Where lateral and third ventricle may lie, bool [S, rows, columns]."""
    box = (slice(0, scan.hu.shape[1]), slice(0, scan.hu.shape[2]))
    central = np.empty(scan.hu.shape, bool)
    for index in range(len(scan.hu)):
        x, _, z = (part[0] for part in frame.points(scan, index, box, np.zeros(1)))
        central[index] = (np.abs(x - frame.lean * z) < _VENTRICLE_SIDE_MM) & (
            z > _VENTRICLE_FLOOR_MM
        )
    return central
