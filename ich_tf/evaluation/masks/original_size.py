"""Size of the images that a split's masks were drawn on: records do not hold it.

A stored pixel stands for the share of the original image that it covers. Records of `--crop` name
the rows and columns of their part. Of whole images, the same bleeds are known in two ways: as area
in the original image, to the pixel, and as pixels of the stored mask. Their ratio is the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A series with fewer marked pixels cannot tell its size from that of the others: the edge of a
# mask, resampled, is half a pixel uncertain.
_LEAST_MARKED = 400
# Least deviation from the others' size, as a share, that is taken for another size.
_OTHER_SIZE = 0.05


@dataclass(frozen=True)
class Marked:
    """Bleeds of a series in its original and in its stored images.

    Attributes:
      original: Number of pixels that are marked in the original images.
      stored: Number of pixels that are marked in the stored images.
      size: Rows and columns of the stored images.
      crop_side: Longer side of the part that was stored, px; 0 for the whole image.
    """

    original: float
    stored: float
    size: int
    crop_side: int = 0


def original_sides(series: Sequence[Marked]) -> np.ndarray:
    """Finds the longer side of the part that is stored of each series' images.

    Args:
      series: Marked pixels of each series.

    Returns:
      Pixels of the original image, float64 [n]: of a crop its own; of a series with many marked
      pixels and of another size than the others that which they show; else the one that all marked
      pixels show together. NaN if nothing is marked.

    Examples:
      >>> original_sides([Marked(64e3, 1e3, 64), Marked(0, 0, 64)]).tolist()
      [512.0, 512.0]
    """
    whole = [each for each in series if not each.crop_side]
    common = _side(sum(each.original for each in whole), sum(each.stored for each in whole), whole)
    sides = []
    for each in series:
        side = float(each.crop_side) or common
        own = _side(each.original, each.stored, [each])
        if not each.crop_side and each.stored >= _LEAST_MARKED:
            side = own if abs(own / common - 1) > _OTHER_SIZE else common
        sides.append(side)
    return np.array(sides)


def _side(original: float, stored: float, series: Sequence[Marked]) -> float:
    if not original or not stored:
        return float("nan")
    return float(np.sqrt(original / stored) * series[0].size)
