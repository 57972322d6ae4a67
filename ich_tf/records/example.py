"""Serialized records: one `tf.train.Example` per slice, with the features of `schema.FEATURES`.

`encode` writes and `decode` reads a record without TensorFlow, so that conversion workers start in
a second and need 110 MiB; `parse` reads batches in a TensorFlow graph. The encoder writes the
protobuf wire format itself: a protobuf map serializes its keys in no fixed order, which would make
a shard's bytes differ from run to run.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
from ich_tf.labels import CLASSES
from ich_tf.records.schema import (
    ADDED_FIELDS,
    EXAM_FIELDS,
    FEATURES,
    MASK_FIELDS,
    SCHEMA_VERSION,
    CorruptRecordError,
    SliceRecord,
)


def encode(record: SliceRecord) -> bytes:
    """Serializes a record as a `tf.train.Example`, with its features sorted by name.

    Raises:
      ValueError: If a feature has another number of values than in the schema.
    """
    parts: list[bytes] = []
    layout = _LAYOUTS[bool(record.lesion_mm2), bool(record.exam_labels)]
    for field, name, key, kind, count in layout:
        value = getattr(record, field)
        values: Sequence[Any] = value if isinstance(value, tuple) else (value,)
        if count is not None and len(values) != count:
            raise ValueError(f"{name} has {len(values)} values; the schema has {count}.")
        parts += (_entry if field in _OF_SLICE else _known_entry)(key, kind, values)
    return b"".join((_FIELD_1, _varint(sum(map(len, parts))), *parts))


def encode_example(features: Mapping[str, tuple[type, Sequence[Any]]]) -> bytes:
    """Serializes features as a `tf.train.Example`, sorted by name: the same bytes each time.

    Args:
      features: Type (bytes, int or float) and values of each feature, by name.

    Examples:
      >>> decode_example(encode_example({"b": (int, [1, -2]), "a": (bytes, ["x"])}))
      {'a': [b'x'], 'b': [1, -2]}
    """
    parts: list[bytes] = []
    for name, (kind, values) in sorted(features.items()):
        key = name.encode()
        parts += _entry(_FIELD_1 + _varint(len(key)) + key, kind, values)
    return b"".join((_FIELD_1, _varint(sum(map(len, parts))), *parts))


def decode_example(payload: bytes) -> dict[str, Sequence[Any]]:
    """Reads the output of `encode_example`.

    Returns:
      Values of each feature, by name.

    Raises:
      CorruptRecordError: If the payload is not an Example.
    """
    try:
        return _read_features(payload)
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise CorruptRecordError(f"is no Example ({error}).") from error


def decode(payload: bytes) -> SliceRecord:
    """Reads the output of `encode`, without TensorFlow.

    Raises:
      CorruptRecordError: If the payload is not a record of this schema.
    """
    try:
        features = _read_features(payload)
        values: dict[str, Any] = {}
        missing: list[str] = []
        for field, name, _, kind, count in _LAYOUT:
            if name not in features and field in ADDED_FIELDS:
                missing.append(name)
                continue
            raw = features.pop(name)
            if count is not None and len(raw) != count:
                raise ValueError(f"{name} has {len(raw)} values, not {count}")
            if raw and type(raw[0]) is not kind:  # a list holds values of one type
                raise ValueError(f"{name} is not of type {kind.__name__}")
            if kind is bytes and field not in _BINARY:
                raw = tuple(value.decode() for value in raw)
            values[field] = raw[0] if count == 1 else tuple(raw)
        if features:
            raise ValueError(f"{', '.join(features)} is no feature of this schema")
        for optional in _OPTIONAL_NAMES:
            if set(optional) <= set(missing):
                missing = [name for name in missing if name not in optional]
        if missing and values["schema_version"] >= _COMPLETE_SINCE:
            raise ValueError(f"{', '.join(missing)} is missing")
        return SliceRecord(**values)
    # UnicodeDecodeError is a ValueError.
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise CorruptRecordError(f"is no record of schema {SCHEMA_VERSION} ({error}).") from error


def parse(serialized: tf.Tensor, fields: Sequence[str] = ()) -> dict[str, tf.Tensor]:
    """Parses a record, or a batch of records, in a TensorFlow graph.

    Args:
      serialized: Serialized records, string [] or [n].
      fields: Names of the fields of `SliceRecord` to parse; empty for all.

    Returns:
      Tensors by field, int64, float32 or string; `repairs` and `crop` are sparse. A field that
      records of an older version, or without masks or exams, lack has its default; `lesion_mm2` and
      `exam_labels` have NaN.

    Examples:
      dataset = tf.data.TFRecordDataset("fold-0-00000-of-00001.tfrecord")
      dataset = dataset.map(lambda serialized: parse(serialized, ["encoded", "labels"]))
    """
    import tensorflow as tf

    dtypes = {bytes: tf.string, int: tf.int64, float: tf.float32}
    spec: dict[str, Any] = {}
    features = {field: FEATURES[field] for field in fields or FEATURES}
    for field, (name, kind, count) in features.items():
        if count is None:
            spec[name] = tf.io.VarLenFeature(dtypes[kind])
        else:
            shape = [] if count == 1 else [count]
            default = ADDED_FIELDS.get(field)
            if field in ("lesion_mm2", "exam_labels"):
                default = [math.nan] * len(CLASSES)
            spec[name] = tf.io.FixedLenFeature(shape, dtypes[kind], default)
    parsed = tf.io.parse_example(serialized, spec)
    return {field: parsed[name] for field, (name, _, _) in features.items()}


# Wire format of protobuf: a field starts with its number and its wire type (2: a length follows).
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"
_LIST_FIELD = {bytes: _FIELD_1, float: _FIELD_2, int: _FIELD_3}
_SMALL = [bytes((value,)) for value in range(0x80)]


def _entry(key: bytes, kind: type, values: Sequence[Any]) -> list[bytes]:
    """Serializes an entry of Example{1: Features{1: map<string, Feature>}}, as parts to join.

    An entry is {1: key, 2: Feature}, a Feature {1: BytesList | 2: FloatList | 3: Int64List} with
    packed numbers. The image is a separate part: it is copied once, not at every level.

    Args:
      key: Field 1 of the entry, serialized: the feature's name.
      kind: Type of the values: bytes, int or float.
      values: Values of the feature.
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


