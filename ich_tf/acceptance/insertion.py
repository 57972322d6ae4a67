"""Bleeds put into a scan: the brain moves aside, blood takes its place, the scanner blurs both."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from ich_tf.acceptance.appearance import CORE_DEPTH_MM, MOST_NOISE_HU, Appearance, slow_part
from ich_tf.acceptance.scan_head import Box, ScanHead
from ich_tf.labels import CLASSES, SUBTYPES
from ich_tf.phantom.full.bleeds import Bleeds

# Distance between the planes over which a slice's thickness is averaged.
_PLANE_MM = 1.5
# Displacements that are left out, pixels, and the depth over which they begin at the bone.
_LEAST_MOVED_PX, _FREE_DEPTH_MM = 0.05, 5.0
# Differences that are left out, HU: pixels with less are the source's, bit for bit.
_LEAST_CHANGE_HU = 0.5
# Share of blood from which a pixel shows blood alone.
_CORE_SHARE = 0.9
# Air cells in the base of the skull hold no blood.
_AIR_HU = -200.0


@dataclasses.dataclass(frozen=True, eq=False)
class InsertedSlice:
    """A slice with bleeds.

    Attributes:
      change: Difference from the source, HU, float32 [rows, columns]; 0 where nothing changed.
      blood: Share of each subtype's blood as the scanner shows it, float32 [5, rows, columns].
      painted: Hounsfield units that were asked for, blurred and without noise, float32 [rows,
        columns]; NaN where blood takes less than 0.9 of a pixel, near bone and in calcifications.
      moved_mm: Largest distance that tissue moved.
    """

    change: np.ndarray
    blood: np.ndarray
    painted: np.ndarray
    moved_mm: float


def insert(
    head: ScanHead,
    bleeds: Bleeds,
    appearance: Appearance,
    index: int,
    rng: np.random.Generator,
) -> InsertedSlice | None:
    """Puts bleeds into a slice.

    Args:
      head: The head.
      bleeds: Bleeds in that head.
      appearance: Sharpness and noise of its scan.
      index: Number of the slice.
      rng: Random generator of the slice.

    Returns:
      The change; None if there is none.
    """
    scan, box = head.scan, head.box(index)
    depth = head.depths(index, box, np.zeros(1))[0]
    moved, moved_mm = _moved(head, bleeds, index, box, depth)
    count = max(1, math.ceil(scan.thickness_mm[index] / _PLANE_MM))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * scan.thickness_mm[index]
    voxels = head.voxels(index, box, offsets, moved)
    hu, shares = bleeds.paint(voxels)
    blood, change = shares.mean(axis=1), (hu - voxels.hu).mean(axis=0)
    # The scanner's blur, in the plane.
    row_mm, column_mm = scan.spacing_mm
    sigma = (appearance.blur_mm / column_mm, appearance.blur_mm / row_mm)
    change = cv2.GaussianBlur(change, (0, 0), sigma[0], sigmaY=sigma[1])
    blood = np.stack([cv2.GaussianBlur(part, (0, 0), sigma[0], sigmaY=sigma[1]) for part in blood])
    covered = np.clip(blood.sum(axis=0), 0.0, 1.0)
    painted = voxels.hu[0] + change
    # Tissue moves; noise, bone and calcifications stay where they are.
    change += voxels.hu[0] - head.tissue.hu[index][box]
    residual = scan.hu[index][box] - head.tissue.hu[index][box]
    change -= covered * slow_part(residual, depth, column_mm)
    noise = appearance.lost_noise(rng, index, covered.shape, math.sqrt(row_mm * column_mm))
    change += np.sqrt(covered * (2.0 - covered)) * noise
    changed = (np.abs(change) >= _LEAST_CHANGE_HU) | (covered > 0.02)
    changed &= scan.hu[index][box] > _AIR_HU
    if not changed.any():
        return None
    core = (covered >= _CORE_SHARE) & (depth > CORE_DEPTH_MM)
    core &= np.abs(residual) < MOST_NOISE_HU
    whole = InsertedSlice(
        np.zeros(scan.hu.shape[1:], np.float32),
        np.zeros((len(SUBTYPES), *scan.hu.shape[1:]), np.float32),
        np.full(scan.hu.shape[1:], np.nan, np.float32),
        moved_mm,
    )
    whole.change[box] = np.where(changed, change, 0.0)
    whole.blood[(slice(None), *box)] = blood
    whole.painted[box] = np.where(core, painted, np.nan)
    return whole


def _moved(
    head: ScanHead, bleeds: Bleeds, index: int, box: Box, depth: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray] | None, float]:
    """Columns and rows that the tissue of each pixel came from, and how far at most, mm.

    Tissue moves within its slice: what comes from the slices above and below was never measured as
    finely.
    """
    points = head.frame.points(head.scan, index, box, np.zeros(1))
    vector = np.stack([part[0] for part in bleeds.displacement(*points)])
    vector *= np.clip(depth / _FREE_DEPTH_MM, 0.0, 1.0)
    steps = head.frame.in_plane(head.scan)
    along = [np.tensordot(step / (step @ step), vector, 1).astype(np.float32) for step in steps]
    distance = np.hypot(*along)
    if distance.max() < _LEAST_MOVED_PX:
        return None, 0.0
    still = distance < _LEAST_MOVED_PX
    rows, columns = np.indices(depth.shape, np.float32)
    moved = (
        np.where(still, columns, columns + along[0]),
        np.where(still, rows, rows + along[1]),
    )
    return moved, float(distance.max() * math.sqrt(math.prod(head.scan.spacing_mm)))


def bit_mask(blood: np.ndarray, pixel_mm2: float, min_area_mm2: float) -> np.ndarray:
    """Bit mask of a slice, uint8 [rows, columns], as `make_phantoms --masks` writes it.

    Args:
      blood: Share of each subtype's blood, float32 [5, rows, columns].
      pixel_mm2: Area of a pixel.
      min_area_mm2: Smallest area of a subtype that is marked.
    """
    mask = np.zeros(blood.shape[1:], np.uint8)
    for subtype, part in enumerate(blood):
        inside = part >= 0.5
        if inside.sum() * pixel_mm2 >= min_area_mm2:
            mask[inside] |= np.uint8(1 << subtype)
    mask[mask > 0] |= np.uint8(1 << (len(CLASSES) - 1))
    return mask
