"""Damage to compressed streams that leaves what is around them whole: it reaches the decoders in C.

A flipped byte of a file mostly ends in the check of a header or a sum. Here lengths, sums and items
are right, and sizes, tables and entropy-coded bytes of the stream are not.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from ich_tf.records import tfrecord

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXELS, _ITEM = struct.pack("<HH", 0x7FE0, 0x0010), struct.pack("<HH", 0xFFFE, 0xE000)
# Explicit OB of undefined length, in which encapsulated pixels stand (PS3.5, annex A.4).
_ENCAPSULATED = _PIXELS + b"OB\0\0\xff\xff\xff\xff"
# Numbers at the borders of what sizes, counts and precisions may be.
_BORDERS = (0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 32, 64, 127, 128, 254, 255)
# Sizes, precisions, components and tables stand within this length of a stream's start, bytes.
_HEAD = 200


def damaged_stream(data: bytes, rng: np.random.Generator) -> bytes:
    """Damages the compressed streams of a file.

    Args:
      data: Good file: a DICOM file with encapsulated pixels, a PNG, a JPEG, or any other, of which
        all is one stream.
      rng: Source of all choices.
    """
    if data.startswith(_PNG):
        return _png(data, rng)
    at = data.find(_ENCAPSULATED)
    if at < 0:
        return bytes(_stream(bytearray(data), rng))
    parts, at = [data[: at + len(_ENCAPSULATED)]], at + len(_ENCAPSULATED)
    number = 0
    while data.startswith(_ITEM, at):
        (length,) = struct.unpack_from("<L", data, at + 4)
        content = data[at + 8 : at + 8 + length]
        # The first item is the table of offsets.
        if number and content:
            content = bytes(_stream(bytearray(content), rng))
            content += bytes(len(content) % 2)
        parts.append(_ITEM + struct.pack("<L", len(content)) + content)
        at, number = at + 8 + length, number + 1
    return b"".join((*parts, data[at:]))


def is_compressed(data: bytes) -> bool:
    """Whether a DICOM file's pixels are encapsulated."""
    return _ENCAPSULATED in data


def damaged_payloads(data: bytes, rng: np.random.Generator) -> bytes:
    """Damages the records of a TFRecord file, and makes their sums right."""
    frames = []
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        payload = bytearray(data[at + 12 : at + 12 + length])
        frames.append(tfrecord.frame(bytes(_stream(payload, rng))))
        at += 16 + length
    return b"".join(frames)


def _png(data: bytes, rng: np.random.Generator) -> bytes:
    """Damages chunks, inside of the compressed pixels or outside, and makes their sums right."""
    parts, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">L", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if content and rng.integers(2):
            if name == b"IDAT" and rng.integers(3):
                lines = zlib.decompress(content)
                content = zlib.compress(bytes(_stream(bytearray(lines), rng)))
            else:
                content = bytes(_stream(bytearray(content), rng))
        if rng.integers(20) == 0:
            name = (b"tRNS", b"PLTE", b"iCCP", b"gAMA", b"acTL", b"fdAT")[rng.integers(6)]
        chunk = struct.pack(">L", len(content)) + name + content
        parts.append(chunk + struct.pack(">L", zlib.crc32(name + content)))
        at += 12 + length
    return b"".join(parts)


def _stream(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Writes over bytes of a stream; one time in eight cuts it, or repeats a part."""
    for _ in range(int(rng.integers(1, 5))):
        end = min(len(data), _HEAD) if rng.integers(3) else len(data)
        at = int(rng.integers(end))
        kind = int(rng.integers(8))
        if kind < 3:
            data[at] = _BORDERS[rng.integers(len(_BORDERS))]
        elif kind < 5:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 5:
            data[at : at + 4] = rng.bytes(len(data[at : at + 4]))
        elif kind == 6:
            part = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0")[rng.integers(3)]
            data[at : at + 4] = part[: len(data[at : at + 4])]
        elif rng.integers(2):
            del data[max(1, at) :]
        else:
            data[at:at] = data[at : at + int(rng.integers(1, 64))]
    return data
