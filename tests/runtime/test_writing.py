"""Errors of writing: one paragraph that says what and where, whichever library wrote."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.runtime.files import write_text
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.runtime.writing import check_space, describe, writing

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS), "/a/b")
HDF5 = OSError(
    "Can't synchronously write data (errno = 28, error message = 'No space left on device')"
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FULL, r"No space left on device\). Free some space, then run the same command again"),
        (HDF5, "No space left on device"),
        (sqlite3.OperationalError("database or disk is full"), "No space left on device"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "Read-only file system"),
        (sqlite3.OperationalError("disk I/O error"), r"Input/output error\). Check the disk"),
        (tf.errors.UnknownError(None, None, "/w/x; Read-only file system"), "Read-only"),
        (READ_ONLY, r"Read-only file system\). Give a folder that may be written"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_errors_of_the_disk_name_the_place(error: Exception, text: str) -> None:
    with (
        pytest.raises(InputError, match=f"^out/x: cannot be written .{text}") as caught,
        writing("out/x"),
    ):
        raise error
    assert "\n" not in str(caught.value)
    assert describe(error) is not None


def test_other_errors_stay_what_they_are() -> None:
    for error in (KeyError("a"), InputError("b")):
        with pytest.raises(type(error), match=str(error)), writing("out"):
            raise error
    assert describe(KeyError("a")) is None
    with pytest.raises(OSError, match="full"), writing("out", sqlite3.Error):
        raise OSError("full")


def test_what_was_there_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fsync(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InputError, match=f"{path}: cannot be written .No space left"):
        write_text(path, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_locked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(descriptor: int, data: bytes) -> int:
        raise FULL

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(InputError, match=f"{tmp_path / 'out'}: cannot be written .No space left"):
        FolderLock(tmp_path / "out").take()
    assert list(tmp_path.iterdir()) == []


def test_room_is_looked_for_before_a_library_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_space(tmp_path / "a", 100)
    for number, is_refused in ((errno.EOPNOTSUPP, False), (errno.ENOSPC, True)):

        def reserve(descriptor: int, start: int, size: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", reserve)
        if is_refused:
            with pytest.raises(InputError, match=f"{tmp_path / 'a'}: cannot be written .No space"):
                check_space(tmp_path / "a", 100)
        else:
            check_space(tmp_path / "a", 100)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_paragraph() -> None:
    assert describe(READ_ONLY) == (
        "/a/b: cannot be written (Read-only file system). Give a folder that may be written."
    )
    assert describe(FileNotFoundError(errno.ENOENT, "No such file or directory", "/a")) == (
        "/a: No such file or directory."
    )
    assert describe(sqlite3.OperationalError("database or disk is full")) is not None
