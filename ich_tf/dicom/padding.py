"""Pixels outside the reconstructed field of view, which hold no measurement (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

import cv2
import numpy as np

from ich_tf.dicom.data_set import DataSet
from ich_tf.dicom.elements import tag_of

_VALUE, _LIMIT = tag_of("PixelPaddingValue"), tag_of("PixelPaddingRangeLimit")


def padding_mask(
    dataset: DataSet, raw: np.ndarray, stored: np.ndarray, *, signed: bool
) -> np.ndarray | None:
    """Finds the padding of a slice.

    Padding is what holds a padding value and is connected to a corner through such pixels: the
    field of view is convex, so that what is outside of it always reaches a corner. Some writers
    name a value that tissue has.

    Args:
      dataset: The file, or one of its frames.
      raw: Pixels as they are in the file, [H, W]; bits above BitsStored may hold anything.
      stored: Stored values, [H, W]: `raw` without those bits.
      signed: Whether the stored values are signed.

    Returns:
      A mask of the pixels, bool [H, W]; None if there are none.
    """
    bounds = [
        int.from_bytes(element.value[:2], "big" if dataset.big else "little", signed=signed)
        for tag in (_VALUE, _LIMIT)
        if (element := dataset.get(tag)) is not None and len(element.value) >= 2
    ]
    if _VALUE not in dataset or not bounds:
        return None
    low, high = min(bounds), max(bounds)
    corners = np.ix_((0, -1), (0, -1))
    if not (_within(raw[corners], low, high) | _within(stored[corners], low, high)).any():
        return None
    # Either: a padding value may have more bits than are stored.
    held = _within(raw, low, high) | _within(stored, low, high)
    _, pieces = cv2.connectedComponents(held.astype(np.uint8))
    outside = np.isin(pieces, pieces[corners][held[corners]])
    return np.asarray(outside)


def _within(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.asarray((values >= low) & (values <= high))
