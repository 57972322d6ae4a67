"""The record schema: one `tf.train.Example` a slice.

`encode` writes and `decode` reads one record without TensorFlow, so that conversion workers
start in a second and need 110 MiB; `parse` reads batches with it. All are driven by `FEATURES`.
The encoder writes the protobuf wire format itself: a protobuf map serializes its keys in no
fixed order, which would make a shard's bytes differ from run to run.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
from ich_tf.records.schema import FEATURES, SCHEMA_VERSION, CorruptRecordError, SliceRecord


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
