"""One writer a folder: a lock that ends with its owner, and says who that is."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from ich_tf.errors import DataError, InputError
from ich_tf.runtime.permissions import check_own
from ich_tf.runtime.writing import writing

LOCK = ".lock"
_LOG = logging.getLogger(__name__)
# File systems without locks answer with one of these.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class FolderLock:
    """Context in which this process alone writes to a folder.

    The kernel frees the lock when its owner dies, so that what a killed run leaves keeps nobody
    out. The lock's file is removed at the end, and with it the folder if that was made for it and
    nothing was written.

    Attributes:
      owner: Random key of this owner, which other processes give to `check_owner`.

    Examples:
      with FolderLock(Path("data/tfrecords")) as lock:
          ...  # write
          check_owner(Path("data/tfrecords"), lock.owner)
    """

    def __init__(self, folder: Path, advice: str = "", *, name: str = LOCK, mode: int = 0o777):
        """Takes nothing yet: `take` does, or entering the context.

        Args:
          folder: Folder to write to; made if there is none.
          advice: Sentence that ends the error of a folder in use: what else the user could do.
          name: Name of the lock's file, for a part of a folder.
          mode: Permissions of a folder that is made.
        """
        self.owner = uuid.uuid4().hex
        self._folder, self._path = folder, folder / name
        self._advice, self._mode = advice, mode
        self._descriptor: int | None = None
        self._made: list[Path] = []

    def __enter__(self) -> FolderLock:
        self.take()
        return self

    def __exit__(self, *error: object) -> None:
        self.free()

    def take(self) -> None:
        """Takes the lock.

        Raises:
          InputError: If another process holds it, or the folder cannot be written.
        """
        try:
            with writing(self._folder):
                self._make_folder()
                self._descriptor = self._locked_file()
                self._describe(self._descriptor)
        except InputError:
            self.free()
            raise

    def free(self) -> None:
        """Frees the lock and removes its file."""
        if self._descriptor is not None:
            # First the file: whoever opened it meanwhile sees that it is the folder's no more.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
        self._remove_folders()

    def _make_folder(self) -> None:
        folder = self._folder.absolute()
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True, mode=self._mode)

    def _remove_folders(self) -> None:
        # The innermost first; one that something was written to stays, and with it the outer ones.
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        self._made = []

    def _locked_file(self) -> int:
        """Opens and locks the file, until the locked one is the folder's."""
        while True:
            # Its name can be foreseen: a link that lies there would have its target overwritten.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o666)
            try:
                check_own(self._path, descriptor, any_owner=True)
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_ino == self._path.stat().st_ino:
                    return descriptor
            except BlockingIOError as error:
                os.close(descriptor)
                raise InputError(self._in_use()) from error
            except FileNotFoundError:
                pass  # its owner has just ended
            except InputError:
                os.close(descriptor)
                raise
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    _LOG.warning(
                        "%s: its file system knows no locks (%s). Make sure that no other run "
                        "writes there.",
                        *(self._folder, error.strerror),
                    )
                    return descriptor
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _describe(self, descriptor: int) -> None:
        content = {
            "owner": self.owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(content).encode())

    def _in_use(self) -> str:
        content = _read(self._path)
        about = f"process {content['pid']} on {content['host']}, since {content['since']}"
        return (
            f"{self._path.parent}: another run writes there ({about}). Wait until it has ended. "
            f"{self._advice}".rstrip()
        )


def check_owner(folder: Path, owner: str) -> None:
    """Checks that a folder still belongs to a run; for its other processes, before they write.

    Args:
      folder: Folder that was locked.
      owner: `FolderLock.owner` of the run.

    Raises:
      DataError: If the lock is another's, or gone.
    """
    if _read(folder / LOCK)["owner"] != owner:
        raise DataError(
            f"{folder}: belongs to another run by now; nothing more is written. Run the same "
            "command again."
        )


def _read(path: Path) -> dict[str, Any]:
    """Content of a lock's file; it may be read while it is written."""
    content = {"owner": "", "host": "?", "pid": "?", "since": "?"}
    with contextlib.suppress(OSError, ValueError):
        content.update(json.loads(path.read_text("utf-8")))
    return content
