"""The files below a folder: links are followed, and what cannot be used is told of."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_tf.dicom.reasons import DicomError, special_file, unreadable
from ich_tf.runtime.clutter import is_clutter, is_clutter_folder

# Device and inode; the real path where a file system has no inodes.
_Identity = tuple[int, int] | str
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """What lies below a folder.

    Attributes:
      name: Path within the folder, with forward slashes. Bytes that are not UTF-8 are surrogates.
      stamp: Size and time of modification, of a regular file.
      error: Reason why a file, or a folder, cannot be used; None for a regular file.
    """

    name: str
    stamp: str = ""
    error: DicomError | None = None


def walk(root: Path, leave_out: Sequence[Path] = ()) -> Iterator[FoundFile]:
    """Finds all files below a folder but clutter.

    Links to folders are followed, and each folder is entered once: by its real path, or, if that
    lies elsewhere, by the first link to it in the order of their names. Nothing is opened.

    Args:
      root: The folder.
      leave_out: Files and folders that are passed over, by whatever path they are reached.

    Yields:
      Every regular file; every file of another kind, and every folder that cannot be listed, with
      its error. The order is not fixed.

    Raises:
      OSError: If the folder itself cannot be listed.
    """
    passed_over = {_identity(path.stat(), path) for path in leave_out if path.exists()}
    entered: set[_Identity] = set()
    folders, links = [""], list[str]()
    while folders or links:
        if not folders:
            # Only now: a folder's real path comes before any link to it.
            links.sort(reverse=True)
            folders.append(links.pop())
        folder = folders.pop()
        path = root / folder
        prefix = f"{folder}/" if folder else ""
        inner: list[str] = []
        try:
            identity = _identity(path.stat(), path)
            if identity in entered or (folder and identity in passed_over):
                continue
            entered.add(identity)
            with os.scandir(path) as entries:
                for entry in entries:
                    name = prefix + entry.name
                    if not _is_folder(entry):
                        if not is_clutter(entry.name):
                            yield from _file(name, entry, passed_over)
                    elif not is_clutter_folder(entry.name):
                        (links if entry.is_symlink() else inner).append(name)
        except OSError as error:
            if not folder:
                raise
            yield FoundFile(folder, error=unreadable(error))
        folders += sorted(inner, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # told by `_file`
        return False


def _identity(status: os.stat_result, path: str | Path) -> _Identity:
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _file(name: str, entry: os.DirEntry[str], passed_over: set[_Identity]) -> Iterator[FoundFile]:
    try:
        status = entry.stat()
    except OSError as error:
        leads_nowhere = error.errno in _LEADS_NOWHERE and entry.is_symlink()
        yield FoundFile(name, error=special_file() if leads_nowhere else unreadable(error))
        return
    if not stat.S_ISREG(status.st_mode):
        yield FoundFile(name, error=special_file())
    elif not passed_over or _identity(status, entry.path) not in passed_over:
        yield FoundFile(name, file_stamp(status))


def file_stamp(status: os.stat_result) -> str:
    """A text that changes with a file: its size and its time of modification."""
    return f"{status.st_size}-{status.st_mtime_ns}"
