"""DICOM files as an attacker writes them: elements by hand, which no library would write."""

from __future__ import annotations

import struct

UNDEFINED = 0xFFFFFFFF
# Value representations with a length of 32 bits (PS3.5 table 7.1-1).
_LONG = (b"OB", b"OW", b"SQ", b"UC", b"UN", b"UT")


def element(group: int, number: int, kind: bytes, value: bytes, length: int = -1) -> bytes:
    """An element in explicit VR little endian.

    Args:
      group, number: Its tag.
      kind: Value representation.
      value: Value, of an even number of bytes.
      length: Length to claim; that of the value if negative.
    """
    length = len(value) if length < 0 else length
    if kind in _LONG:
        return struct.pack("<HH2s2xL", group, number, kind, length) + value
    return struct.pack("<HH2sH", group, number, kind, length) + value


def item(content: bytes, length: int = -1) -> bytes:
    """An item of a sequence; `length` as for `element`."""
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content) if length < 0 else length) + content


def inserted(data: bytes, elements: bytes, before: tuple[int, int] = (0x10, 0x10)) -> bytes:
    """A file with elements before another one: PatientName, unless it is told."""
    at = data.index(struct.pack("<HH", *before))
    return data[:at] + elements + data[at:]


def replaced(data: bytes, group: int, number: int, new: bytes) -> bytes:
    """A file with other bytes in the place of an element, whose length has 16 bits."""
    at = data.index(struct.pack("<HH", group, number))
    (length,) = struct.unpack_from("<H", data, at + 6)
    return data[:at] + new + data[at + 8 + length :]


def polyglot(data: bytes, start: bytes) -> bytes:
    """A DICOM file whose preamble begins another kind of file."""
    return start.ljust(128, b"\x90")[:128] + data[128:]
