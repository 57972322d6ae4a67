"""Where the data set of a DICOM file begins, and how its elements are encoded (PS3.10 7.1).

A file begins with 128 bytes of anything, `DICM`, and meta information, which names the transfer
syntax. Old archives keep files without them: those are told by their first element.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from ich_tf.dicom.archives import START_BYTES, archive_kind, nested_archive
from ich_tf.dicom.content import Buffer, Content
from ich_tf.dicom.data_set import LONG, SHORT, is_explicit
from ich_tf.dicom.reasons import DicomError, Reason, Repair

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG = "1.2.840.10008.1.2.2"
# Largest size that a deflated file may inflate to: a few kilobytes can claim gigabytes.
MAX_INFLATED_BYTES = 192 * 2**20
_INFLATE_STEP = 2**20
_PREAMBLE = 128
_MAGIC = b"DICM"
# PS3.10 7.1 knows 19.
_MAX_META_ELEMENTS = 256
_META, _IDENTIFYING, _IDENTIFYING_BIG = b"\x02\x00", b"\x08\x00", b"\x00\x08"
_TRANSFER_SYNTAX = 0x0010
# The identifying elements of group 8 begin below this: character set, image type, class UID.
_FIRST_ELEMENTS = 0x0100
_read_element = struct.Struct("<2xH2sH").unpack_from
_read_length = struct.Struct("<L").unpack_from


class Encoding(NamedTuple):
    """How a data set is encoded, and where it begins.

    Attributes:
      at: Offset of the first element of the data set, bytes.
      syntax: UID of the transfer syntax.
      repairs: What was missing before the data set.
    """

    at: int
    syntax: str
    repairs: tuple[Repair, ...] = ()

    @property
    def big(self) -> bool:
        """Whether numbers are in big endian byte order."""
        return self.syntax == _BIG

    @property
    def deflated(self) -> bool:
        """Whether all that follows is deflated."""
        return self.syntax == _DEFLATED

    def implicit(self, data: Buffer) -> bool:
        """Whether the elements say no representation: by the first one, since writers err."""
        if self.big:
            return False
        if self.at + 6 > len(data):
            return self.syntax == IMPLICIT
        return not is_explicit(data, self.at)


def find_data_set(data: Buffer) -> Encoding:
    """Finds the data set of a file.

    Args:
      data: The first bytes of the file, some kilobytes at least.

    Raises:
      DicomError: NOT_DICOM; or NESTED_ARCHIVE.
    """
    if not data:
        raise DicomError(Reason.NOT_DICOM, "is empty; expected a DICOM file.")
    repairs: tuple[Repair, ...] = ()
    if data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC:
        at = _PREAMBLE + 4
    else:
        at = 4 if data[:4] == _MAGIC else 0
        repairs = (Repair.NO_PREAMBLE,)
        if not _is_meta(data, at) and not _is_identifying(data, at):
            kind = archive_kind(bytes(data[:START_BYTES]))
            if kind:
                raise nested_archive(kind)
            raise DicomError(
                Reason.NOT_DICOM,
                "is no DICOM file: it begins neither with a preamble and DICM nor with a data "
                "element of group 2 or 8.",
            )
    at, syntax = _read_meta(data, at)
    if not syntax:
        syntax = EXPLICIT if is_explicit(data, at) else IMPLICIT
        if data[at : at + 2] == _IDENTIFYING_BIG:
            syntax = _BIG
        repairs = (Repair.NO_META,)
    return Encoding(at, syntax, repairs)


def inflate(content: Content, at: int) -> Content:
    """Inflates a deflated data set, to a bounded size.

    Raises:
      DicomError: TOO_LARGE, or BAD_HEADER.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        while not inflater.eof:
            source = content.part(at, _INFLATE_STEP)
            at += len(source)
            while source and not inflater.eof:
                inflated += inflater.decompress(source, _INFLATE_STEP)
                source = inflater.unconsumed_tail
                if len(inflated) > MAX_INFLATED_BYTES:
                    raise DicomError(
                        Reason.TOO_LARGE,
                        f"inflates to more than {MAX_INFLATED_BYTES >> 20} MiB; expected one "
                        "series at most.",
                    )
            if at >= content.size:
                break
    except zlib.error as error:
        raise DicomError(
            Reason.BAD_HEADER, f"its deflated data set is damaged after {len(inflated)} bytes."
        ) from error
    return Content(inflated, is_cut=not inflater.eof)


def _is_meta(data: Buffer, at: int) -> bool:
    return data[at : at + 2] == _META and is_explicit(data, at)


def _is_identifying(data: Buffer, at: int) -> bool:
    """Whether a bare data set begins here, implicit ones in little endian alone."""
    is_big = data[at : at + 2] == _IDENTIFYING_BIG and is_explicit(data, at)
    if not (is_big or data[at : at + 2] == _IDENTIFYING) or at + 8 > len(data):
        return False
    element = int.from_bytes(data[at + 2 : at + 4], "big" if is_big else "little")
    # A length of 16 bits or of 32: no first element has many bytes.
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    return element < _FIRST_ELEMENTS and (is_explicit(data, at) or length == 0)


def _read_meta(data: Buffer, at: int) -> tuple[int, str]:
    """Offset after the meta information, and the transfer syntax; empty if none is named."""
    syntax = ""
    for _ in range(_MAX_META_ELEMENTS):
        if data[at : at + 2] != _META or at + 12 > len(data):
            break
        element, kind, length = _read_element(data, at)
        value = at + 8
        if kind in LONG:
            (length,) = _read_length(data, value)
            value += 4
        elif kind not in SHORT:
            (length,) = _read_length(data, at + 4)
        at = value + length
        if element == _TRANSFER_SYNTAX:
            syntax = bytes(data[value:at]).decode("latin-1").strip(" \0")
    return at, syntax
