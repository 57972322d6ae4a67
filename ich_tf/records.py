"""The record schema: one `tf.train.Example` a slice.

`encode` writes and `decode` reads one record without TensorFlow, so that conversion workers
start in a second and need 110 MiB; `parse` reads batches with it. All are driven by `FEATURES`.
The encoder writes the protobuf wire format itself: a protobuf map serializes its keys in no
fixed order, which would make a shard's bytes differ from run to run.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = [
    "CROPS",
    "ENCODINGS",
    "FEATURES",
    "LOSSY",
    "SCHEMA_VERSION",
    "CorruptRecordError",
    "SliceRecord",
    "decode",
    "decode_example",
    "decode_image",
    "encode",
    "encode_example",
    "encode_image",
    "parse",
    "read_image",
]

# 2: ct/scanner came.
SCHEMA_VERSION = 2
# png and raw hold windows, hu16 holds `windows.store_hu` as a PNG of 16 bits. jpeg holds windows
# too, and is the one that loses something.
ENCODINGS = ("png", "raw", "hu16", "jpeg")
LOSSY = ("jpeg",)
# What is cut out of a slice before it is resized.
CROPS = ("none", "head")


class CorruptRecordError(InputError):
    """A payload that is no record of this schema."""


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
      scanner: Its maker, one of `dicom.SCANNERS`, `other` or `unknown`.
      repairs: The named repairs that were applied.
      crop: What was cut out of the original image before resizing: top, left, rows, columns;
        empty where it is whole.
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
    scanner: str
    repairs: tuple[str, ...]
    crop: tuple[int, ...] = ()
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
    "scanner": ("ct/scanner", bytes, 1),
    "repairs": ("ct/repairs", bytes, None),
    "crop": ("ct/crop", int, None),
    "schema_version": ("ct/schema_version", int, 1),
}
assert set(FEATURES) == {field.name for field in fields(SliceRecord)}

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


def encode(record: SliceRecord) -> bytes:
    """Serializes a record as a `tf.train.Example`, its features sorted by name."""
    parts: list[bytes] = []
    for field, name, key, kind, count in _LAYOUT:
        value = getattr(record, field)
        values: Sequence[Any] = value if isinstance(value, tuple) else (value,)
        if count is not None and len(values) != count:
            raise ValueError(f"{name} has {len(values)} values; the schema says {count}.")
        parts += _entry(key, kind, values)
    return b"".join((_FIELD_1, _varint(sum(map(len, parts))), *parts))


def encode_example(features: Mapping[str, tuple[type, Sequence[Any]]]) -> bytes:
    """Serializes any features as a `tf.train.Example`, sorted by name: the same bytes each time.

    Args:
      features: Name -> bytes, int or float, and its values.

    Example:
      >>> decode_example(encode_example({"b": (int, [1, -2]), "a": (bytes, ["x"])}))
      {'a': [b'x'], 'b': [1, -2]}
    """
    parts: list[bytes] = []
    for name, (kind, values) in sorted(features.items()):
        parts += _entry(_FIELD_1 + _varint(len(name)) + name.encode(), kind, values)
    return b"".join((_FIELD_1, _varint(sum(map(len, parts))), *parts))


def decode_example(payload: bytes) -> dict[str, Sequence[Any]]:
    """The features of an Example as `encode_example` wrote it: name -> values.

    Raises:
      CorruptRecordError: If the payload is none.
    """
    try:
        return _read_features(payload)
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise CorruptRecordError(f"is no Example ({error}).") from error


def decode(payload: bytes) -> SliceRecord:
    """Reads a record as `encode` wrote it, without TensorFlow.

    Raises:
      CorruptRecordError: If the payload is no record of this schema.
    """
    try:
        found = _read_features(payload)
        values: dict[str, Any] = {}
        for field, name, _, kind, count in _LAYOUT:
            raw = found.pop(name)
            if count is not None and len(raw) != count:
                raise ValueError(f"{name} has {len(raw)} values, not {count}")
            if kind is bytes and field != "encoded":
                raw = tuple(one.decode() for one in raw)
            values[field] = raw[0] if count == 1 else tuple(raw)
        if found:
            raise ValueError(f"{', '.join(found)} is no feature of this schema")
        return SliceRecord(**values)
    # UnicodeDecodeError is a ValueError.
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise CorruptRecordError(f"is no record of schema {SCHEMA_VERSION} ({error}).") from error


def parse(serialized: tf.Tensor, fields: Sequence[str] = ()) -> dict[str, tf.Tensor]:
    """Parses a record, or a batch of them, by `SliceRecord`'s field names.

    Args:
      serialized: string [] or [n].
      fields: Those to parse; none parses all.

    Returns:
      Tensors by field; int64, float32 or string; `repairs` and `crop` are sparse.
    """
    import tensorflow as tf

    dtypes = {bytes: tf.string, int: tf.int64, float: tf.float32}
    spec: dict[str, Any] = {}
    features = {field: FEATURES[field] for field in fields or FEATURES}
    for name, kind, count in features.values():
        if count is None:
            spec[name] = tf.io.VarLenFeature(dtypes[kind])
        else:
            spec[name] = tf.io.FixedLenFeature([] if count == 1 else [count], dtypes[kind])
    parsed = tf.io.parse_example(serialized, spec)
    return {field: parsed[name] for field, (name, _, _) in features.items()}


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


# Protobuf's wire format: a field's head is its number and wire type (2: a length follows).
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"
_LIST_FIELD = {bytes: _FIELD_1, float: _FIELD_2, int: _FIELD_3}
_SMALL = [bytes((value,)) for value in range(0x80)]


def _entry(key: bytes, kind: type, values: Sequence[Any]) -> list[bytes]:
    """One entry of Example{1: Features{1: map<string, Feature>}}, as parts to join.

    An entry is {1: key, 2: Feature}; a Feature {1: BytesList | 2: FloatList | 3: Int64List},
    numbers packed. The image is a part of its own: it is copied once, not at every level.
    """
    if kind is bytes:
        content: list[bytes] = []
        for value in values:
            text = value.encode() if isinstance(value, str) else value
            content += (_FIELD_1, _varint(len(text)), text)
    elif kind is float:
        content = [_FIELD_1, _varint(4 * len(values)), struct.pack(f"<{len(values)}f", *values)]
    else:
        packed = b"".join(map(_varint, values))
        content = [_FIELD_1, _varint(len(packed)), packed]
    size = sum(map(len, content))
    feature = _LIST_FIELD[kind] + _varint(size)
    size += len(feature)
    value_head = _FIELD_2 + _varint(size)
    size += len(value_head) + len(key)
    return [_FIELD_1, _varint(size), key, value_head, feature, *content]


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


# As `encode` writes them: field, feature's name, its key's bytes, type, number of values.
_LAYOUT = [
    (field, name, _FIELD_1 + _varint(len(name)) + name.encode(), kind, count)
    for field, (name, kind, count) in sorted(FEATURES.items(), key=lambda item: item[1][0])
]


def _read_features(payload: bytes) -> dict[str, Sequence[Any]]:
    """Name -> values of every feature of an Example."""
    ((number, features),) = _read_fields(payload)
    if number != 1:
        raise ValueError("it holds no features")
    found: dict[str, Sequence[Any]] = {}
    for _, entry in _read_fields(features):
        (_, key), (_, feature) = _read_fields(entry)
        ((kind, content),) = _read_fields(feature)
        fields = [value for _, value in _read_fields(content)]
        if kind == 1:
            found[str(key, "utf-8")] = [bytes(value) for value in fields]
        elif kind == 2:
            found[str(key, "utf-8")] = struct.unpack(f"<{len(fields[0]) // 4}f", fields[0])
        else:
            found[str(key, "utf-8")] = _read_integers(fields[0])
    return found


def _read_fields(data: bytes | memoryview) -> list[tuple[int, memoryview]]:
    """(number, content) of each length-delimited field; the record schema has no others."""
    view, at = memoryview(data), 0
    found = []
    while at < len(view):
        head, at = _read_varint(view, at)
        size, at = _read_varint(view, at)
        if head & 7 != 2 or at + size > len(view):
            raise ValueError(f"a field is cut or of wire type {head & 7}")
        found.append((head >> 3, view[at : at + size]))
        at += size
    return found


def _read_integers(packed: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(packed):
        value, at = _read_varint(packed, at)
        values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """(value, where it ends)."""
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
