"""Masks of the bleeds, as ich_tf.make_phantoms --masks writes them.

A mask is a file `<image id>.png`, uint8 of the DICOM image's size, in which bit k marks class k of
`labels.CLASSES`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ich_tf.dicom.crop import Box
from ich_tf.errors import InputError
from ich_tf.labels import ANY, CLASSES


class Masks:
    """A folder of masks."""

    def __init__(self, folder: str | Path) -> None:
        """Checks that there is a folder.

        Args:
          folder: Folder of the masks.

        Raises:
          InputError: If there is no such folder.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: no such folder of masks. Expected PNGs named <image id>.png, as "
                "ich_tf.make_phantoms --masks writes them."
            )

    def read(self, source_id: str) -> np.ndarray | None:
        """Reads the mask of a slice.

        Args:
          source_id: Image id of the slice.

        Returns:
          Mask of each class, bool [6, rows, columns], that of `any` with all subtypes; None if the
          slice has no mask.

        Raises:
          InputError: If the file is not a grey 8-bit PNG.
        """
        path = self.folder / f"{source_id}.png"
        if not path.is_file():
            return None
        bits = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if bits is None or bits.ndim != 2 or bits.dtype != np.uint8:
            raise InputError(f"{path}: not a grey 8-bit PNG. Write the masks again.")
        bit = (1 << np.arange(len(CLASSES))).astype(np.uint8)
        marked = (np.asarray(bits, np.uint8) & bit[:, None, None]) > 0
        marked[ANY] |= marked[:ANY].any(axis=0)
        return np.asarray(marked)


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
