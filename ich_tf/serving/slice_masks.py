"""Masks of a study's slices: where their files lie, how they are written and read, their areas."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ich_tf.inference.masks.image_masks import decode_bits, encode_bits
from ich_tf.masks.bits import unpack


def mask_path(hu_path: Path) -> Path:
    """Path of a slice's mask, a PNG beside the file of its Hounsfield units."""
    return hu_path.with_name(f"{hu_path.name}.png")


def write_mask(hu_path: Path, bits: np.ndarray) -> None:
    """Writes the mask of a slice.

    Args:
      hu_path: File of the slice's Hounsfield units.
      bits: uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
    """
    mask_path(hu_path).write_bytes(encode_bits(bits))


def read_mask(hu_path: Path) -> np.ndarray:
    """Reads the mask of a slice, uint8 [rows, columns]."""
    return decode_bits(mask_path(hu_path).read_bytes())


def areas_mm2(bits: np.ndarray, spacing_mm: tuple[float, ...]) -> tuple[float, ...]:
    """Area of each class in a slice, mm2 to three digits, [6].

    Args:
      bits: uint8 [rows, columns], bit k for class k of `labels.CLASSES`.
      spacing_mm: Distance between rows, and between columns.
    """
    areas = unpack(bits).sum(axis=(1, 2)) * float(np.prod(spacing_mm))
    return tuple(round(area, 3) for area in areas.tolist())
