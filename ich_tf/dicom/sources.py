"""DICOM files as inputs: in a folder, in a zip archive that is read in place, or a single one."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ich_tf.dicom import zip_members
from ich_tf.dicom.nifti_names import without_nifti_extension
from ich_tf.dicom.reasons import DicomError, Reason, special_file, unreadable
from ich_tf.dicom.walk import file_stamp
from ich_tf.dicom.zip_directory import BadArchive, list_members
from ich_tf.runtime.files import NotRegularError, only_regular
from ich_tf.runtime.names import printable

# A slice has half a megabyte; an archive's directory may claim any size.
MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """One file, readable from any process.

    Attributes:
      root: Path of the folder or zip archive that holds the file.
      name: Path of the file within `root`, with forward slashes. Bytes that are not UTF-8 are
        surrogates, as `os.fsdecode` makes them.
      listed_stamp: Stamp of a folder's file when it was listed; empty if it is not known.
      place: Place of a member within its archive, `zip_directory.Member.place`; empty for a file
        of a folder, and where it has to be looked up.
    """

    root: Path
    name: str
    listed_stamp: str = field(default="", compare=False)
    place: bytes = field(default=b"", compare=False, repr=False)

    @property
    def stem(self) -> str:
        """The file's name without folders and extension.

        Digits are no extension: they end a UID, or the name of one of many files.

        Examples:
          >>> names = "a/b.dcm", "1.2.840.7", "case.0001", "c.nii.gz"
          >>> [Source(Path(), name).stem for name in names]
          ['b', '1.2.840.7', 'case.0001', 'c']
        """
        path = PurePosixPath(self.name)
        if (stem := without_nifti_extension(path.name)) != path.name:
            return stem
        return path.name if path.suffix[1:].isdecimal() else path.stem

    @property
    def shown(self) -> str:
        """The name as texts show it."""
        return printable(self.name)

    def stamp(self) -> str:
        """A text that changes with the file: its size, and its time or the archive's CRC.

        It is that of the listing, where the file was listed.

        Raises:
          DicomError: UNREADABLE.
        """
        if self.listed_stamp:
            return self.listed_stamp
        if self.place:
            return zip_members.place_stamp(self.place)
        try:
            return file_stamp((self.root / self.name).stat())
        except NotADirectoryError:
            return zip_members.place_stamp(_place(self.root, self.name))
        except OSError as error:
            raise unreadable(error) from error

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the file for reading; a member of an archive is inflated as far as it is read.

        Yields:
          Seekable file. A member's raises DicomError where it turns out to be damaged.

        Raises:
          DicomError: UNREADABLE, NOT_A_FILE, BAD_ARCHIVE or ENCRYPTED_ARCHIVE.
        """
        place, file = self._opened()
        with file:
            if place:
                with zip_members.open_member(file, place) as member:
                    yield member
            else:
                yield io.BufferedReader(file)

    def read(self) -> bytes:
        """Reads the file.

        Raises:
          DicomError: As for `open`; or TOO_LARGE.
        """
        place, file = self._opened()
        data: bytes | None = None
        try:
            with file:
                # Sized by the file: a read of "at most 256 MiB" begins by allocating them.
                size = zip_members.place_size(place) if place else os.fstat(file.fileno()).st_size
                if size <= MAX_FILE_BYTES and place:
                    with zip_members.open_member(file, place) as member:
                        data = member.read(size + 1)
                elif size <= MAX_FILE_BYTES:
                    data = _read(file, size + 1)
        except OSError as error:
            raise unreadable(error) from error
        if data is None or len(data) > MAX_FILE_BYTES:
            raise DicomError(
                Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB; expected one slice."
            )
        return data

    def _opened(self) -> tuple[bytes, io.FileIO]:
        """Place in the archive, empty outside of one, and the open file or archive."""
        try:
            if self.place:
                return self.place, _open_regular(self.root)
            try:
                return b"", _open_regular(self.root / self.name)
            except NotADirectoryError:
                return _place(self.root, self.name), _open_regular(self.root)
        except OSError as error:
            raise unreadable(error) from error


def stamps_sha256(sources: Iterable[Source]) -> str:
    """A hash of the files' stamps, to detect a later change of any of them."""
    digest = hashlib.sha256()
    for source in sources:
        try:
            stamp = source.stamp()
        except DicomError as error:
            stamp = error.reason.value
        digest.update(f"{source.name}\0{stamp}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _place(archive: Path, name: str) -> bytes:
    """Looks the place of a member up, for whoever has its name alone.

    Raises:
      OSError: If the archive cannot be read.
      DicomError: UNREADABLE or BAD_ARCHIVE; or the reason why the member is not opened.
    """
    place = _places(archive, file_stamp(archive.stat())).get(name)
    if place is None:
        raise DicomError(Reason.UNREADABLE, "is not in the archive.")
    if isinstance(place, DicomError):
        raise place
    return place


@functools.lru_cache(maxsize=2)
def _places(archive: Path, stamp: str) -> dict[str, bytes | DicomError]:
    try:
        with open(archive, "rb") as file:
            return dict(list_members(file))
    except BadArchive as error:
        raise DicomError(Reason.BAD_ARCHIVE, f"its archive {error}") from error


def _open_regular(path: Path) -> io.FileIO:
    """Opens a file that may have become another kind of file since it was listed.

    Raises:
      OSError: If it cannot be opened.
      DicomError: NOT_A_FILE.
    """
    try:
        return io.FileIO(path, opener=only_regular)
    except NotRegularError as error:
        raise special_file() from error


def _read(file: io.FileIO, size: int) -> bytes:
    """Content of a file; `size` bytes if it has grown to more."""
    data = file.read(size) or b""
    while len(data) < size - 1 and (piece := file.read(size - len(data))):
        data += piece
    return data
