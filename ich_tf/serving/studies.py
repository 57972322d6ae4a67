"""The studies of a server: in memory while they are worked on, on the disk once they are finished.

Memory comes first: a study whose `study.json` cannot be written is answered all the same, and is
lost with a restart.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from pathlib import Path

from ich_tf.serving.errors import Refused, disk_full
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.monitoring import log_failure
from ich_tf.serving.study import DONE, FAILED, QUEUED, READING, RECEIVING, UploadedStudy
from ich_tf.serving.study_folders import StudyFolders

_LOG = logging.getLogger(__name__)
# Bytes on the disk for each byte of an upload: its file, and its Hounsfield units as float32 where
# the file had int16.
_BYTES_OF_UPLOAD = 3


class Studies:
    """All studies of a server, and their folders."""

    def __init__(self, folders: StudyFolders, limits: Limits) -> None:
        """Stores its arguments; `open` is the way to make one.

        Args:
          folders: Folders of the studies.
          limits: Limits of the server.
        """
        self._folders, self._limits = folders, limits
        self._lock = threading.RLock()
        self._studies: dict[str, UploadedStudy] = {}

    @classmethod
    def open(cls, folder: Path, limits: Limits) -> Studies:
        """Locks the state folder, reads its finished studies, and marks the others as failed.

        Args:
          folder: State folder of the server; made if there is none.
          limits: Limits of the server.

        Raises:
          InputError: If the folder cannot be written, or another server uses it.
        """
        studies = cls(StudyFolders(folder), limits)
        studies._load()
        return studies

    def close(self) -> None:
        """Frees the state folder for another server."""
        self._folders.close()

    def upload_folder(self, study: UploadedStudy) -> Path:
        """Folder of the files of a study until they are read."""
        return self._folders.upload(study.study_id)

    def folder(self, study: UploadedStudy) -> Path:
        """Folder of the Hounsfield units of a study."""
        return self._folders.study(study.study_id)

    def reserve(self, size: int = 0) -> UploadedStudy:
        """Makes a new study with its folders, before its upload is received.

        An upload takes no place in the queue until all of it has come: clients on slow lines would
        close the server for all others.

        Args:
          size: Size of the upload, bytes; 0 if unknown.

        Raises:
          Refused: 503, if the queue is full; 507, if the disk has no room for it.
        """
        with self._lock:
            self.sweep()
            self._check_queue()
            self._make_room(_BYTES_OF_UPLOAD * size)
            study = self._add(RECEIVING)
        try:
            self._folders.make(self.upload_folder(study))
        except Refused:
            self._remove(study)
            raise
        return study

    def commit(self, study: UploadedStudy) -> None:
        """Takes a study that was received into the queue.

        It is written to the disk, so that a restart can report it as interrupted.

        Raises:
          Refused: 503, if the queue has filled meanwhile; 507, if the disk is full.
        """
        with self._lock:
            self._check_queue()
            study.state = QUEUED
        self._folders.write(study)

    def split(self, study: UploadedStudy, count: int) -> list[UploadedStudy]:
        """Makes further studies of an upload that holds several.

        Args:
          study: Study of the upload, which becomes the first.
          count: Number of studies in the upload, 1 or more.

        Returns:
          All `count` studies; each knows the keys of all.

        Raises:
          Refused: 507, if the disk is full.
        """
        with self._lock:
            studies = [study, *(self._add(READING) for _ in range(count - 1))]
            for one in studies:
                one.upload = [each.study_id for each in studies]
                one.received_at = study.received_at
        return studies

    def finish(self, study: UploadedStudy, error: Refused | None = None) -> None:
        """Marks a study as done, or as failed with an error, and deletes its uploaded files.

        Never raises: whatever the disk does, memory holds how the study ended.
        """
        if error is not None:
            study.error = {"code": error.code, "message": error.message}
            study.series = []
        self._folders.remove_upload(study.study_id)
        # A study that is deleted meanwhile is seen as either finished or cancelled.
        with self._lock:
            study.finished_at = time.time()
            study.state = DONE if error is None else FAILED
            try:
                if error is not None:
                    self._folders.empty(study.study_id)
                study.size = self._folders.size(study.study_id)
                if study.is_cancelled:
                    self._remove(study)
                else:
                    self._folders.write(study)
                    self.sweep()
            except Exception as failure:
                log_failure("keeping a finished study", failure)

    def drop(self, study: UploadedStudy) -> None:
        """Deletes a study that was reserved or worked on, with all its files."""
        self._remove(study)

    def find(self, study_id: str) -> UploadedStudy:
        """Finds a study.

        Raises:
          Refused: 404, if there is no such study.
        """
        with self._lock:
            self.sweep()
            study = self._studies.get(study_id)
        if study is None or study.is_cancelled:
            raise Refused(
                404,
                "NO_STUDY",
                "there is no such study: it expired, was deleted or was never sent. Send it again.",
            )
        return study

    def all(self) -> list[UploadedStudy]:
        """Lists the studies that are not cancelled, the newest first."""
        with self._lock:
            self.sweep()
            studies = [study for study in self._studies.values() if not study.is_cancelled]
        return sorted(studies, key=lambda study: study.received_at, reverse=True)

    def delete(self, study_id: str) -> None:
        """Deletes a study; one that is worked on is deleted as soon as work on it stops.

        Raises:
          Refused: 404, if there is no such study.
        """
        study = self.find(study_id)
        with self._lock:
            study.is_cancelled = True
            if study.is_finished:
                self._remove(study)

    def expires_in(self, study: UploadedStudy) -> float:
        """Seconds until a study is deleted; all of `kept_seconds` for one that is unfinished."""
        if not study.is_finished:
            return self._limits.kept_seconds
        return max(0.0, study.finished_at + self._limits.kept_seconds - time.time())

    def num_queued(self) -> int:
        """Number of studies that wait or are worked on."""
        with self._lock:
            return sum(
                not study.is_finished and study.state != RECEIVING
                for study in self._studies.values()
            )

    def num_finished(self) -> int:
        """Number of finished studies that are kept."""
        with self._lock:
            return sum(study.is_finished for study in self._studies.values())

    def kept_bytes(self) -> int:
        """Size of the finished studies on the disk."""
        with self._lock:
            return sum(study.size for study in self._studies.values() if study.is_finished)

    def free_bytes(self) -> int:
        """Free space of the disk that holds the state folder."""
        return self._folders.free_bytes()

    def has_room(self) -> bool:
        """Whether the disk has the least free space, without studies that could be deleted."""
        least = self._limits.min_free_mb * MIB
        return self.free_bytes() + self.kept_bytes() >= least

    def sweep(self) -> None:
        """Deletes finished studies that are too old or too many, the oldest first."""
        with self._lock:
            size = 0
            for place, study in enumerate(self._finished()):
                size += study.size
                if (
                    place >= self._limits.kept_studies
                    or (place and size > self._limits.kept_mb * MIB)
                    or not self.expires_in(study)
                ):
                    self._remove(study)

    def _finished(self) -> list[UploadedStudy]:
        """Finished studies, the newest first."""
        finished = [study for study in self._studies.values() if study.is_finished]
        return sorted(finished, key=lambda study: study.finished_at, reverse=True)

    def _check_queue(self) -> None:
        if self.num_queued() >= self._limits.queue:
            raise Refused(
                503,
                "BUSY",
                f"{self._limits.queue} studies wait or are worked on. Send it again in a few "
                "seconds.",
                retry_after=2,
            )

    def _make_room(self, size: int) -> None:
        """Deletes the oldest finished studies until the disk has room.

        None is deleted where that would not be enough: something else fills the disk.

        Raises:
          Refused: 507, if it would not be.
        """
        needed = size + self._limits.min_free_mb * MIB
        if self.free_bytes() + self.kept_bytes() < needed:
            raise disk_full()
        for study in reversed(self._finished()):
            if self.free_bytes() >= needed:
                return
            self._remove(study)

    def _add(self, state: str) -> UploadedStudy:
        key = secrets.token_urlsafe(18)
        study = UploadedStudy(key, [key], time.time(), state)
        self._folders.make(self.folder(study))
        self._studies[key] = study
        return study

    def _remove(self, study: UploadedStudy) -> None:
        with self._lock:
            study.is_cancelled = True
            self._studies.pop(study.study_id, None)
        self._folders.remove(study.study_id)

    def _load(self) -> None:
        lost = 0
        for study in self._folders.read_all():
            self._studies[study.study_id] = study
            if not study.is_finished:
                lost += 1
                text = "the server was restarted before the study was done. Send it again."
                self.finish(study, Refused(500, "INTERRUPTED", text))
        _LOG.info("%d former studies, of which %d were interrupted", self.num_finished(), lost)
        self.sweep()
