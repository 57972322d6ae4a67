"""The record schema: one `tf.train.Example` a slice.

`encode` writes without TensorFlow, so that conversion workers start in half a second and
need 70 MiB; `parse` reads with it. Both are driven by `FEATURES`. The encoder writes the
protobuf wire format itself: a protobuf map serializes its keys in no fixed order, which
would make a shard's bytes differ from run to run.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES

if TYPE_CHECKING:
    import tensorflow as tf

SCHEMA_VERSION = 1
# png and raw hold windows, hu16 holds `windows.store_hu` as a PNG of 16 bits.
ENCODINGS = ("png", "raw", "hu16")


@dataclass(frozen=True)
class SliceRecord:
    """One slice as it is stored. No other tag of the DICOM file is ever written.

    Attributes:
      encoded: The image's bytes: a PNG of 1 or 3 channels, raw uint8, or a 16-bit PNG.
      format: One of `ENCODINGS`.
      height, width, channels: Of the stored image.
      source_id: RSNA's image id, or the keyed hash of the SOP instance UID.
      sha256: Of the DICOM file, hexadecimal.
      labels: 0 or 1, in the order of `CLASSES`; zeros where `label_present` is 0.
      label_present: 0 for unlabelled images.
      patient_key, study_key, series_key: Hashed unless RSNA's.
      slice_index, num_slices: Position in the ordered series.
      z_mm: Position along the series' normal.
      spacing_mm: Between rows, between columns, of the original image.
      gantry_tilt_deg: From the orientation.
      repairs: The named repairs that were applied.
      schema_version: `SCHEMA_VERSION`.
    """

    encoded: bytes
    format: str
    height: int
    width: int
    channels: int
    source_id: str
    sha256: str
    labels: tuple[int, ...]
    label_present: int
    patient_key: str
    study_key: str
    series_key: str
    slice_index: int
    num_slices: int
    z_mm: float
    spacing_mm: tuple[float, float]
    gantry_tilt_deg: float
    repairs: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION


# Field of SliceRecord -> feature's name, type, number of values (None: any number).
FEATURES: dict[str, tuple[str, type, int | None]] = {
    "encoded": ("image/encoded", bytes, 1),
    "format": ("image/format", bytes, 1),
    "height": ("image/height", int, 1),
    "width": ("image/width", int, 1),
    "channels": ("image/channels", int, 1),
    "source_id": ("image/source_id", bytes, 1),
    "sha256": ("image/key/sha256", bytes, 1),
    "labels": ("image/class/multilabel", int, len(CLASSES)),
    "label_present": ("image/class/label_present", int, 1),
    "patient_key": ("ct/patient_key", bytes, 1),
    "study_key": ("ct/study_key", bytes, 1),
    "series_key": ("ct/series_key", bytes, 1),
    "slice_index": ("ct/slice_index", int, 1),
    "num_slices": ("ct/num_slices", int, 1),
    "z_mm": ("ct/z_mm", float, 1),
    "spacing_mm": ("ct/spacing_mm", float, 2),
    "gantry_tilt_deg": ("ct/gantry_tilt_deg", float, 1),
    "repairs": ("ct/repairs", bytes, None),
    "schema_version": ("ct/schema_version", int, 1),
}
assert set(FEATURES) == {field.name for field in fields(SliceRecord)}

# Least compression with run-length matching: 1.6 ms and 45 KiB a 256 px slice of three
# windows, where level 6 takes 12 ms to save a fifth.
_PNG_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
)


def encode_image(image: np.ndarray, encoding: str) -> bytes:
    """uint8 [h, w, C], for hu16 uint16 [h, w, 1] -> bytes.

    PNG holds one channel or three; another number is laid side by side, [h, w * C, 1].

    Raises:
      ValueError: If the encoding is unknown.
    """
    if encoding == "raw":
        return image.tobytes()
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding is {encoding!r}; expected one of {', '.join(ENCODINGS)}.")
    height, width, channels = image.shape
    # OpenCV writes BGR as RGB: turned around here, a reader gets the channels in order.
    flat = image[..., ::-1] if channels == 3 else image.reshape(height, width * channels)
    done, data = cv2.imencode(".png", flat, _PNG_OPTIONS)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as PNG.")
    return data.tobytes()


def encode(record: SliceRecord) -> bytes:
    """Serializes a record as a `tf.train.Example`, its features sorted by name."""
    entries = []
    for field, (name, kind, count) in FEATURES.items():
        value = getattr(record, field)
        values: Sequence[Any] = value if isinstance(value, tuple) else (value,)
        if count is not None and len(values) != count:
            raise ValueError(f"{name} has {len(values)} values; the schema says {count}.")
        entries.append((name, _feature(kind, values)))
    # Example{1: Features{1: map<string, Feature>}}; a map entry is {1: key, 2: value}.
    features = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, feature))
        for name, feature in sorted(entries)
    )
    return _field(1, features)


def parse(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a record, or a batch of them, by `SliceRecord`'s field names.

    Args:
      serialized: string [] or [n].

    Returns:
      Tensors by field; int64, float32 or string; `repairs` is sparse.
    """
    import tensorflow as tf

    dtypes = {bytes: tf.string, int: tf.int64, float: tf.float32}
    spec: dict[str, Any] = {}
    for name, kind, count in FEATURES.values():
        if count is None:
            spec[name] = tf.io.VarLenFeature(dtypes[kind])
        else:
            spec[name] = tf.io.FixedLenFeature([] if count == 1 else [count], dtypes[kind])
    parsed = tf.io.parse_example(serialized, spec)
    return {field: parsed[name] for field, (name, _, _) in FEATURES.items()}


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
    dtype = tf.uint16 if image_format == "hu16" else tf.uint8
    image = tf.io.decode_png(encoded, channels=3 if channels == 3 else 1, dtype=dtype)
    return tf.reshape(image, (height, width, channels))


_SMALL = [bytes((value,)) for value in range(0x80)]


def _feature(kind: type, values: Sequence[Any]) -> bytes:
    """Feature{1: BytesList | 2: FloatList | 3: Int64List}; numbers are packed."""
    if kind is bytes:
        texts = (value.encode() if isinstance(value, str) else value for value in values)
        return _field(1, b"".join(_field(1, text) for text in texts))
    if kind is float:
        return _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))
    return _field(3, _field(1, b"".join(_varint(value) for value in values)))


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= 0xFFFFFFFFFFFFFFFF  # negative int64: two's complement in ten bytes
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
