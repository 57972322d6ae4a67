"""RLE codestream -> stored values (PS3.5 annex G), with no more output than the header declares."""

from __future__ import annotations

import struct

import numpy as np

_HEADER_BYTES = 64


class RleError(ValueError):
    """A codestream that is no RLE, or not that of its header."""


class CutRleError(RleError):
    """A codestream that ends before all pixels are there."""


def decode_rle(stream: bytes, rows: int, columns: int, sample_bytes: int) -> np.ndarray:
    """Decodes one frame of one sample a pixel.

    Args:
      stream: Codestream.
      rows: Number of rows declared in the header.
      columns: Number of columns declared in the header.
      sample_bytes: Bytes of a pixel, 1 or 2.

    Returns:
      Unsigned integers of that many bytes, [rows, columns].

    Raises:
      RleError: If the codestream is another frame's, or is cut.
    """
    if len(stream) < _HEADER_BYTES:
        raise CutRleError(f"its RLE header has {len(stream)} of {_HEADER_BYTES} bytes")
    count, *offsets = struct.unpack_from("<16L", stream)
    if count != sample_bytes:
        raise RleError(f"it has {count} RLE segments, expected {sample_bytes}")
    starts = offsets[:count]
    ends = [*starts[1:], len(stream)]
    # A segment a byte of the pixels, the highest first; in memory, the lowest is first.
    planes = np.empty((rows, columns, count), np.uint8)
    for plane, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not _HEADER_BYTES <= start <= end:
            raise RleError("its RLE segments are not where they should be")
        segment = _unpack(memoryview(stream)[start:end].tobytes(), rows * columns)
        planes[..., count - 1 - plane] = np.frombuffer(segment, np.uint8).reshape(rows, columns)
    return planes.view(f"<u{count}")[..., 0]


def _unpack(segment: bytes, size: int) -> bytes:
    """Unpacks a segment into exactly `size` bytes; a byte too much, which pads, is left out."""
    pieces: list[bytes] = []
    add, at, left = pieces.append, 0, size
    try:
        while left > 0:
            length = segment[at]
            if length < 128:
                end = at + 2 + length
                add(segment[at + 1 : end])
                left -= length + 1
                at = end
            elif length > 128:
                add(segment[at + 1 : at + 2] * (257 - length))
                left -= 257 - length
                at += 2
            else:  # does nothing
                at += 1
    except IndexError:
        pass  # the segment ended: what is missing shows below
    unpacked = b"".join(pieces)
    if len(unpacked) < size:
        raise CutRleError(f"its RLE segment gives {len(unpacked)} of {size} bytes")
    return unpacked[:size]
