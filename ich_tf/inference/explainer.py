"""Heat maps of a predictor, and their overlay on a slice."""

from __future__ import annotations

import cv2
import numpy as np

from ich_tf.inference.slice_predictor import Predictor
from ich_tf.models.heat_maps import METHODS, HeatMaps


class Explainer:
    """Heat maps of a predictor: the mean of its members' maps, weighted by their shares."""

    def __init__(self, predictor: Predictor) -> None:
        """Prepares the heat maps of each member.

        Args:
          predictor: Predictor over slices or over series; of the latter its networks are explained.
        """
        self._predictor = predictor
        self._heat_maps = [HeatMaps(member.model) for member in predictor.members]

    def __call__(self, images: np.ndarray, name: str, method: str = METHODS[0]) -> np.ndarray:
        """Computes a heat map for each slice, as `models.heat_maps.HeatMaps`.

        Args:
          images: Images as for `Predictor.logits`, [n, H, W, neighbours * C].
          name: A class, one of `labels.CLASSES`.
          method: One of `models.heat_maps.METHODS`.

        Returns:
          float32 [n, H, W], 0 or more, in units of the logit.
        """
        heat = np.zeros(images.shape[:3], np.float32)
        for heat_maps, member, share in zip(
            self._heat_maps, self._predictor.members, self._predictor.shares, strict=True
        ):
            heat += np.float32(share) * heat_maps(member.select_slices(images), name, method)
        return heat


def normalized(heat: np.ndarray) -> np.ndarray:
    """Scales a heat map to a maximum of 1; a map of zeros stays zero."""
    peak = float(heat.max())
    return np.asarray(heat / peak if peak > 0 else heat, np.float32)


def overlay(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draws a heat map over a slice.

    Args:
      grey: Slice, uint8 [H, W].
      heat: Heat map, float32 [H, W], 0 to 1.

    Returns:
      RGB picture, uint8 [H, W, 3]; the share of the map's colour grows with its value.
    """
    colour = cv2.applyColorMap(np.asarray(255 * heat, np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = 0.75 * np.clip(heat, 0, 1)[..., None]
    return np.asarray((1 - share) * grey[..., None] + share * colour, np.uint8)
