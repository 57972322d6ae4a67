"""Images of records: encoding and decoding in NumPy, and decoding in a TensorFlow graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ich_tf.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf
from ich_tf.records.schema import ENCODINGS, CorruptRecordError, SliceRecord

# Least compression with run-length matching: 1.6 to 2.9 ms, by machine, and 45 KiB a 256 px slice
# of three windows, where level 6 takes 12 ms to save a fifth.
_PNG_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)
# Windows are no colours: with chroma at half resolution (4:2:0) a channel erred by up to 147 of
# 255 on a real series, without (4:4:4) by 26.
_JPEG_OPTIONS = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)


def encode_image(image: np.ndarray, encoding: str) -> bytes:
    """uint8 [h, w, C], for hu16 uint16 [h, w, 1] -> bytes.

    PNG and JPEG hold one channel or three; another number is laid side by side, [h, w * C, 1].

    Raises:
      ValueError: If the encoding is unknown.

    Example:
      >>> encode_image(np.zeros((2, 2, 3), np.uint8), "png")[1:4]
      b'PNG'
    """
    if encoding == "raw":
        return image.tobytes()
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding is {encoding!r}; expected one of {', '.join(ENCODINGS)}.")
    height, width, channels = image.shape
    # OpenCV writes BGR as RGB: turned around here, a reader gets the channels in order.
    flat = image[..., ::-1] if channels == 3 else image.reshape(height, width * channels)
    extension, options = (".jpg", _JPEG_OPTIONS) if encoding == "jpeg" else (".png", _PNG_OPTIONS)
    done, data = cv2.imencode(extension, flat, options)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as {encoding}.")
    return data.tobytes()


def read_image(record: SliceRecord) -> np.ndarray:
    """The image of a record, without TensorFlow; the inverse of `encode_image`.

    Raises:
      CorruptRecordError: If it is not what the record's other fields say.
    """
    shape = record.height, record.width, record.channels
    dtype = np.uint16 if record.format == "hu16" else np.uint8
    buffer = np.frombuffer(record.encoded, np.uint8)
    flat: np.ndarray | None = buffer
    if record.format != "raw":
        flat = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED) if len(buffer) else None
    if flat is None or flat.dtype != dtype or flat.size != math.prod(shape):
        raise CorruptRecordError(
            f"holds an image that is no {record.format} of {' x '.join(map(str, shape))} pixels."
        )
    image = flat.reshape(shape)
    return image[..., ::-1] if shape[2] == 3 and record.format != "raw" else image


def decode_image(encoded: tf.Tensor, image_format: str, shape: tuple[int, int, int]) -> tf.Tensor:
    """The image of one record; the inverse of `encode_image`."""
    import tensorflow as tf

    height, width, channels = shape
    if image_format == "raw":
        return tf.reshape(tf.io.decode_raw(encoded, tf.uint8), shape)
    if image_format not in ENCODINGS:
        raise InputError(
            f"the records' format is {image_format!r}; this version reads "
            f"{', '.join(ENCODINGS)}. Convert the data again."
        )
    colours = 3 if channels == 3 else 1
    if image_format == "jpeg":
        image = tf.io.decode_jpeg(encoded, channels=colours, dct_method="INTEGER_ACCURATE")
    else:
        dtype = tf.uint16 if image_format == "hu16" else tf.uint8
        image = tf.io.decode_png(encoded, channels=colours, dtype=dtype)
    return tf.reshape(image, (height, width, channels))
