"""Folders of the gateway's state: files are named by numbers and keys, never by what they hold."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.runtime.writing import writing

_OWNER_ONLY = 0o700


@dataclass(frozen=True)
class Folders:
    """Folders under `keep.state_dir`.

    Attributes:
      root: The state folder.
    """

    root: Path

    @property
    def database(self) -> Path:
        """The queue's database."""
        return self.root / "queue.sqlite"

    @property
    def spool(self) -> Path:
        """Files that are being received; nothing in it was acknowledged."""
        return self.root / "spool"

    @property
    def studies(self) -> Path:
        """A folder a study, named by its number."""
        return self.root / "studies"

    def study(self, number: int) -> Path:
        """Folder of all files of a study."""
        return self.studies / str(number)

    def images(self, number: int) -> Path:
        """Images of a study."""
        return self.study(number) / "images"

    def image(self, number: int, key: bytes) -> Path:
        """An image, named by its key (`keys.Keys.instance`)."""
        return self.images(number) / f"{key.hex()}.dcm"

    def results(self, number: int) -> Path:
        """Results of a study: what is sent."""
        return self.study(number) / "results"

    def work(self, number: int) -> Path:
        """Files of a prediction that is under way."""
        return self.study(number) / "work"

    def result_files(self, number: int) -> list[Path]:
        """Results of a study, by name."""
        folder = self.results(number)
        return sorted(path for path in folder.iterdir() if path.is_file())

    def open(self) -> bool:
        """Makes the folders, for the owner alone, and empties the spool.

        Returns:
          Whether there is no database yet.

        Raises:
          InputError: If they cannot be written, or hold images of a database that is gone.
        """
        with contextlib.suppress(PermissionError):
            # A volume of a container may be another's; what is made in it is not.
            self.root.chmod(_OWNER_ONLY)
        for folder in (self.spool, self.studies):
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(_OWNER_ONLY)
        with writing(self.spool):
            for path in self.spool.iterdir():
                remove(path)
        is_new = not self.database.exists()
        if is_new and any(self.studies.iterdir()):
            raise InputError(
                f"{self.studies}: holds images, and {self.database.name} beside it is gone, which "
                "knows what they are. Restore it, or give another keep.state_dir."
            )
        return is_new

    def free_bytes(self) -> int:
        """Free space of the disk, bytes.

        Raises:
          OSError: If the folder is gone.
        """
        return shutil.disk_usage(self.root).free


def remove(path: Path) -> None:
    """Deletes a file or a folder with all that is in it, if it exists.

    Raises:
      OSError: If it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Writes a file's bytes to the disk, or a folder's names.

    Raises:
      OSError: If the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
