"""The data elements of a plain DICOM file, in a tenth of pydicom's time.

Most CT files are a flat list of elements in little endian. These are walked once, without an
object for each element. For every other file (another byte order, a sequence or value of undefined
length, an unknown value representation, elements out of order, a truncated file) the result is
None, and pydicom reads it. A test compares the results of both parsers.
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
# PS3.5 annex A. Of compressed files only the headers are read here; decoders need pydicom.
_IMPLICIT = b"1.2.840.10008.1.2"
_EXPLICIT = b"1.2.840.10008.1.2.1"
_ENCAPSULATED = (b"1.2.840.10008.1.2.4.", b"1.2.840.10008.1.2.5")
# Files of other character sets are left to pydicom, which warns of unknown ones.
_CHARACTER_SETS = (b"", b"ISO_IR 6", b"ISO_IR 100", b"ISO_IR 192")
# Value representations with a length of 16 bits, and with one of 32 bits (PS3.5 table 6.2-1).
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()
)  # fmt: skip
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

_read_explicit = struct.Struct("<HH2sH").unpack_from
_read_implicit = struct.Struct("<HHL").unpack_from
_read_length = struct.Struct("<L").unpack_from


class PlainElement(NamedTuple):
    """A data element.

    Attributes:
      value: Raw bytes as in the file, little endian.
    """

    value: bytes | memoryview


class PlainDataset:
    """Data elements by tag.

    Attributes:
      file_meta: File meta information; None for the meta information itself.
    """

    __slots__ = ("_elements", "file_meta")

    def __init__(
        self, elements: dict[int, PlainElement], file_meta: PlainDataset | None = None
    ) -> None:
        """Wraps elements.

        Args:
          elements: Elements by tag, group * 65536 + element.
          file_meta: File meta information.
        """
        self._elements = elements
        self.file_meta = file_meta

    def __contains__(self, tag: object) -> bool:
        return tag in self._elements

    def get(self, tag: int) -> PlainElement | None:
        """The element with this tag; None if there is none."""
        return self._elements.get(tag)


def read_plain(data: bytes, wanted: Collection[int], *, with_pixels: bool) -> PlainDataset | None:
    """Reads elements of a plain file.

    Args:
      data: Content of the file; its first bytes are sufficient to read the header.
      wanted: Tags of the elements to read, group * 65536 + element.
      with_pixels: Whether to read to the end of the file; else only to the pixel data.

    Returns:
      The wanted elements that the file has; None if pydicom has to read the file.
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
    elements: dict[int, PlainElement] = {}
    end = None if with_pixels else PIXEL_DATA
    tags = {*wanted, _CHARACTER_SET, *((PIXEL_DATA,) if with_pixels else ())}
    at = _walk(data, at, tags, elements, implicit=implicit, end=end)
    # A greater tag at the end than that of the pixels means that elements are out of order.
    if at is None or not (with_pixels or data.startswith(_PIXEL_DATA_BYTES, at)):
        return None
    characters = elements.pop(_CHARACTER_SET, PlainElement(b"")).value
    if bytes(characters).rstrip(b" \0") not in _CHARACTER_SETS:
        return None
    return PlainDataset(elements, PlainDataset(meta))


def _walk(
    data: bytes,
    at: int,
    wanted: Collection[int],
    elements: dict[int, PlainElement],
    *,
    implicit: bool,
    end: int | None,
) -> int | None:
    """Walks from element to element.

    Args:
      data: Content of the file.
      at: Offset of the first element, bytes.
      wanted: Tags of the elements to read.
      elements: Dictionary that receives the wanted elements.
      implicit: Whether the value representation is implicit.
      end: Tag to stop at, or at the first above it; None to walk to the end of the file.

    Returns:
      Offset of the element where the walk ended; None if an element is not plain, or the end was
      not reached.
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
            # The first element looks explicit: pydicom finds out which of both the file is.
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
        # An undefined length, 0xFFFFFFFF, exceeds any file.
        if at > size or tag <= last or group == 0xFFFE:
            return None
        last = tag
        if tag in wanted:
            # A view, so that half a megabyte of pixels is not copied.
            view = memoryview(data) if tag == PIXEL_DATA else data
            elements[tag] = PlainElement(view[value:at])
    return at if end is None and at == size else None
