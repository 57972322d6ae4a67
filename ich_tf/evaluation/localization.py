"""How well heat maps find what they are said to show, against masks and a simple guess."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

# Shares of a map's greatest value that are tried as its border.
_THRESHOLDS = np.arange(0.05, 1.0, 0.05)
_TISSUE_GREY = 1


@dataclasses.dataclass(frozen=True)
class Localization:
    """How well maps of a class find its bleeds.

    Attributes:
      method: What drew the maps, or `centre of the brain`.
      name: The class.
      num_slices: That show it, and were looked at.
      pointing: Share of them whose hottest place lies in the bleed.
      iou: Mean intersection over union with the bleed, at the best threshold for all.
      threshold: That one, as a share of each map's greatest value.
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
    """The pointing game (Zhang et al. 2016, arXiv:1608.00507), without a margin, and IoU.

    Args:
      method: For the result.
      name: Likewise.
      maps: float [H, W], 0 or more, one or more of them.
      masks: bool [H, W], where the class is; none empty.
    """
    hits = [
        bool(mask[np.unravel_index(one.argmax(), one.shape)])
        for one, mask in zip(maps, masks, strict=True)
    ]
    ious = np.array([_ious(one, mask) for one, mask in zip(maps, masks, strict=True)]).mean(axis=0)
    best = int(ious.argmax())
    return Localization(
        method, name, len(maps), float(np.mean(hits)), float(ious[best]), float(_THRESHOLDS[best])
    )


def centre_map(grey: np.ndarray) -> np.ndarray:
    """The guess of one who knows the head and not the bleed: the nearer to its centre the hotter.

    Args:
      grey: A slice, uint8 [H, W], air black.

    Returns:
      float32 [H, W]: 1 at the centroid of the largest bright piece, filled; 0 at its farthest.
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


def _ious(one: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """IoU at each of `_THRESHOLDS`; 0 for a map that marks nothing."""
    peak = float(one.max())
    if peak <= 0:
        return np.zeros(len(_THRESHOLDS))
    inside = one[None] >= _THRESHOLDS[:, None, None] * peak
    union = (inside | mask).sum(axis=(1, 2))
    return np.asarray((inside & mask).sum(axis=(1, 2)) / union)
