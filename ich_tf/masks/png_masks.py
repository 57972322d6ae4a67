"""Masks of the bleeds, as ich_tf.make_phantoms --masks writes them.

A mask is a file `<image id>.png`, uint8 of the DICOM image's size, in which bit k marks class k of
`labels.CLASSES`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ich_tf.errors import InputError
from ich_tf.masks.bits import unpack


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
        return unpack(np.asarray(bits, np.uint8))
