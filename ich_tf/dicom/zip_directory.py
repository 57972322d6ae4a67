"""Zip archives: the directory, which is read once, and what it says of each member.

Clauses are those of PKWARE's APPNOTE.TXT 6.3.10. The directory is not read by `zipfile`, which
refuses an archive for one name that is not UTF-8, and whose entries take four times the memory.
"""

from __future__ import annotations

import stat
import struct
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from ich_tf.dicom.archives import (
    START_BYTES,
    ZIP,
    archive_kind,
    encrypted_member,
    is_dicom,
    overlapping_member,
    unknown_method,
)
from ich_tf.dicom.reasons import DicomError, special_file
from ich_tf.runtime.clutter import is_clutter

# 4.3.16, 4.3.15 and 4.3.14: the end record, the locator of its 64-bit form, that form.
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END_MARK, _LOCATOR_MARK, _END64_MARK = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_MAX_COMMENT = (1 << 16) - 1
# 4.3.12: an entry of the directory.
_ENTRY = struct.Struct("<4sH2x2H4x3L3H4x2L")
_ENTRY_MARK = b"PK\x01\x02"
_PLACEHOLDER = 0xFFFFFFFF  # 4.5.3: the number stands in the 64-bit extra field
_EXTRA64 = 1
# No file has so many bytes, and more are no place of one.
_MAX_OFFSET = (1 << 62) - 1
# 4.3.7: bytes before a member's, without its name.
_LOCAL_BYTES = 30
_ENCRYPTED, _UTF8 = 1 << 0, 1 << 11
_AES = 99
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_UNIX = 3


# Of a member: offset, packed bytes, size, CRC, method.
PLACE = struct.Struct("<QQQLH")


class BadArchive(ValueError):  # noqa: N818 - what is wrong with a file
    """An archive whose directory cannot be read; the text says what it is, to follow its name."""


class Directory(NamedTuple):
    """Place of the directory in an archive.

    Attributes:
      entries: Number of entries.
      size: Number of bytes.
      offset: Offset of the first entry.
      shift: Number of bytes before the archive, which offsets do not count.
    """

    entries: int
    size: int
    offset: int
    shift: int


