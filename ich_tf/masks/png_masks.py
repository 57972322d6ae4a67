"""Masks of the bleeds, as ich_tf.make_phantoms --masks writes them.

A mask is a file `<image id>.png`, uint8 of the DICOM image's size, in which bit k marks class k of
`labels.CLASSES`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ich_tf.errors import InputError
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import unpack
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.png_file import read_grey
from ich_tf.runtime.pictures import decode_picture

# Bits of all classes. Programs that draw write 0 and 255: a mask of `any` alone.
ALL_CLASSES, _DRAWN = (1 << len(CLASSES)) - 1, 255


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
        bits = decode_picture(path.read_bytes(), "png")
        if bits is None or bits.ndim != 2 or bits.dtype != np.uint8:
            raise InputError(f"{path}: not a grey 8-bit PNG. Write the masks again.")
        return unpack(np.asarray(bits, np.uint8))


def read_png(
    data: bytes, rows: int, columns: int, classes: ClassMap | None = None
) -> tuple[np.ndarray, int]:
    """Reads a PNG whose pixels hold a bit a class, or 0 and 255 for `any` alone.

    Args:
      data: Content of the file.
      rows: Number of rows of its image, px.
      columns: Number of columns of its image, px.
      classes: Class that each value stands for; None, or a map without entries, for bits.

    Returns:
      Bits, uint8 [rows, columns], and the bits of the classes that the mask tells of.

    Raises:
      MaskError: MASK_FORMAT, MASK_SIZE, MASK_CLASS or MASK_UNREADABLE.
    """
    bits = read_grey(data, rows, columns)
    if classes is not None and classes.entries:
        return classes.bits_of_values(bits)
    highest = int(bits.max())
    if highest == 1:
        raise MaskError(
            MaskReason.MASK_CLASS,
            "holds 0 and 1 alone, which other programs write for any bleed; by bits, 1 is epidural "
            "(33 with the bit of any). Say what it stands for, as --mask_classes=1:any.",
        )
    if highest <= ALL_CLASSES:
        return bits, ALL_CLASSES
    if highest == _DRAWN and not ((bits > 0) & (bits < _DRAWN)).any():
        return np.where(bits > 0, 1 << ANY, 0).astype(np.uint8), 1 << ANY
    raise MaskError(
        MaskReason.MASK_CLASS,
        f"has the value {highest}; expected bits of {len(CLASSES)} classes, 0 to {ALL_CLASSES}, or "
        "0 and 255.",
    )
