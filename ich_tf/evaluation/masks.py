"""Where the bleeds are, where that is known: PNGs as ich_tf.make_phantoms --masks writes them.

`<image id>.png`, uint8 of the DICOM image's size, in which bit k marks class k of `labels.CLASSES`.
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
        """Looks for the folder.

        Raises:
          InputError: If there is none.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: no such folder of masks. Expected PNGs named <image id>.png, as "
                "ich_tf.make_phantoms --masks writes them."
            )

    def read(self, source_id: str) -> np.ndarray | None:
        """The mask of a slice, bool [6, rows, columns]; None if there is none.

        `any` is where one of the subtypes is.

        Raises:
          InputError: If it is no 8-bit PNG.
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
    """The area that a mask [rows, columns] covers."""
    return float(mask.sum()) * spacing_mm[0] * spacing_mm[1]


def as_stored(mask: np.ndarray, crop: Box, size: int) -> np.ndarray:
    """A mask in the place of the stored image: cut, padded to a square, resized.

    Args:
      mask: bool [rows, columns], of the DICOM image.
      crop: As of `records.SliceRecord`; empty for none.
      size: Rows and columns of the stored image.

    Returns:
      bool [size, size]: where at least half of a pixel is covered, or, for a mask too small for
      that, where the most is.
    """
    if crop:
        top, left, rows, columns = crop
        mask = mask[top : top + rows, left : left + columns]
    rows, columns = mask.shape
    side = max(rows, columns)
    square = np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = mask
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    covered = cv2.resize(square, (size, size), interpolation=how)
    return np.asarray(covered >= min(0.5, float(covered.max())) if covered.any() else covered > 0)
