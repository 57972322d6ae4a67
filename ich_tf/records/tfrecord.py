"""TFRecord format: framing and checked reading, without TensorFlow.

A record consists of the payload's length (uint64, little endian), the masked CRC-32C of these eight
bytes, the payload, and the masked CRC-32C of the payload. A file has no footer: a file cut on a
record's boundary is read without any error, which is why sidecars hold counts and hashes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from ich_tf.errors import InputError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
OVERHEAD = _LENGTH.size + 2 * _CRC.size
# Payloads above this are compared with the file's size before memory is taken for them, bytes.
_LARGE = 1 << 24


class CorruptShardError(InputError):
    """A TFRecord file with other bytes than were written."""


def frame(payload: bytes) -> bytes:
    """Frames a payload as a record: length, payload and their CRCs.

    Examples:
      >>> len(frame(b"payload")) - len(b"payload") == OVERHEAD
      True
    """
    length = _LENGTH.pack(len(payload))
    return b"".join((length, _masked_crc(length), payload, _masked_crc(payload)))


def read_records(path: str | Path) -> Iterator[bytes]:
    """Reads the payloads of a file, and checks both CRCs of each record.

    Raises:
      CorruptShardError: If a record is damaged or cut; the message names the file, the record's
        number and its offset.
    """
    with open(path, "rb") as file:
        number, offset = 0, 0
        while payload := _read_payload(file, f"{path}: record {number} at byte {offset}"):
            yield payload[0]
            number += 1
            offset += OVERHEAD + len(payload[0])


def read_record(path: str | Path, offset: int) -> bytes:
    """Reads the payload of a single record, and checks both CRCs.

    Args:
      path: Path of the TFRecord file.
      offset: Offset of the record within the file, bytes.

    Raises:
      CorruptShardError: If there is no record at the offset, or it is damaged or cut.
    """
    place = f"{path}: the record at byte {offset}"
    with open(path, "rb") as file:
        file.seek(offset)
        payload = _read_payload(file, place)
    if not payload:
        raise CorruptShardError(f"{place} lies behind the file's end.")
    return payload[0]


def _read_payload(file: BinaryIO, place: str) -> tuple[bytes] | None:
    """Reads the next payload, in a tuple because it may be empty; None at the file's end.

    Args:
      file: TFRecord file, at the start of a record.
      place: Description of the record, for errors.
    """
    head = file.read(_LENGTH.size + _CRC.size)
    if not head:
        return None
    if len(head) < _LENGTH.size + _CRC.size:
        raise CorruptShardError(f"{place} is cut in its length.")
    if _masked_crc(head[: _LENGTH.size]) != head[_LENGTH.size :]:
        raise CorruptShardError(f"{place} has a damaged length.")
    (length,) = _LENGTH.unpack_from(head)
    if length > _LARGE and length > os.fstat(file.fileno()).st_size - file.tell():
        raise CorruptShardError(f"{place} is cut in its payload.")
    body = file.read(length + _CRC.size)
    if len(body) < length + _CRC.size:
        raise CorruptShardError(f"{place} is cut in its payload.")
    payload = body[:length]
    if _masked_crc(payload) != body[length:]:
        raise CorruptShardError(f"{place} has a damaged payload.")
    return (payload,)


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CRC.pack((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
