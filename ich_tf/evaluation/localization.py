"""Localization: how well heat maps find the bleeds, measured by masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

# Shares of a map's greatest value that are tried as the border of the bleed.
_THRESHOLDS = np.arange(0.05, 1.0, 0.05)
# Least grey of tissue; air is 0.
_TISSUE_GREY = 1


@dataclasses.dataclass(frozen=True)
class Localization:
    """How well the heat maps of a class find its bleeds.

    Attributes:
      method: Method that drew the maps, or `centre of the brain`.
      name: Class of the bleeds.
      num_slices: Number of slices with such a bleed that were measured.
      pointing: Share of the slices whose map has its greatest value within the bleed, 0 to 1.
      iou: Intersection over union with the bleed, mean of the slices, at the best threshold.
      threshold: Threshold with the greatest `iou`, a share of each map's greatest value.
    """

    method: str
    name: str
    num_slices: int
    pointing: float
    iou: float
    threshold: float


def measure(
    method: str, name: str, maps: Sequence[np.ndarray] | np.ndarray, masks: Sequence[np.ndarray]
) -> Localization:
    """Scores heat maps by the pointing game and by intersection over union.

    The pointing game is that of Zhang et al. 2016 (arXiv:1608.00507), without a margin.

    Args:
      method: Method that drew the maps, for the result.
      name: Class of the bleeds, for the result.
      maps: One or more heat maps, float [H, W], 0 or more.
      masks: Mask of the bleed in each slice, bool [H, W], none empty.
    """
    hits = [
        bool(mask[np.unravel_index(heat.argmax(), heat.shape)])
        for heat, mask in zip(maps, masks, strict=True)
    ]
    ious = np.mean([_ious(heat, mask) for heat, mask in zip(maps, masks, strict=True)], axis=0)
    best = int(ious.argmax())
    return Localization(
        method, name, len(maps), float(np.mean(hits)), float(ious[best]), float(_THRESHOLDS[best])
    )


def centre_map(grey: np.ndarray) -> np.ndarray:
    """Draws a baseline that knows the head but not the bleed: hotter towards the centre.

    Args:
      grey: Slice, uint8 [H, W], with air as 0.

    Returns:
      Map, float32 [H, W], that falls from 1 at the centre of the largest object's bounding box to
      0 at the farthest pixel.
    """
    pieces, _, sizes, _ = cv2.connectedComponentsWithStats((grey >= _TISSUE_GREY).astype(np.uint8))
    rows, columns = np.indices(grey.shape)
    if pieces > 1:
        left, top, width, height, _ = sizes[1 + sizes[1:, cv2.CC_STAT_AREA].argmax()]
        centre = top + (height - 1) / 2, left + (width - 1) / 2
    else:
        centre = (grey.shape[0] - 1) / 2, (grey.shape[1] - 1) / 2
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return np.asarray(1 - distance / distance.max(), np.float32)


def _ious(heat: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Intersection over union at each of `_THRESHOLDS`; 0 for a map of zeros."""
    peak = float(heat.max())
    if peak <= 0:
        return np.zeros(len(_THRESHOLDS))
    inside = heat[None] >= _THRESHOLDS[:, None, None] * peak
    union = (inside | mask).sum(axis=(1, 2))
    return np.asarray((inside & mask).sum(axis=(1, 2)) / union)
