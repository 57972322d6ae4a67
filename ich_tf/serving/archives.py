"""Zip archives from strangers: checked before they are opened, counted while they are unpacked."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ich_tf.dicom.clutter import is_clutter

# APPNOTE.TXT 4.3.16, 4.3.15 and 4.3.14: the end record, the locator of its 64-bit form, that form.
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END_MARK, _LOCATOR_MARK, _END64_MARK = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"
_STARTS = (b"PK\x03\x04", _END_MARK)
_MAX_COMMENT = (1 << 16) - 1
# Maximum bytes of an entry of the directory: 46, its name, times and owners.
_ENTRY_BYTES = 1024
_PIECE = 1 << 18
_ENCRYPTED = 1


class TooMuch(ValueError):  # noqa: N818 - a reason to refuse the upload, not an error
    """An upload holds more files or bytes than are accepted, and is refused as a whole."""


@dataclass(frozen=True)
class ArchiveEntry:
    """An entry of an archive: unpacked, or left out for a reason.

    Attributes:
      index: Index in the archive's directory, from 0; None for the archive itself.
      path: Path of its bytes; None if it was left out.
      reason, message: Code and text of the reason why it was left out; else empty.
    """

    index: int | None
    path: Path | None = None
    reason: str = ""
    message: str = ""


def is_archive(path: Path) -> bool:
    """Whether a file starts like a zip archive, and not like a DICOM file."""
    with open(path, "rb") as file:
        start = file.read(132)
    return start.startswith(_STARTS) and start[128:] != b"DICM"


def unpack(
    archive: Path, next_path: Callable[[], Path], take: Callable[[int], None], max_files: int
) -> list[ArchiveEntry]:
    """Unpacks an archive, one entry after the other, without folders and clutter.

    Args:
      archive: Path of the archive.
      next_path: Called for the path of each entry: names in an archive never reach the disk.
      take: Called with the number of bytes that are about to be written; raises TooMuch if there
        are too many.
      max_files: Maximum number of files in the archive.

    Returns:
      The entries; a single one without an index if the archive itself cannot be read.

    Raises:
      TooMuch: If the archive claims more entries, or `take` raises it.
    """
    with open(archive, "rb") as file:
        problem = _bounded(file, max_files)
        if problem:
            return [ArchiveEntry(None, reason="BAD_ARCHIVE", message=problem)]
        try:
            with zipfile.ZipFile(file) as opened:
                infos = opened.infolist()
                if len(infos) > 2 * max_files + 1000:
                    raise TooMuch(_too_many(len(infos), max_files))
                entries = [
                    _unpack_entry(opened, number, info, next_path, take)
                    for number, info in enumerate(infos)
                    if not info.is_dir() and not is_clutter(info.filename)
                ]
        except (
            zipfile.BadZipFile,
            NotImplementedError,
            ValueError,
            OSError,
            struct.error,
        ) as error:
            if isinstance(error, TooMuch) or (isinstance(error, OSError) and error.errno):
                raise
            return [
                ArchiveEntry(
                    None,
                    reason="BAD_ARCHIVE",
                    message=f"its directory cannot be read ({type(error).__name__}).",
                )
            ]
    return entries or [ArchiveEntry(None, reason="EMPTY_ARCHIVE", message="holds no files.")]


def _too_many(number: int, max_files: int) -> str:
    return f"an archive holds {number} entries; expected {max_files} files at most."


def _bounded(file: BinaryIO, max_files: int) -> str:
    """Checks the size of the directory, which is read whole; returns a problem, or nothing."""
    size = file.seek(0, 2)
    start = max(0, size - _END.size - _MAX_COMMENT)
    file.seek(start)
    tail = file.read()
    # The search of zipfile: a record at the very end, else the last one that a comment follows.
    place = len(tail) - _END.size
    if place < 0 or not (tail[place:].startswith(_END_MARK) and tail.endswith(b"\0\0")):
        place = tail.rfind(_END_MARK)
    if place < 0 or len(tail) - place < _END.size:
        return "has no end record: it is cut off, or no archive."
    _, disk, _, _, count, length, _, _ = _END.unpack_from(tail, place)
    claims = [(count, length)]
    at = start + place - _LOCATOR.size
    if at >= 0:
        file.seek(at)
        mark, _, offset, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
        # Some readers follow the locator, others take the record before it.
        for where in (offset, at - _END64.size) if mark == _LOCATOR_MARK else ():
            if 0 <= where <= size - _END64.size:
                file.seek(where)
                record = _END64.unpack(file.read(_END64.size))
                if record[0] == _END64_MARK:
                    claims.append((record[7], record[8]))
    if len(claims) > 1 and (count == 0xFFFF or length == 0xFFFFFFFF):
        del claims[0]  # a placeholder for the 64-bit record
    count, length = (max(numbers) for numbers in zip(*claims, strict=True))
    if disk:
        return "is one of several parts; expected a whole archive."
    # Folders and clutter count as entries, but not as files.
    if count > 2 * max_files + 1000 or length > (2 * max_files + 1000) * _ENTRY_BYTES:
        raise TooMuch(_too_many(count, max_files))
    file.seek(0)
    return ""


def _unpack_entry(
    opened: zipfile.ZipFile,
    number: int,
    info: zipfile.ZipInfo,
    next_path: Callable[[], Path],
    take: Callable[[int], None],
) -> ArchiveEntry:
    refused = _refused(info)
    if refused:
        return ArchiveEntry(number, reason=refused[0], message=refused[1])
    path, size = next_path(), 0
    try:
        with opened.open(info) as member, open(path, "xb") as out:
            while piece := member.read(_PIECE):
                take(len(piece))
                size += out.write(piece)
        if size != info.file_size:
            raise zipfile.BadZipFile("the size differs from that of the directory")
    # zipfile raises RuntimeError for an entry that it takes to be encrypted.
    except (
        zipfile.BadZipFile,
        EOFError,
        RuntimeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        path.unlink(missing_ok=True)
        if isinstance(error, TooMuch):
            raise
        return ArchiveEntry(
            number,
            reason="BAD_ARCHIVE",
            message="cannot be unpacked: its size, its checksum or its compressed bytes are wrong "
            f"({type(error).__name__}).",
        )
    if is_archive(path):
        path.unlink()
        return ArchiveEntry(
            number,
            reason="NESTED_ARCHIVE",
            message="is an archive within an archive; expected DICOM files. Unpack it first.",
        )
    return ArchiveEntry(number, path)


def _refused(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    """Code and text of the reason why an entry is not opened; None if it is."""
    parts = PurePosixPath(info.filename.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        return "UNSAFE_PATH", "its name leads out of the archive's own folder."
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "NOT_A_FILE", "is a link or a device; expected a file."
    if info.flag_bits & _ENCRYPTED:
        return "ENCRYPTED", "is encrypted. Send it without a password."
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "COMPRESSION", "is packed by a method other than deflate. Pack it again."
    return None
