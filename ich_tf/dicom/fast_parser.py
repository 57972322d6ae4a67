"""The data elements of a plain DICOM file, in a tenth of pydicom's time.

Most CT files are a flat list of elements in little endian. Those are walked here, once, without
making an object of each. Whatever is not as plain as can be (another byte order, a sequence or
value of undefined length, an unknown value representation, elements out of order, a cut) is not
judged here: the answer is None, and pydicom reads the file. A test holds both to the same result.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

_PREAMBLE = 128
_MAGIC = b"DICM"
_TRANSFER_SYNTAX = 0x00020010
_CHARACTER_SET = 0x00080005
PIXEL_DATA = 0x7FE00010
_PIXEL_DATA_BYTES = b"\xe0\x7f\x10\x00"
# PS3.5 annex A. Of the compressed ones only the headers are read here: pixels are for decoders.
_IMPLICIT = b"1.2.840.10008.1.2"
_EXPLICIT = b"1.2.840.10008.1.2.1"
_ENCAPSULATED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")
# An unknown character set is pydicom's to complain about.
_CHARACTER_SETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192")
# PS3.5 table 6.2-1: those with a length of 16 bits, and those with one of 32.
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)  # fmt: skip
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

_read_explicit = struct.Struct("<HH2sH").unpack_from
_read_implicit = struct.Struct("<HHL").unpack_from
_read_length = struct.Struct("<L").unpack_from


class PlainElement(NamedTuple):
    """An element's value, as it stands in the file: little endian."""

    value: bytes | memoryview


class PlainDataset:
    """Elements by tag."""

    __slots__ = ("_elements", "file_meta")

    def __init__(
        self, elements: dict[int, PlainElement], file_meta: PlainDataset | None = None
    ) -> None:
        """Wraps elements.

        Args:
          elements: By tag, group * 65536 + element.
          file_meta: The meta information, likewise.
        """
        self._elements = elements
        self.file_meta = file_meta

    def __contains__(self, tag: object) -> bool:
        return tag in self._elements

    def get(self, tag: int) -> PlainElement | None:
        """The element with this tag; None where there is none."""
        return self._elements.get(tag)


def read_plain(data: bytes, wanted: Collection[int], *, with_pixels: bool) -> PlainDataset | None:
    """Reads the wanted elements of a plain file.

    Args:
      data: The file, or without pixels its first bytes, as many as hold its header.
      wanted: Their tags.
      with_pixels: Read on to the file's end; False stops where the pixels begin.

    Returns:
      The elements that are there, or None where pydicom has to read the file.
    """
    if data[_PREAMBLE : _PREAMBLE + 4] != _MAGIC:
        return None
    meta: dict[int, PlainElement] = {}
    at = _walk(data, _PREAMBLE + 4, (_TRANSFER_SYNTAX,), meta, implicit=False, end=0x00030000)
    if at is None or _TRANSFER_SYNTAX not in meta:
        return None
    syntax = bytes(meta[_TRANSFER_SYNTAX].value).rstrip(b"\0")
    implicit = syntax == _IMPLICIT
    headers_only = not with_pixels and syntax.startswith(_ENCAPSULATED)
    if not (implicit or syntax == _EXPLICIT or headers_only):
        return None
    found: dict[int, PlainElement] = {}
    end = None if with_pixels else PIXEL_DATA
    asked = {*wanted, _CHARACTER_SET, *((PIXEL_DATA,) if with_pixels else ())}
    at = _walk(data, at, asked, found, implicit=implicit, end=end)
    # A greater tag before the pixels has strayed.
    if at is None or not (with_pixels or data.startswith(_PIXEL_DATA_BYTES, at)):
        return None
    characters = found.pop(_CHARACTER_SET, PlainElement(b"")).value
    if bytes(characters).rstrip(b" \0") not in _CHARACTER_SETS:
        return None
    return PlainDataset(found, PlainDataset(meta))


def _walk(
    data: bytes,
    at: int,
    wanted: Collection[int],
    found: dict[int, PlainElement],
    *,
    implicit: bool,
    end: int | None,
) -> int | None:
    """Walks from element to element, to the first tag that is `end` or above, or to the end.

    Returns:
      Where it stopped; None where an element is not plain, or `end` was not reached.
    """
    size, last = len(data), -1
    while at + 8 <= size:
        if implicit:
            group, element, length = _read_implicit(data, at)
        else:
            group, element, kind, length = _read_explicit(data, at)
        value = at + 8
        tag = group << 16 | element
        if end is not None and tag >= end:
            return at
        if implicit:
            # The first of a file that is explicit all the same: pydicom finds out.
            if last < 0 and data[at + 4 : at + 6].isalpha():
                return None
        elif kind in _LONG:
            if value + 4 > size:
                return None
            (length,) = _read_length(data, value)
            value += 4
        elif kind not in _SHORT:
            return None
        at = value + length
        # Undefined lengths lie beyond any end.
        if at > size or tag <= last or group == 0xFFFE:
            return None
        last = tag
        if tag in wanted:
            # Half a megabyte of pixels is not copied.
            view = memoryview(data) if tag == PIXEL_DATA else data
            found[tag] = PlainElement(view[value:at])
    return at if end is None and at == size else None
