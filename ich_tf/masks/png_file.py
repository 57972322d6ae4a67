"""Grey 8-bit PNG files, taken apart before a decoder in C sees them (W3C PNG, chapters 5, 7 and 8).

OpenCV would show the first picture of an animation, which may be empty, inflate without a limit and
write what it thinks of damage to the terminal.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from ich_tf.masks.errors import MaskError, MaskReason

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Length and name of the header, which comes first (5.6).
_HEADER = b"\x00\x00\x00\rIHDR"
_GREY_8_BITS = (8, 0)
# First column and row, and their distances, of the seven passes of an interlaced file (8.2).
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
_NUM_FILTERS = 5


def read_grey(data: bytes, rows: int, columns: int) -> np.ndarray:
    """Reads a grey 8-bit PNG.

    Args:
      data: Content of the file.
      rows: Number of rows that it must have, px.
      columns: Number of columns that it must have, px.

    Returns:
      uint8 [rows, columns].

    Raises:
      MaskError: MASK_FORMAT, MASK_SIZE or MASK_UNREADABLE.
    """
    if not data.startswith(_SIGNATURE + _HEADER) or len(data) < 33:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"is no PNG ({len(data)} bytes); expected a grey 8-bit PNG.",
        )
    # Before it is decoded: a file of a few bytes may announce any size.
    width, height, *kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if tuple(kind) != _GREY_8_BITS:
        raise MaskError(
            MaskReason.MASK_FORMAT,
            f"has {kind[0]} bits a sample and colour type {kind[1]}; expected a grey 8-bit PNG "
            "(8 and 0) in which bit k marks class k.",
        )
    if (height, width) != (rows, columns):
        raise MaskError(
            MaskReason.MASK_SIZE,
            f"has {height} x {width} pixels; its image has {rows} x {columns}.",
        )
    pixels = b"".join(content for name, content in _chunks(data) if name == b"IDAT")
    _check_lines(pixels, rows, columns, bool(interlaced))
    header, image, end = _chunk(b"IHDR", data[16:29]), _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")
    clean = np.frombuffer(_SIGNATURE + header + image + end, np.uint8)
    values = cv2.imdecode(clean, cv2.IMREAD_UNCHANGED)
    if values is None or values.shape != (rows, columns) or values.dtype != np.uint8:
        raise _damaged()
    return np.asarray(values)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk but the last one.

    Raises:
      MaskError: MASK_UNREADABLE, or MASK_FORMAT for an animation.
    """
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        if at > len(data) or zlib.crc32(name + content) != int.from_bytes(data[at - 4 : at], "big"):
            raise _damaged()
        if name == b"acTL":
            raise MaskError(MaskReason.MASK_FORMAT, "is an animation; expected one picture.")
        if name == b"IEND":
            return
        yield name, content
    raise _damaged()


def _check_lines(packed: bytes, rows: int, columns: int, is_interlaced: bool) -> None:
    """Checks that the lines of the picture are there, each with a filter, and nothing else."""
    passes = _PASSES if is_interlaced else ((0, 0, 1, 1),)
    sizes = [
        (len(range(row, rows, down)), len(range(column, columns, right)) + 1)
        for column, row, right, down in passes
    ]
    sizes = [(height, width) for height, width in sizes if width > 1]
    expected = sum(height * width for height, width in sizes)
    inflater = zlib.decompressobj()
    try:
        lines = inflater.decompress(packed, expected + 1)
    except zlib.error as error:
        raise _damaged() from error
    if len(lines) != expected or not inflater.eof:
        raise _damaged()
    at = 0
    for height, width in sizes:
        if any(filter_ >= _NUM_FILTERS for filter_ in lines[at : at + height * width : width]):
            raise _damaged()
        at += height * width


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def _damaged() -> MaskError:
    return MaskError(MaskReason.MASK_UNREADABLE, "is a damaged PNG.")
