"""Masks of records: bits of the classes as a PNG of the stored image's size."""

from __future__ import annotations

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.records.images import encode_image
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.runtime.pictures import decode_picture


def encode_mask(bits: np.ndarray) -> bytes:
    """PNG of a mask, uint8 [H, W], in which bit k marks class k; empty where nothing is marked.

    Examples:
      >>> encode_mask(np.zeros((2, 2), np.uint8)), encode_mask(np.ones((2, 2), np.uint8))[1:4]
      (b'', b'PNG')
    """
    return encode_image(bits[..., None], "png") if bits.any() else b""


def read_mask(record: SliceRecord) -> np.ndarray:
    """Decodes the mask of a record with NumPy; the inverse of `encode_mask`.

    Returns:
      uint8 [H, W], zeros where nothing is marked.

    Raises:
      CorruptRecordError: If it is no mask of the stored image's size.
    """
    shape = record.height, record.width
    if not record.mask:
        return np.zeros(shape, np.uint8)
    bits = decode_picture(record.mask, "png", shape[0] * shape[1])
    if bits is None or bits.dtype != np.uint8 or bits.shape != shape or bits.max() >> len(CLASSES):
        raise CorruptRecordError(
            f"holds a mask that is no grey 8-bit PNG of {shape[0]} x {shape[1]} pixels."
        )
    return np.asarray(bits)
