"""Heat maps of a predictor, what they explain, and their overlay on a slice.

A map explains the logit of a network over slices. What is shown beside it may be another
probability: that of a model over series, smoothed along the series, calibrated. `Explainer.caption`
says so.
"""

from __future__ import annotations

import textwrap

import cv2
import numpy as np

from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.series_predictor import SeriesPredictor
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.metrics import sigmoid
from ich_tf.models.heat_maps import METHODS, HeatMaps

# Logit of the smallest spot that is drawn in the brightest colour.
_SPOT = 1.0


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

    def scale(self) -> float:
        """Value that is drawn in the brightest colour, the same for all slices and classes.

        A map that is scaled to its own greatest value makes a slice without a bleed glow like one
        with a bleed. This value is that of the smallest spot which raises the logit by `_SPOT`.

        Returns:
          A value of the maps by `integrated_gradients`, in units of the logit, above 0.
        """
        spots = [_SPOT / heat_maps.spot_pixels for heat_maps in self._heat_maps]
        return float(self._predictor.shares @ np.array(spots))

    def network_probabilities(self, images: np.ndarray) -> np.ndarray:
        """Computes the probabilities whose logits the heat maps explain.

        Args:
          images: Images as for a call, [n, H, W, neighbours * C].

        Returns:
          float64 [n, 6], the mean over the networks, before any postprocessing.
        """
        members = zip(self._predictor.members, self._predictor.shares, strict=True)
        return np.asarray(
            sum(
                share * sigmoid(member.logits_fn(member.select_slices(images)))
                for member, share in members
            ),
            np.float64,
        )

    def caption(self, network_probability: float, probability: float, prevalence: bool) -> str:
        """Says what a heat map explains.

        Args:
          network_probability: The class's of `network_probabilities` for the slice.
          probability: Probability that is shown for the slice.
          prevalence: Whether that one was moved to another prevalence.

        Returns:
          Text such as `explains the network's own probability 0.31, before smoothing (0.62)`.
        """
        predictor = self._predictor
        after = predictor.postprocessing
        steps = {
            "the model over series": isinstance(predictor, SeriesPredictor),
            "the mean with the mirror image": after.flip,
            "smoothing": after.smoothing_mm > 0,
            "calibration": any(group.calibrator != Calibrator() for group in after.groups),
            "the change of prevalence": prevalence,
        }
        text = f"explains the network's own probability {network_probability:.2f}"
        names = [name for name, is_taken in steps.items() if is_taken]
        if not names:
            return text
        listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        return f"{text}, before {listed} ({probability:.2f})"


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


def captioned(picture: np.ndarray, text: str, characters: int = 40) -> np.ndarray:
    """Writes lines of text on a bar below a picture.

    Args:
      picture: RGB picture, uint8 [rows, columns, 3].
      text: Text of ASCII characters.
      characters: Length of a line at most; the letters are as large as the width allows then.

    Returns:
      uint8 [rows + bar, columns, 3].
    """
    lines = textwrap.wrap(text, characters)
    columns, font = picture.shape[1], cv2.FONT_HERSHEY_SIMPLEX
    sizes = [cv2.getTextSize(line, font, 1.0, 1)[0] for line in lines]
    scale = 0.96 * columns / max(width for width, _ in sizes)
    step = max(4.0, 2 * scale * max(height for _, height in sizes))
    bar = np.zeros((round(step * len(lines)), columns, 3), np.uint8)
    for number, line in enumerate(lines):
        place = (round(0.02 * columns), round(step * (number + 0.75)))
        cv2.putText(bar, line, place, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([picture, bar])
