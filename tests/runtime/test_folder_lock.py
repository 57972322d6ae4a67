"""One writer a folder: a second is refused, and a dead one keeps nobody out."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ich_tf.errors import DataError, InputError
from ich_tf.runtime.folder_lock import LOCK, FolderLock, check_owner
from tests.support.commands import ROOT


def test_a_second_writer_is_told_of_the_first(tmp_path: Path) -> None:
    with FolderLock(tmp_path) as lock:
        with pytest.raises(InputError, match="another run writes there.*on .*since.*Be patient"):
            FolderLock(tmp_path, "Be patient.").take()
        check_owner(tmp_path, lock.owner)
    assert list(tmp_path.iterdir()) == []
    with FolderLock(tmp_path):
        pass


def test_a_folder_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with FolderLock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "c").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c"]


def test_the_lock_of_a_killed_owner_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from ich_tf.runtime.folder_lock import FolderLock\n"
        f"FolderLock(Path({str(tmp_path)!r})).take(); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    former = json.loads((tmp_path / LOCK).read_text())
    with FolderLock(tmp_path) as lock:
        with pytest.raises(DataError, match="belongs to another run"):
            check_owner(tmp_path, former["owner"])
        check_owner(tmp_path, lock.owner)
    with pytest.raises(DataError, match="belongs to another run"):
        check_owner(tmp_path, lock.owner)


def test_a_lock_that_is_freed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    """Between opening and locking the owner may end, and remove the file that was opened."""
    lock = FolderLock(tmp_path)
    lock.take()
    real, calls = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            calls.append(lock.free())
        real(descriptor, operation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        with FolderLock(tmp_path) as second:
            check_owner(tmp_path, second.owner)


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with FolderLock(tmp_path):
        assert "knows no locks" in caplog.text


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        FolderLock(tmp_path / "file" / "folder").take()
