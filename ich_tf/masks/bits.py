"""Bit masks: bit k of a pixel marks class k of `labels.CLASSES`, so that classes may overlap."""

from __future__ import annotations

import cv2
import numpy as np

from ich_tf.dicom.crop import Box
from ich_tf.labels import ANY, CLASSES

_BITS = (1 << np.arange(len(CLASSES))).astype(np.uint8)


def unpack(bits: np.ndarray) -> np.ndarray:
    """Mask of each class from bits.

    Args:
      bits: uint8 [rows, columns].

    Returns:
      bool [6, rows, columns]; that of `any` holds all subtypes.

    Examples:
      >>> unpack(np.array([[0, 2, 32]], np.uint8))[[1, 5], 0].astype(int).tolist()
      [[0, 1, 0], [0, 1, 1]]
    """
    marked = (bits & _BITS[:, None, None]) > 0
    marked[ANY] |= marked[:ANY].any(axis=0)
    return np.asarray(marked)


def pack(marked: np.ndarray) -> np.ndarray:
    """Bits from the mask of each class, the reverse of `unpack`: bool [6, h, w] -> uint8 [h, w]."""
    return np.asarray(np.tensordot(_BITS, marked.astype(np.uint8), axes=1), np.uint8)


def area_mm2(mask: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    """Area of a mask [rows, columns], mm2, from the spacing of rows and of columns."""
    return float(mask.sum()) * spacing_mm[0] * spacing_mm[1]


def as_stored(mask: np.ndarray, crop: Box, size: int) -> np.ndarray:
    """Maps a mask of the DICOM image to the stored image: cut, padded to a square, resized.

    Args:
      mask: Mask of the DICOM image, bool [rows, columns].
      crop: Part of the DICOM image that is stored, as in `records.SliceRecord`; empty for all.
      size: Number of rows and of columns of the stored image.

    Returns:
      Mask of the stored image, bool [size, size]: the pixels of which at least half is covered;
      for a mask too small for that, those that are covered most.
    """
    if crop:
        top, left, rows, columns = crop
        mask = mask[top : top + rows, left : left + columns]
    rows, columns = mask.shape
    side = max(rows, columns)
    square = np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = mask
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    covered = cv2.resize(square, (size, size), interpolation=interpolation)
    return np.asarray(covered >= min(0.5, float(covered.max())) if covered.any() else covered > 0)
