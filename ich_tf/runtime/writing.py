"""Errors of writing, in one paragraph: where, and what the operating system says."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ich_tf.errors import InputError

_FULL = "No space left on device"
_QUOTA = "Disk quota exceeded"
_READ_ONLY = "Read-only file system"
_FAILING = "Input/output error"
# Answers of `disk_problem` that no input causes, and that may pass.
OF_THE_DISK = frozenset({_FULL, _QUOTA, _READ_ONLY, _FAILING})
# What libraries that write by themselves (SQLite, HDF5, TensorFlow) say, in lower case.
_PHRASES = {
    "no space left on device": _FULL,
    "database or disk is full": _FULL,
    "read-only file system": _READ_ONLY,
    "attempt to write a readonly database": _READ_ONLY,
    "disk quota exceeded": _QUOTA,
    "file too large": "File too large",
    "input/output error": _FAILING,
    "disk i/o error": _FAILING,
    "unable to open database file": "it cannot be opened",
    "permission denied": "Permission denied",
}
_FREE_SPACE = "Free some space, then run the same command again: what is finished is kept."
_ADVICE = {
    _FULL: _FREE_SPACE,
    _QUOTA: _FREE_SPACE,
    _FAILING: "Check the disk, then run the same command again.",
    _READ_ONLY: "Give a folder that may be written.",
    "Permission denied": "Give a folder that may be written.",
}
# Errors that only writing causes.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# File systems that cannot reserve space.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def writing(path: str | Path, kind: type[Exception] = Exception) -> Iterator[None]:
    """Context of code that writes a file or folder, and whose errors are those of writing it.

    Args:
      path: The file or folder.
      kind: Class of the errors, where others are not of writing.

    Raises:
      InputError: For an error of the operating system, or of a library that quotes one.
    """
    try:
        yield
    except InputError:
        raise
    except kind as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        raise _write_error(path, problem) from error


def check_space(path: Path, num_bytes: int) -> None:
    """Checks that a file can be written, before a library writes it that a full disk crashes.

    Args:
      path: File that is to be written. What is there, left by a killed writer, is removed.
      num_bytes: Size that it may have, bytes.

    Raises:
      InputError: If the disk has no room for it, or may not be written.
    """
    with writing(path):
        path.unlink(missing_ok=True)
        try:
            with open(path, "xb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, num_bytes)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
        finally:
            path.unlink(missing_ok=True)


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return _ADVICE.get(disk_problem(error) or "") == _FREE_SPACE


def disk_problem(error: BaseException) -> str | None:
    """What the operating system says in an error; None if the error is of another kind."""
    text = str(error).lower()
    for phrase, problem in _PHRASES.items():
        if phrase in text:
            return problem
    if isinstance(error, OSError):
        return error.strerror or f"{error}"
    return None


def describe(error: BaseException) -> str | None:
    """One paragraph on an error of the operating system that nobody described better.

    Returns:
      None for an error of another kind.
    """
    problem = disk_problem(error)
    if problem is None:
        return None
    place = getattr(error, "filename", None)
    name = place if isinstance(place, str) else "the output"
    if getattr(error, "errno", None) in _OF_WRITING or not isinstance(error, OSError):
        text = f" ({error})" if place is None and not isinstance(error, OSError) else ""
        return f"{_write_error(name, problem)}{text}"
    return f"{name}: {problem}. {_ADVICE.get(problem, '')}".rstrip() if place else f"{error}"


def _write_error(path: str | Path, problem: str) -> InputError:
    return InputError(f"{path}: cannot be written ({problem}). {_ADVICE.get(problem, '')}".rstrip())
