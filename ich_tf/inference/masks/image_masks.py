"""Masks of DICOM images from a network's maps: what was stored, cropped and resized, undone."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ich_tf.dicom.crop import Box
from ich_tf.masks.bits import pack
from ich_tf.runtime.pictures import decode_picture
from ich_tf.windows import resize_square_graph

if TYPE_CHECKING:
    import tensorflow as tf


def in_image(stored: np.ndarray, crop: Box, rows: int, columns: int) -> np.ndarray:
    """Maps a map of the stored image to the DICOM image, the reverse of `masks.bits.as_stored`.

    Args:
      stored: Values of the stored image, float32 [size, size].
      crop: Part of the DICOM image that is stored; empty for all of it.
      rows: Number of rows of the DICOM image.
      columns: Number of its columns.

    Returns:
      float32 [rows, columns], bilinear where the image is larger than what is stored, area averages
      where it is smaller; 0 outside of the crop.
    """
    top, left, height, width = crop or (0, 0, rows, columns)
    side = max(height, width)
    square = stored
    if stored.shape[0] != side:
        # Both put the centres of pixels where the resize of the image has put them.
        interpolation = cv2.INTER_AREA if stored.shape[0] > side else cv2.INTER_LINEAR
        square = cv2.resize(stored, (side, side), interpolation=interpolation)
    first_row, first_column = (side - height) // 2, (side - width) // 2
    image = np.zeros((rows, columns), np.float32)
    image[top : top + height, left : left + width] = square[
        first_row : first_row + height, first_column : first_column + width
    ]
    return image


def image_bits(
    probabilities: np.ndarray, thresholds: np.ndarray, crop: Box, rows: int, columns: int
) -> np.ndarray:
    """Marks the pixels of a DICOM image whose probability reaches the threshold of a class.

    Probabilities are resized, and not masks or logits: a border between 0 and 1 stays where both
    are equally near, however certain the network is on either side.

    Args:
      probabilities: Probabilities of the stored image, float32 [size, size, 6].
      thresholds: Threshold of each class, [6], above 0.
      crop: Part of the DICOM image that is stored; empty for all of it.
      rows: Number of rows of the DICOM image.
      columns: Number of its columns.

    Returns:
      uint8 [rows, columns], bit k for class k of `labels.CLASSES`; `any` holds all subtypes.
    """
    marked = np.stack(
        [
            in_image(np.ascontiguousarray(probabilities[..., k]), crop, rows, columns) >= threshold
            for k, threshold in enumerate(thresholds)
        ]
    )
    marked[-1] |= marked[:-1].any(axis=0)
    return pack(marked)


def image_bits_graph(
    probabilities: tf.Tensor, thresholds: np.ndarray, rows: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    """`image_bits` in a graph, of whole images of one size.

    Args:
      probabilities: Probabilities of the stored images, float32 [n, size, size, 6].
      thresholds: Threshold of each class, [6], above 0.
      rows: Number of rows of the images, int32 [].
      columns: Number of their columns, int32 [].

    Returns:
      uint8 [n, rows, columns].
    """
    import tensorflow as tf

    side = tf.maximum(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    marked = []
    # A class at a time: maps of all classes as large as the images would be six times as much.
    for k, threshold in enumerate(thresholds):
        square = resize_square_graph(probabilities[..., k], side)
        marked.append(square[:, top : top + rows, left : left + columns] >= threshold)
    marked[-1] = reduce(tf.logical_or, marked)
    bits = [tf.cast(mask, tf.int32) * (1 << k) for k, mask in enumerate(marked)]
    return tf.cast(reduce(tf.add, bits), tf.uint8)


def encode_bits(bits: np.ndarray) -> bytes:
    """Encodes the mask of an image as PNG, as `masks.png_masks` reads it."""
    done, data = cv2.imencode(".png", bits)
    assert done
    return data.tobytes()


def decode_bits(data: bytes) -> np.ndarray:
    """Reads the output of `encode_bits`, uint8 [rows, columns]."""
    return np.asarray(decode_picture(data, "png"), np.uint8)