class Member(NamedTuple):
    """An entry of the directory.

    Attributes:
      name: Path, with forward slashes.
      offset: Offset of its local header in the file.
      packed: Number of its bytes in the archive.
      size: Number of bytes of its content.
      crc: CRC-32 of its content.
      method: Compression method (4.4.5).
      flags: General purpose flags (4.4.4).
      mode: Unix file mode; 0 if the archive has none.
    """

    name: str
    offset: int
    packed: int
    size: int
    crc: int
    method: int
    flags: int
    mode: int

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no file."""
        return self.name.endswith("/") or stat.S_ISDIR(self.mode)

    @property
    def place(self) -> bytes:
        """All that `zip_members` needs, in a third of the memory of this tuple."""
        return PLACE.pack(*self[1:6])

    def refusal(self, methods: Sequence[int] = _METHODS) -> DicomError | None:
        """Reason why it is not opened, as the directory says; None if it is.

        Args:
          methods: Compression methods that are accepted.
        """
        if stat.S_IFMT(self.mode) not in (0, stat.S_IFREG):
            return special_file()
        if self.flags & _ENCRYPTED or self.method == _AES:
            return encrypted_member()
        return None if self.method in methods else unknown_method(self.method)


def is_zip(file: BinaryIO) -> bool:
    """Whether a file is a zip archive, whole or cut. It may begin with a program.

    Args:
      file: Seekable file.
    """
    file.seek(0)
    start = file.read(START_BYTES)
    kind = archive_kind(start)
    if kind or is_dicom(start):
        return kind == ZIP
    try:
        find_directory(file)
    except BadArchive:
        return False
    return True


def find_directory(file: BinaryIO) -> Directory:
    """Finds the directory of an archive.

    Args:
      file: Seekable archive.

    Raises:
      BadArchive: If there is none, or it is not all in this file.
    """
    size = file.seek(0, 2)
    start = max(0, size - _END.size - _MAX_COMMENT)
    file.seek(start)
    tail = file.read()
    at = _end_record(tail)
    _, disk, _, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = start + at
    record = _end64(file, end, size)
    if record is not None:
        end, disk, count, length, offset = record
    if disk:
        raise BadArchive("is one of several parts.")
    if length + offset > end:
        raise BadArchive("is cut off or damaged: its directory is not where its end says.")
    return Directory(count, length, end - length, end - length - offset)


def _end_record(tail: bytes) -> int:
    """Offset of the end record: the last one whose comment ends with the file, else the last one.

    Its mark may stand in the comment as well, or other bytes after the archive.

    Raises:
      BadArchive: If there is none.
    """
    last = -1
    at = tail.rfind(_END_MARK, 0, len(tail) - _END.size + len(_END_MARK))
    while at >= 0:
        last = max(last, at)
        if at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            return at
        at = tail.rfind(_END_MARK, 0, at)
    if last < 0:
        raise BadArchive("has no end record: it is cut off, or no zip archive.")
    return last


def _end64(file: BinaryIO, end: int, size: int) -> tuple[int, int, int, int, int] | None:
    """Offset of the 64-bit end record, and its disk, entries, length and offset; None if none."""
    at = end - _LOCATOR.size
    if at < 0:
        return None
    file.seek(at)
    mark, _, told, parts = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != _LOCATOR_MARK:
        return None
    if parts > 1:
        raise BadArchive("is one of several parts.")
    # The place that the locator tells is wrong where bytes stand before the archive.
    for where in (at - _END64.size, told):
        if 0 <= where <= size - _END64.size:
            file.seek(where)
            record = _END64.unpack(file.read(_END64.size))
            if record[0] == _END64_MARK:
                return where, record[4], record[7], record[8], record[9]
    raise BadArchive("is cut off or damaged: its 64-bit end record is missing.")


def read_members(file: BinaryIO, directory: Directory) -> Iterator[Member]:
    """Reads the entries of a directory, in their order.

    Args:
      file: Seekable archive.
      directory: Place of its directory.

    Raises:
      BadArchive: If the directory is damaged.
    """
    file.seek(directory.offset)
    data = file.read(directory.size)
    at = count = 0
    while at + _ENTRY.size <= len(data):
        (
            mark,
            made_by,
            flags,
            method,
            crc,
            packed,
            size,
            name_bytes,
            extra_bytes,
            comment_bytes,
            attributes,
            offset,
        ) = _ENTRY.unpack_from(data, at)
        if mark != _ENTRY_MARK:
            break
        at += _ENTRY.size
        name = data[at : at + name_bytes]
        extra = data[at + name_bytes : at + name_bytes + extra_bytes]
        at += name_bytes + extra_bytes + comment_bytes
        if at > len(data):
            break
        if _PLACEHOLDER in (size, packed, offset):
            size, packed, offset = _numbers64(extra, (size, packed, offset))
        yield Member(
            name=_text(name, bool(flags & _UTF8)),
            offset=min(offset + directory.shift, _MAX_OFFSET),
            packed=packed,
            size=size,
            crc=crc,
            method=method,
            flags=flags,
            mode=attributes >> 16 if made_by >> 8 == _UNIX else 0,
        )
        count += 1
    # A count of 16 bits, without a 64-bit record, wraps around.
    if at != len(data) or count & 0xFFFF != directory.entries & 0xFFFF:
        raise BadArchive("is cut off or damaged: its directory cannot be read.")


def _text(name: bytes, is_utf8: bool) -> str:
    # .NET writes backslashes; 4.4.17 asks for forward slashes.
    name = name.partition(b"\0")[0].replace(b"\\", b"/")
    return name.decode("utf-8", "surrogateescape") if is_utf8 else name.decode("cp437")


def _numbers64(extra: bytes, numbers: tuple[int, int, int]) -> Iterator[int]:
    """Replaces placeholders by the numbers of the 64-bit extra field (4.5.3)."""
    at, fields = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _EXTRA64:
            fields = extra[at + 4 : at + 4 + length]
        at += 4 + length
    for number in numbers:
        if number == _PLACEHOLDER:
            if len(fields) < 8:
                raise BadArchive("is cut off or damaged: its directory lacks a 64-bit number.")
            number, fields = int.from_bytes(fields[:8], "little"), fields[8:]
        yield number


def unique_names(names: Sequence[str]) -> list[str]:
    """Gives each member but the first of a name a name of its own.

    A number that another member's name ends with is passed over.

    Args:
      names: Names of members, in the order of the directory.

    Examples:
      >>> unique_names(["IM1", "IM1", "IM2", "IM1"])
      ['IM1', 'IM1~2', 'IM2', 'IM1~3']
    """
    taken = set(names)
    if len(taken) == len(names):
        return [*names]
    unique: list[str] = []
    seen: set[str] = set()
    for written in names:
        name, number = written, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{written}~{number}"
        seen.add(name)
        unique.append(name)
    return unique


def overlapping(offsets: Sequence[int], packed: Sequence[int]) -> set[int]:
    """Finds the members whose bytes are those of the next one, too.

    So that a few megabytes inflate to terabytes, each member may hold all that follow it
    (CVE-2024-0450). No program that packs writes such archives.

    Args:
      offsets: Offset of each member's local header.
      packed: Number of each member's bytes.

    Returns:
      Places of the members that reach into another.

    Examples:
      >>> overlapping([0, 100, 200], [70, 71, 5])
      {1}
    """
    order: Sequence[int] = range(len(offsets))
    if any(following < offset for offset, following in pairwise(offsets)):
        order = sorted(order, key=offsets.__getitem__)
    return {
        place
        for place, following in pairwise(order)
        if offsets[place] + _LOCAL_BYTES + packed[place] > offsets[following]
    }


def list_members(file: BinaryIO) -> list[tuple[str, bytes | DicomError]]:
    """Lists the members of an archive without folders and clutter, in the order of its directory.

    Args:
      file: Seekable archive.

    Returns:
      Name, unique, and `Member.place` of each member; or the reason why it is not opened.

    Raises:
      BadArchive: If the directory cannot be read.
    """
    names: list[str] = []
    places: list[bytes | DicomError] = []
    offsets, packed = array("Q"), array("Q")
    for member in read_members(file, find_directory(file)):
        if not (member.is_folder or is_clutter(member.name)):
            names.append(member.name)
            places.append(member.refusal() or member.place)
            offsets.append(member.offset)
            packed.append(member.packed)
    for number in overlapping(offsets, packed):
        places[number] = overlapping_member()
    return [*zip(unique_names(names), places, strict=True)]
