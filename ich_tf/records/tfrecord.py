"""The TFRecord format: framing and checked reading, without TensorFlow.

A record is its length (uint64, little endian), the masked CRC-32C of these eight bytes, the
payload, and the masked CRC-32C of the payload. A file has no footer: cut on a record's
boundary it reads without any error, which is why counts and hashes stand in sidecars.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from ich_tf.errors import InputError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
OVERHEAD = _LENGTH.size + 2 * _CRC.size


class CorruptShardError(InputError):
    """A TFRecord file whose bytes are not what was written."""


def frame(payload: bytes) -> bytes:
    """One record, framed."""
    length = _LENGTH.pack(len(payload))
    return b"".join((length, _masked_crc(length), payload, _masked_crc(payload)))


def read_records(path: str | Path) -> Iterator[bytes]:
    """The payloads of a file, each checked against both its CRCs.

    Raises:
      CorruptShardError: Where a length, a payload or the end is not whole; names the file,
        the record's number and its offset.
    """
    with open(path, "rb") as file:
        number, offset = 0, 0
        while payload := _read_payload(file, f"{path}: record {number} at byte {offset}"):
            yield payload[0]
            number += 1
            offset += OVERHEAD + len(payload[0])


def read_record(path: str | Path, offset: int) -> bytes:
    """The payload of the one record that begins at `offset`, checked against both its CRCs.

    Raises:
      CorruptShardError: If there is none, or it is not whole.
    """
    where = f"{path}: the record at byte {offset}"
    with open(path, "rb") as file:
        file.seek(offset)
        payload = _read_payload(file, where)
    if not payload:
        raise CorruptShardError(f"{where} lies behind the file's end.")
    return payload[0]


def _read_payload(file: BinaryIO, where: str) -> tuple[bytes] | None:
    """The payload at the file's place (in a tuple: it may be empty); None at the file's end."""
    head = file.read(_LENGTH.size + _CRC.size)
    if not head:
        return None
    if len(head) < _LENGTH.size + _CRC.size:
        raise CorruptShardError(f"{where} is cut in its length.")
    if _masked_crc(head[: _LENGTH.size]) != head[_LENGTH.size :]:
        raise CorruptShardError(f"{where} has a damaged length.")
    (length,) = _LENGTH.unpack_from(head)
    body = file.read(length + _CRC.size)
    if len(body) < length + _CRC.size:
        raise CorruptShardError(f"{where} is cut in its payload.")
    payload = body[:length]
    if _masked_crc(payload) != body[length:]:
        raise CorruptShardError(f"{where} has a damaged payload.")
    return (payload,)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CRC.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
