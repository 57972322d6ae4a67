"""DICOM files as inputs: in a folder, in a zip archive that is read in place, or a single one."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.errors import InputError

# A slice has half a megabyte; an archive's directory may claim any size.
MAX_FILE_BYTES = 256 * 2**20
# Files that systems leave beside others, in any spelling of upper and lower case; DICOMDIR is the
# index of a disc. Hidden files and folders, AppleDouble's `._*` among them, are clutter as well.
_CLUTTER_FILES = ("DICOMDIR", "THUMBS.DB", "DESKTOP.INI")
_CLUTTER_FOLDER = "__MACOSX"


@dataclass(frozen=True, slots=True)
class Source:
    """One file, readable from any process.

    Attributes:
      root: Path of the folder or zip archive that holds the file.
      name: Path of the file within `root`, with forward slashes.
    """

    root: Path
    name: str

    @property
    def stem(self) -> str:
        """The file's name without folders and extension."""
        return PurePosixPath(self.name).stem

    def stamp(self) -> str:
        """A text that changes with the file: its size, and its time or the archive's CRC.

        Raises:
          DicomError: UNREADABLE.
        """
        try:
            if self.root.is_dir():
                status = (self.root / self.name).stat()
                return f"{status.st_size}-{status.st_mtime_ns}"
            info = _archive(self.root).getinfo(self.name)
            return f"{info.file_size}-{info.CRC:08x}"
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise _unreadable(error) from error

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the file for reading in parts: seekable, positioned at its start.

        A file of a folder may have any size. A member of an archive is read whole.

        Raises:
          DicomError: UNREADABLE, or TOO_LARGE.
        """
        if not self.root.is_dir():
            yield io.BytesIO(self.read())
            return
        try:
            file = open(self.root / self.name, "rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise _unreadable(error) from error
        with file:
            yield file

    def read(self) -> bytes:
        """Reads the file.

        Raises:
          DicomError: UNREADABLE or TOO_LARGE.
        """
        try:
            if self.root.is_dir():
                # Sized by the file: a read of "at most 256 MiB" begins by allocating them.
                with open(self.root / self.name, "rb", buffering=0) as file:
                    size = os.fstat(file.fileno()).st_size
                    data = file.read(min(size, MAX_FILE_BYTES) + 1)
            else:
                with _archive(self.root).open(self.name) as member:
                    data = member.read(MAX_FILE_BYTES + 1)
        # zipfile raises RuntimeError for encryption, NotImplementedError for exotic methods.
        except (OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise _unreadable(error) from error
        if len(data) > MAX_FILE_BYTES:
            raise DicomError(
                Reason.TOO_LARGE, f"more than {MAX_FILE_BYTES >> 20} MiB; expected one slice."
            )
        return data


def stamps_sha256(sources: Iterable[Source]) -> str:
    """A hash of the files' stamps, to detect a later change of any of them."""
    digest = hashlib.sha256()
    for source in sources:
        try:
            stamp = source.stamp()
        except DicomError as error:
            stamp = error.reason.value
        digest.update(f"{source.name}\0{stamp}\n".encode())
    return digest.hexdigest()


def list_sources(path: str | Path) -> list[Source]:
    """Lists the input files at a path, sorted by name.

    Clutter (`is_clutter`) is left out. Every other file is listed, whatever its extension: DICOM
    files often have none.

    Args:
      path: A folder, nested or not; a zip archive; `archive.zip/folder` for a folder in an
        archive; one file; or a text list (`.txt`) of one path per line, relative to the list's
        folder. Empty lines and lines that begin with # are skipped.

    Raises:
      InputError: If there is no such path, no file in it, or the archive is broken.
    """
    path, folder = _in_archive(Path(path))
    if path.is_dir():
        names = [
            (Path(parent) / file).relative_to(path).as_posix()
            for parent, _, files in os.walk(path)
            for file in files
        ]
        root = path
    elif path.is_file() and zipfile.is_zipfile(path):
        try:
            infos = _archive(path).infolist()
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a readable zip archive ({error}).") from error
        names = [info.filename for info in infos if not info.is_dir()]
        names = [name for name in names if name.startswith(folder)]
        root = path
    elif path.is_file() and path.suffix.lower() == ".txt" and not _is_dicom(path):
        root, names = _read_list(path)
    elif path.is_file():
        names, root = [path.name], path.parent
    else:
        raise InputError(
            f"{path}: no such file or folder. Expected a folder of DICOM files, a zip archive of "
            "them or a folder in one, one DICOM file, or a text file with a path a line."
        )
    sources = [Source(root, name) for name in sorted(set(names)) if not is_clutter(name)]
    if not sources:
        where = path / folder if folder else path
        raise InputError(f"{where}: holds no files. Expected DICOM files.")
    return sources


def is_clutter(name: str) -> bool:
    """Whether a file is no input by its name: hidden, of macOS or Windows, or a DICOMDIR.

    Args:
      name: Path of the file, with forward or backward slashes.

    Examples:
      >>> [is_clutter(name) for name in ("a/Thumbs.db", "__MACOSX/._a", "a/.git/b", "../a.dcm")]
      [True, True, True, False]
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return bool(parts) and (
        parts[-1].upper() in _CLUTTER_FILES
        or any(part == _CLUTTER_FOLDER or (part[0] == "." and part != "..") for part in parts)
    )


def _in_archive(path: Path) -> tuple[Path, str]:
    """Splits `archive.zip/folder` into the archive and `folder/`; any other path has no folder."""
    for parent in path.parents:
        if parent.is_file():
            if not path.exists() and zipfile.is_zipfile(parent):
                return parent, f"{path.relative_to(parent).as_posix()}/"
            break
    return path, ""


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read_list(path: Path) -> tuple[Path, list[str]]:
    """The common folder of the files in a text list, and their paths within it."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: neither a DICOM file nor a text file ({error}).") from error
    listed = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    files = [Path(os.path.normpath((path.parent / line).absolute())) for line in listed]
    for line, file in zip(listed, files, strict=True):
        if not file.is_file():
            raise InputError(
                f"{path}: lists {line!r}, which is no file. Expected a DICOM file's path a line."
            )
    if not files:
        raise InputError(f"{path}: lists no files. Expected a DICOM file's path a line.")
    root = Path(os.path.commonpath([file.parent for file in files]))
    return root, [file.relative_to(root).as_posix() for file in files]


def _unreadable(error: Exception) -> DicomError:
    # The kind of error, not its text, which holds paths.
    kind = getattr(error, "strerror", None) or type(error).__name__
    return DicomError(Reason.UNREADABLE, f"cannot be read ({kind}).")


@functools.lru_cache(maxsize=4)
def _archive(path: Path) -> zipfile.ZipFile:
    # Kept open: the directory of Kaggle's archive has 874,035 entries to read.
    return zipfile.ZipFile(path)
