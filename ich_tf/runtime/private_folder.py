"""Private folders: temporary folders of one user and one process, which go when it ends."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

_PREFIX = "ich_tf-private-"
_LOCK = ".lock"
# Age below which a folder without a held lock may be one that is being made, seconds.
_GRACE_SECONDS = 60.0
# Folders of this process: the process that made them, and the descriptor of their lock.
_LOCKS: dict[Path, tuple[int, int]] = {}


def make_private_folder() -> Path:
    """Makes an empty folder in the temporary folder (`TMPDIR`), of mode 0700.

    It is removed when the process ends by itself, also after an error. That of a process which was
    killed is removed by the next call of this user: its lock, which the kernel frees, tells.

    Raises:
      OSError: If the temporary folder cannot be written.
    """
    _remove_leftovers()
    outer = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Open, and with it locked, until the process ends.
    lock = os.open(outer / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks: nobody takes the folder
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    _LOCKS[outer] = os.getpid(), lock
    folder = outer / "content"
    folder.mkdir(mode=0o700)
    return folder


def remove_private_folder(folder: Path) -> None:
    """Removes a folder that `make_private_folder` made, before the process ends."""
    pid, lock = _LOCKS.pop(folder.parent)
    # A forked process that ends by itself has its parent's folders in its list.
    if pid == os.getpid():
        shutil.rmtree(folder.parent, ignore_errors=True)
    os.close(lock)


@atexit.register
def _remove_all() -> None:
    for outer in list(_LOCKS):
        remove_private_folder(outer / "content")


def _remove_leftovers() -> None:
    """Removes the folders of this user whose processes were killed."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with contextlib.suppress(OSError):
                    if _is_leftover(entry):
                        shutil.rmtree(entry.path, ignore_errors=True)


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    status = entry.stat(follow_symlinks=False)
    if not entry.is_dir(follow_symlinks=False) or status.st_uid != os.getuid():
        return False
    if time.time() - status.st_mtime < _GRACE_SECONDS:
        return False
    try:
        lock = os.open(Path(entry.path) / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