# Fields that differ from slice to slice; the entries of the others are kept along a series.
_OF_SLICE = frozenset(
    ("encoded", "source_id", "sha256", "slice_index", "z_mm", "mask", "lesion_mm2")
)
_BINARY = ("encoded", "mask")
_known_entry = functools.lru_cache(512)(_entry)


def _varint(value: int) -> bytes:
    """Serializes an integer, seven bits per byte, the lowest first."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= 0xFFFFFFFFFFFFFFFF  # negative int64: two's complement in ten bytes
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Order in which `encode` writes: field, feature's name, serialized key, type, number of values.
_LAYOUT = [
    (field, name, _FIELD_1 + _varint(len(name)) + name.encode(), kind, count)
    for field, (name, kind, count) in sorted(FEATURES.items(), key=lambda item: item[1][0])
]

# First version whose records have all features but those of masks and of exams.
_COMPLETE_SINCE = 3
# Layout of records with or without masks, with or without exams.
_LAYOUTS = {
    (masks, exams): [
        entry
        for entry in _LAYOUT
        if (masks or entry[0] not in MASK_FIELDS) and (exams or entry[0] not in EXAM_FIELDS)
    ]
    for masks in (False, True)
    for exams in (False, True)
}
_OPTIONAL_NAMES = [
    [FEATURES[field][0] for field in optional] for optional in (MASK_FIELDS, EXAM_FIELDS)
]


def _read_features(payload: bytes) -> dict[str, Sequence[Any]]:
    """Values of every feature of an Example, by name; an empty list may be left out anywhere."""
    values: dict[str, Sequence[Any]] = {}
    for entry in _contents(_joined(_contents(payload))):
        name, feature = "", memoryview(b"")
        for number, content in _read_fields(entry):
            if number == 1:
                name = str(content, "utf-8")
            elif number == 2:
                feature = content
            else:
                raise ValueError(f"field {number} in the place of a feature")
        if name in values:
            raise ValueError(f"{name!r} occurs twice")
        values[name] = _read_values(feature)
    return values


def _read_values(feature: memoryview) -> Sequence[Any]:
    """Values of a feature: bytes, floats or integers; nothing of a feature without a list."""
    lists = _read_fields(feature)
    if not lists:
        return []
    ((kind, content),) = lists
    parts = _contents(content)
    if kind == 1:
        return [*map(bytes, parts)]
    packed = _joined(parts)
    if kind == 2:
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    if kind == 3:
        return _read_integers(packed)
    raise ValueError(f"field {kind} in the place of a list")


def _joined(parts: list[memoryview]) -> memoryview:
    """Contents of a field that may be written in parts; an image is not copied for it."""
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _contents(data: bytes | memoryview) -> list[memoryview]:
    """Contents of the fields of a message whose only field is the first."""
    fields = _read_fields(data)
    contents = [content for number, content in fields if number == 1]
    if len(contents) != len(fields):
        raise ValueError("it holds other fields than features")
    return contents


def _read_fields(data: bytes | memoryview) -> list[tuple[int, memoryview]]:
    """Number and content of each field; all fields of a record are length-delimited."""
    view, at = memoryview(data), 0
    fields = []
    while at < len(view):
        head, at = _read_varint(view, at)
        size, at = _read_varint(view, at)
        if head & 7 != 2 or size > len(view) - at:
            raise ValueError(f"a field is cut or of wire type {head & 7}")
        fields.append((head >> 3, view[at : at + size]))
        at += size
    return fields


def _read_integers(packed: memoryview) -> list[int]:
    """Reads packed signed 64-bit integers."""
    values, at = [], 0
    while at < len(packed):
        value, at = _read_varint(packed, at)
        values.append(value - (1 << 64) if value >> 63 else value)
    return values


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """Reads an integer at offset `at`; returns it and the offset behind it."""
    value = shift = 0
    while shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            # As protobuf's parsers do, bits above the 64th are dropped.
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
    raise ValueError("an integer has more than ten bytes")
