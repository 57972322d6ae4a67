"""Images of records: encoding and decoding with NumPy, and decoding in a TensorFlow graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ich_tf.errors import InputError
from ich_tf.records.schema import ENCODINGS, CorruptRecordError, SliceRecord
from ich_tf.runtime.pictures import decode_picture, png_start

if TYPE_CHECKING:
    import tensorflow as tf

# Lowest compression with run-length matching: 1.6 to 2.9 ms, depending on the machine, and 45 KiB
# per 256 px slice of three windows; level 6 takes 12 ms to save a fifth.
_PNG_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)
# Windows are not colours: with chroma at half resolution (4:2:0) a channel was wrong by up to 147
# of 255 on a real series, at full resolution (4:4:4) by up to 26.
_JPEG_OPTIONS = (
    cv2.IMWRITE_JPEG_QUALITY,
    95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)


def encode_image(image: np.ndarray, encoding: str) -> bytes:
    """Encodes an image of a record.

    PNG and JPEG hold one channel or three; other numbers of channels are stored side by side,
    [H, W * C, 1].

    Args:
      image: uint8 [H, W, C], or for hu16 uint16 [H, W, 1].
      encoding: Image format, one of `ENCODINGS`.

    Raises:
      ValueError: If the encoding is unknown, or OpenCV cannot encode the image.

    Examples:
      >>> encode_image(np.zeros((2, 2, 3), np.uint8), "png")[1:4]
      b'PNG'
    """
    if encoding == "raw":
        return image.tobytes()
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding is {encoding!r}; expected one of {', '.join(ENCODINGS)}.")
    height, width, channels = image.shape
    # OpenCV writes BGR as RGB: with the channels reversed, a reader gets them in order.
    flat = image[..., ::-1] if channels == 3 else image.reshape(height, width * channels)
    extension, options = (".jpg", _JPEG_OPTIONS) if encoding == "jpeg" else (".png", _PNG_OPTIONS)
    done, data = cv2.imencode(extension, flat, options)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as {encoding}.")
    return data.tobytes()


def read_image(record: SliceRecord) -> np.ndarray:
    """Decodes the image of a record with NumPy; the inverse of `encode_image`.

    Returns:
      uint8 [H, W, C], or for hu16 uint16 [H, W, 1].

    Raises:
      CorruptRecordError: If the image has another format or shape than the record's fields.
    """
    shape = record.height, record.width, record.channels
    dtype = np.uint16 if record.format == "hu16" else np.uint8
    flat: np.ndarray | None = np.frombuffer(record.encoded, np.uint8)
    if record.format != "raw":
        picture = "jpeg" if record.format == "jpeg" else "png"
        # Channels may lie side by side, or in the pixels.
        flat = decode_picture(record.encoded, picture, math.prod(shape))
    if flat is None or flat.dtype != dtype or flat.size != math.prod(shape):
        raise CorruptRecordError(
            f"holds an image that is not {record.format} of {' x '.join(map(str, shape))} pixels."
        )
    image = flat.reshape(shape)
    return image[..., ::-1] if shape[2] == 3 and record.format != "raw" else image


def decode_image(encoded: tf.Tensor, image_format: str, shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes an image of a record in a TensorFlow graph; the inverse of `encode_image`.

    Args:
      encoded: Encoded image, string [].
      image_format: Image format, one of `ENCODINGS`.
      shape: Rows, columns and channels (H, W, C) of the image.

    Returns:
      uint8 [H, W, C], or for hu16 uint16 [H, W, 1].

    Raises:
      InputError: If the format is unknown to this version.
    """
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
    columns = width * channels // colours
    # What announces another size is no image: the decoders would first make room for it.
    if image_format == "jpeg":
        is_right = tf.reduce_all(tf.image.extract_jpeg_shape(encoded)[:2] == (height, columns))
        encoded = tf.where(is_right, encoded, "")
        image = tf.io.decode_jpeg(encoded, channels=colours, dct_method="INTEGER_ACCURATE")
    else:
        start = png_start(height, columns)
        encoded = tf.where(tf.strings.substr(encoded, 0, len(start)) == start, encoded, "")
        dtype = tf.uint16 if image_format == "hu16" else tf.uint8
        image = tf.io.decode_png(encoded, channels=colours, dtype=dtype)
    return tf.reshape(image, (height, width, channels))


def decode_images(encoded: tf.Tensor, image_format: str, shape: tuple[int, int, int]) -> tf.Tensor:
    """`decode_image` of several images: string [n] -> uint8 or uint16 [n, H, W, C]."""
    import tensorflow as tf

    return tf.map_fn(
        lambda image: decode_image(image, image_format, shape),
        encoded,
        fn_output_signature=tf.TensorSpec(shape, tf.uint16 if image_format == "hu16" else tf.uint8),
    )
