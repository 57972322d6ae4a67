"""The folders of a server's studies: uploads, Hounsfield units and `study.json`, free space."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.runtime.files import parse_json, read_text, write_text
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.serving.answers import Model
from ich_tf.serving.errors import disk_full
from ich_tf.serving.study import UploadedStudy

_STUDY_JSON = "study.json"
# A thousand slices take half of one.
_MOST_BYTES = 64 << 20
# Of `secrets.token_urlsafe(18)`.
_STUDY_ID = re.compile(r"[A-Za-z0-9_-]{24}")


class StudyFolders:
    """Two folders for each study below the state folder, which belongs to one server."""

    def __init__(self, folder: Path) -> None:
        """Locks the state folder, and empties that of uploads.

        Args:
          folder: State folder of the server; made if there is none.

        Raises:
          InputError: If the folder cannot be written, another server uses it, or one of its own
            folders is a link, behind which another's files would be deleted.
        """
        self._lock = FolderLock(folder, "Give each server its own --state_dir.", mode=0o700)
        self._uploads, self._studies = folder / "uploads", folder / "studies"
        for path in (folder, self._uploads, self._studies):
            if path.is_symlink():
                raise InputError(
                    f"{path}: is a link; expected a folder of the server's own. Delete it, or give "
                    "another --state_dir."
                )
        self._lock.take()
        for path in (self._uploads, self._studies):
            path.mkdir(exist_ok=True, mode=0o700)
        for left in _own(self._uploads):
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        """Frees the state folder for another server."""
        self._lock.free()

    def upload(self, study_id: str) -> Path:
        """Folder of the files of a study until they are read."""
        return self._uploads / study_id

    def study(self, study_id: str) -> Path:
        """Folder of the Hounsfield units of a study."""
        return self._studies / study_id

    def make(self, path: Path) -> None:
        """Makes one of these folders.

        Raises:
          Refused: 507, if the disk is full.
        """
        try:
            path.mkdir(mode=0o700)
        except OSError as error:
            raise disk_full() from error

    def write(self, study: UploadedStudy) -> None:
        """Writes `study.json`.

        Raises:
          Refused: 507, if the disk is full.
        """
        try:
            # In their order, so that what is downloaded is the same after a restart.
            content = json.dumps(study.to_json(), indent=1)
            write_text(self.study(study.study_id) / _STUDY_JSON, f"{content}\n")
        except (OSError, InputError) as error:
            raise disk_full() from error

    def read_all(self) -> Iterator[UploadedStudy]:
        """Reads all studies, and deletes what is none: not committed, damaged, another version."""
        for folder in _own(self._studies):
            study = _read(folder)
            if study is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                yield study

    def size(self, study_id: str) -> int:
        """Size of a study's Hounsfield units and masks, bytes."""
        return sum(path.stat().st_size for path in _files(self.study(study_id)))

    def empty(self, study_id: str) -> None:
        """Deletes the files of a study, but not its folder."""
        for path in _files(self.study(study_id)):
            path.unlink(missing_ok=True)

    def remove_upload(self, study_id: str) -> None:
        """Deletes the uploaded files of a study."""
        shutil.rmtree(self.upload(study_id), ignore_errors=True)

    def remove(self, study_id: str) -> None:
        """Deletes all of a study."""
        self.remove_upload(study_id)
        shutil.rmtree(self.study(study_id), ignore_errors=True)

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self._studies).free


def _own(folder: Path) -> list[Path]:
    """Folders that a server may have made; whatever else lies there is left alone."""
    return sorted(
        path
        for path in folder.iterdir()
        if _STUDY_ID.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


def _read(folder: Path) -> UploadedStudy | None:
    try:
        content = parse_json(read_text(folder / _STUDY_JSON, _MOST_BYTES))
        study = UploadedStudy.from_json(content)
        if study.model is not None:
            Model(**study.model)  # that of another version would fail in every answer
    except (AttributeError, OSError, ValueError, TypeError, KeyError):
        return None
    # A file of another place would be sent to whoever knows the study's key.
    is_whole = study.study_id == folder.name and not any(map(Path.is_symlink, folder.iterdir()))
    return study if is_whole else None


def _files(folder: Path) -> Sequence[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
