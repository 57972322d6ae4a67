"""Mask files of a conversion: their options, their listing, and one of them read and placed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ich_tf.dicom.reasons import Rejection
from ich_tf.dicom.walk import walk
from ich_tf.errors import InputError
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.formats import format_of
from ich_tf.masks.placement import place
from ich_tf.masks.planes import Plane
from ich_tf.masks.png_masks import read_png
from ich_tf.masks.read import read_mask

# Table of the series that masks belong to, among the masks.
MASK_TABLE = "masks.csv"
# A PNG of 4,096 pixels a side is smaller.
_MAX_PNG_BYTES = 64 * 2**20
_HASH_STEP = 1 << 20


@dataclass(frozen=True)
class MaskOptions:
    """Where the masks are, and what they hold.

    Attributes:
      folder: Folder of the masks.
      format: One of `masks.format_names.MASK_FORMATS`.
      classes: Class of each value, segment or region.
      images: Folder of the images that the masks were drawn on; None without.
    """

    folder: Path
    format: str = "auto"
    classes: ClassMap = field(default_factory=ClassMap)
    images: Path | None = None

    def format_of(self, name: str) -> str:
        """Format of a mask.

        Args:
          name: Path of the mask within the folder.

        Raises:
          MaskError: If it has none of the formats.
        """
        return format_of(self.folder / name) if self.format == "auto" else self.format


def mask_rejection(name: str, error: MaskError) -> Rejection:
    """Line of quarantine.jsonl for a mask that is not used."""
    return Rejection(name, "mask", error.reason.value, str(error))


def list_masks(folder: Path) -> tuple[list[str], list[Rejection]]:
    """Paths of the masks within their folder, sorted, and what cannot be read.

    Raises:
      InputError: If the folder cannot be listed.
    """
    rejections: list[Rejection] = []
    names: list[str] = []
    try:
        for file in walk(folder):
            if file.error is not None:
                error = MaskError(MaskReason.MASK_UNREADABLE, str(file.error))
                rejections.append(mask_rejection(file.name, error))
            elif file.name != MASK_TABLE:
                names.append(file.name)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}). Expected a folder of masks for "
            "--masks_dir."
        ) from error
    return sorted(names), rejections


def read_png_mask(
    options: MaskOptions, name: str, rows: int, columns: int
) -> tuple[np.ndarray, int, str]:
    """Reads the mask of one slice.

    Args:
      options: Options of the masks.
      name: Path of the mask within its folder.
      rows: Number of rows of the slice, px.
      columns: Number of columns of the slice, px.

    Returns:
      Bits, uint8 [rows, columns]; bits of the classes that the mask tells of; SHA-256 of the file.

    Raises:
      MaskError: If it cannot be used.
    """
    try:
        with open(options.folder / name, "rb") as file:
            data = file.read(_MAX_PNG_BYTES + 1)
    except OSError as error:
        raise _unreadable(error) from error
    if len(data) > _MAX_PNG_BYTES:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has more than {_MAX_PNG_BYTES >> 20} MiB; expected one slice.",
        )
    bits, annotated = read_png(data, rows, columns, options.classes)
    return bits, annotated, hashlib.sha256(data).hexdigest()


def mask_sha256(path: Path) -> str:
    """SHA-256 of a mask file, hexadecimal.

    Raises:
      MaskError: MASK_UNREADABLE.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while data := file.read(_HASH_STEP):
                digest.update(data)
    except OSError as error:
        raise _unreadable(error) from error
    return digest.hexdigest()


def place_mask(
    options: MaskOptions, name: str, format_: str, planes: Sequence[Plane]
) -> tuple[list[np.ndarray], list[int]]:
    """Reads a mask that says its place, and places it on the slices of a series.

    Args:
      options: Options of the masks.
      name: Path of the mask within its folder.
      format_: Its format.
      planes: Planes of the slices.

    Returns:
      Bits of each slice, uint8 [rows, columns], and bits of the classes annotated in it.

    Raises:
      MaskError: If it cannot be used for this series.
    """
    volume = read_mask(options.folder / name, format_, options.classes, planes)
    bits = [np.zeros(0, np.uint8)] * len(planes)
    annotated = [0] * len(planes)
    sizes: dict[tuple[int, int], list[int]] = {}
    for index, plane in enumerate(planes):
        sizes.setdefault((plane.rows, plane.columns), []).append(index)
    for group in sizes.values():
        placed = place(volume, [planes[index] for index in group])
        for at, index in enumerate(group):
            bits[index], annotated[index] = placed.bits[at], int(placed.annotated[at])
    return bits, annotated


def _unreadable(error: OSError) -> MaskError:
    return MaskError(MaskReason.MASK_UNREADABLE, f"cannot be read ({error.strerror}).")
