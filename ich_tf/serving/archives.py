"""Zip archives from strangers: checked before they are opened, counted while they are unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ich_tf.dicom.archives import (
    START_BYTES,
    archive_kind,
    damaged_member,
    nested_archive,
    overlapping_member,
)
from ich_tf.dicom.nifti_names import is_nifti
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.zip_directory import (
    BadArchive,
    Directory,
    Member,
    find_directory,
    is_zip,
    overlapping,
    read_members,
)
from ich_tf.dicom.zip_members import open_member
from ich_tf.runtime.clutter import is_clutter

# Maximum bytes of an entry of the directory: 46, its name, times and owners.
_ENTRY_BYTES = 1024
_PIECE = 1 << 18
# Others take a stranger's choice of memory to unpack.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


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
    """Whether a file is a zip archive, whole or cut, and no DICOM file."""
    with open(path, "rb") as file:
        return is_zip(file)


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
        try:
            directory = find_directory(file)
            _check_size(directory, max_files)
            members = [*read_members(file, directory)]
        except BadArchive as error:
            return [ArchiveEntry(None, reason=Reason.BAD_ARCHIVE.value, message=str(error))]
        _check_size(directory._replace(entries=len(members)), max_files)
        shared = overlapping(
            [member.offset for member in members], [member.packed for member in members]
        )
        entries = [
            _left_out(number, overlapping_member())
            if number in shared
            else _unpack_member(file, number, member, next_path, take)
            for number, member in enumerate(members)
            if not member.is_folder and not is_clutter(member.name)
        ]
    return entries or [ArchiveEntry(None, reason="EMPTY_ARCHIVE", message="holds no files.")]


def _check_size(directory: Directory, max_files: int) -> None:
    """Checks the size of a directory before it is read whole."""
    # Folders and clutter count as entries, but not as files.
    max_entries = 2 * max_files + 1000
    if directory.entries > max_entries or directory.size > max_entries * _ENTRY_BYTES:
        raise TooMuch(
            f"an archive holds {directory.entries} entries; expected {max_files} files at most."
        )


def _unpack_member(
    file: BinaryIO,
    number: int,
    member: Member,
    next_path: Callable[[], Path],
    take: Callable[[int], None],
) -> ArchiveEntry:
    if _leads_out(member.name):
        return ArchiveEntry(
            number, reason="UNSAFE_PATH", message="its name leads out of the archive's own folder."
        )
    refusal = member.refusal(_METHODS)
    if refusal is not None:
        return _left_out(number, refusal)
    path, size = next_path(), 0
    try:
        with open_member(file, member.place) as content, open(path, "xb") as out:
            while piece := content.read(_PIECE):
                take(len(piece))
                size += out.write(piece)
        if size != member.size:
            raise damaged_member(zipfile.BadZipFile())
        kind = _kind(path)
        # A packed NIfTI volume is a gzip file; another that is named so is refused by its reader.
        if kind and not is_nifti(member.name):
            raise nested_archive(kind)
    except DicomError as error:
        path.unlink(missing_ok=True)
        return _left_out(number, error)
    return ArchiveEntry(number, path)


def _left_out(number: int, error: DicomError) -> ArchiveEntry:
    return ArchiveEntry(number, reason=error.reason.value, message=str(error))


def _leads_out(name: str) -> bool:
    """Whether a member's name would lie elsewhere if it was unpacked; it is never used."""
    parts = [part for part in name.split("/") if part]
    return not parts or name.startswith("/") or ".." in parts or ":" in parts[0]


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        return archive_kind(file.read(START_BYTES))
