"""Heat maps of a predictor, and their drawing over a slice."""

from __future__ import annotations

import cv2
import numpy as np

from ich_tf.inference.slice_predictor import Predictor
from ich_tf.models.heat_maps import METHODS, HeatMaps


class Explainer:
    """Heat maps of a predictor: the mean of its members', by their shares."""

    def __init__(self, predictor: Predictor) -> None:
        """Takes its models apart."""
        self._predictor = predictor
        self._members = [HeatMaps(one.model) for one in predictor.members]

    def __call__(self, images: np.ndarray, name: str, method: str = METHODS[0]) -> np.ndarray:
        """As `heatmaps.HeatMaps`, of images that hold `predictor.neighbours` slices."""
        found = np.zeros(images.shape[:3], np.float32)
        for maps, member, share in zip(
            self._members, self._predictor.members, self._predictor.shares, strict=True
        ):
            found += np.float32(share) * maps(member.select_slices(images), name, method)
        return found


def normalized(heat: np.ndarray) -> np.ndarray:
    """A map scaled to a greatest value of 1; zeros stay zeros."""
    peak = float(heat.max())
    return np.asarray(heat / peak if peak > 0 else heat, np.float32)


def overlay(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A slice under its heat map.

    Args:
      grey: uint8 [h, w].
      heat: float32 [h, w], 0 to 1.

    Returns:
      uint8 [h, w, 3], red first: the hotter the more of the map's colour.
    """
    colour = cv2.applyColorMap(np.asarray(255 * heat, np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = 0.75 * np.clip(heat, 0, 1)[..., None]
    return np.asarray((1 - share) * grey[..., None] + share * colour, np.uint8)
