"""The studies of a server: in memory while they are worked on, on the disk once they are finished.

A study's folder holds `study.json` and Hounsfield units. Neither holds a name, an id or a date of a
DICOM file: only geometry, pixels and predictions.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ich_tf.dicom.crop import Box
from ich_tf.runtime.files import write_json
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits

_LOG = logging.getLogger(__name__)

QUEUED, READING, PREDICTING, DONE, FAILED = "queued", "reading", "predicting", "done", "failed"
_FINISHED = (DONE, FAILED)
_STUDY_JSON = "study.json"
_VERSION = 1


@dataclass(frozen=True)
class SliceFile:
    """The geometry of a slice, and the file of its Hounsfield units.

    Attributes:
      file: Name of the file in the study's folder; float32 [rows, columns], little endian.
      rows, columns: Number of pixels.
      position_mm, orientation, spacing_mm: As in `dicom.Header`.
      box: Part of the slice that the model saw; empty for all of it.
    """

    file: str
    rows: int
    columns: int
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    box: Box = ()


@dataclass(frozen=True)
class PredictedSeries:
    """A series of a study with its predictions, slices from the feet to the head.

    Attributes:
      slices: The n slices.
      gantry_tilt_deg: Gantry tilt of the first slice, degrees.
      z_mm: Position of each slice along the series' normal, mm, [n].
      probabilities: Probability of each class in each slice, [n, 6].
      summary: Summary of the series as `series_summary.summarize` makes it, with the index of each
        class's most suspicious slice as `most_suspicious`, and `SeriesVolumes.by_kind` as
        `volumes`, None for a model without masks.
      areas_mm2: Area of each class's mask in each slice, mm2, [n, 6]; empty for a model without
        masks. The masks lie beside the Hounsfield units (`slice_masks`).
    """

    slices: tuple[SliceFile, ...]
    gantry_tilt_deg: float
    z_mm: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    summary: dict[str, Any]
    areas_mm2: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class LeftOutSeries:
    """A series that was not chosen.

    Attributes:
      num_slices: Number of its slices.
      description: What it is, in closed terms and numbers.
      reason: What counts against it, to follow "its series".
    """

    num_slices: int
    description: str
    reason: str


@dataclass(frozen=True)
class Rejected:
    """A file without a slice.

    Attributes:
      file: Index among the files that were sent, from 0.
      entry: Index in the archive, from 0; None for a file that was in none.
      reason: Stable code for programs.
      message: Text for people.
    """

    file: int
    entry: int | None
    reason: str
    message: str


@dataclass
class UploadedStudy:
    """A study; its fields change as it is worked on, but only `Studies` adds and removes studies.

    Attributes:
      study_id: Random key; anyone who knows it may see the study.
      state: `queued`, `reading`, `predicting`, `done` or `failed`.
      num_files: Number of files once archives are unpacked.
      done, total: Number of files that are read and that there are while `reading`; of slices
        while `predicting`.
      error: Code and message of a failure; None for none.
      rejected: Files without a slice.
      left_out: Series that were not chosen.
      series: Series with their predictions; empty until the study is done.
      model_sha256: Hash of the model that predicted it.
      finished_at: Time at which it was done or failed, seconds since 1970; 0 before.
      size: Size of its folder, bytes; 0 before it is finished.
      is_cancelled: Whether work on it should stop.
    """

    study_id: str
    state: str = QUEUED
    num_files: int = 0
    done: int = 0
    total: int = 0
    error: dict[str, str] | None = None
    rejected: list[Rejected] = field(default_factory=list)
    left_out: list[LeftOutSeries] = field(default_factory=list)
    series: list[PredictedSeries] = field(default_factory=list)
    model_sha256: str = ""
    finished_at: float = 0.0
    size: int = 0
    is_cancelled: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the study is done or has failed, so that it changes no more."""
        return self.state in _FINISHED


class Studies:
    """All studies of a server, and their folders."""

    def __init__(self, folder: Path, limits: Limits, lock: FolderLock) -> None:
        """Stores its arguments; `open` is the way to make one.

        Args:
          folder: State folder of the server.
          limits: Limits of the server.
          lock: Lock that keeps other servers off the folder, taken.
        """
        self._limits = limits
        self._uploads, self._folder = folder / "uploads", folder / "studies"
        self._folder_lock = lock
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
        lock = FolderLock(folder, "Give each server its own --state_dir.", mode=0o700)
        lock.take()
        studies = cls(folder, limits, lock)
        shutil.rmtree(studies._uploads, ignore_errors=True)
        for path in (studies._uploads, studies._folder):
            path.mkdir(exist_ok=True, mode=0o700)
        studies._load()
        return studies

    def close(self) -> None:
        """Frees the state folder for another server."""
        self._folder_lock.free()

    def upload_folder(self, study: UploadedStudy) -> Path:
        """Folder of the files of a study until they are read."""
        return self._uploads / study.study_id

    def folder(self, study: UploadedStudy) -> Path:
        """Folder of the Hounsfield units of a study."""
        return self._folder / study.study_id

    def reserve(self) -> UploadedStudy:
        """Makes a new study with its folders, before its upload is received.

        Raises:
          Refused: 503, if the queue is full.
        """
        with self._lock:
            self.sweep()
            if self.num_unfinished() >= self._limits.queue:
                raise Refused(
                    503,
                    "BUSY",
                    f"{self._limits.queue} studies wait or are worked on. Send it again in a few "
                    "seconds.",
                    retry_after=2,
                )
            study = UploadedStudy(secrets.token_urlsafe(18))
            self._studies[study.study_id] = study
        self.upload_folder(study).mkdir(mode=0o700)
        self.folder(study).mkdir(mode=0o700)
        return study

    def commit(self, study: UploadedStudy) -> None:
        """Writes a study to the disk, so that a restart can report it as interrupted."""
        self._write(study)

    def finish(self, study: UploadedStudy, error: Refused | None = None) -> None:
        """Marks a study as done, or as failed with an error, and deletes its uploaded files."""
        shutil.rmtree(self.upload_folder(study), ignore_errors=True)
        if error is not None:
            study.error = {"code": error.code, "message": error.message}
            study.series = []
            _empty(self.folder(study))
        size = sum(path.stat().st_size for path in _files(self.folder(study)))
        # A study that is deleted meanwhile is seen as either finished or cancelled.
        with self._lock:
            study.finished_at, study.size = time.time(), size
            study.state = DONE if error is None else FAILED
            if study.is_cancelled:
                self._remove(study)
            else:
                self._write(study)
                self.sweep()

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

    def num_unfinished(self) -> int:
        """Number of studies that are uploaded, wait or are worked on."""
        with self._lock:
            return sum(not study.is_finished for study in self._studies.values())

    def num_finished(self) -> int:
        """Number of finished studies that are kept."""
        with self._lock:
            return sum(study.is_finished for study in self._studies.values())

    def sweep(self) -> None:
        """Deletes finished studies that are too old or too many, the oldest first."""
        with self._lock:
            finished = [study for study in self._studies.values() if study.is_finished]
            finished.sort(key=lambda study: study.finished_at, reverse=True)
            size = 0
            for place, study in enumerate(finished):
                size += study.size
                if (
                    place >= self._limits.kept_studies
                    or (place and size > self._limits.kept_mb * MIB)
                    or not self.expires_in(study)
                ):
                    self._remove(study)

    def _remove(self, study: UploadedStudy) -> None:
        with self._lock:
            study.is_cancelled = True
            self._studies.pop(study.study_id, None)
        shutil.rmtree(self.upload_folder(study), ignore_errors=True)
        shutil.rmtree(self.folder(study), ignore_errors=True)

    def _write(self, study: UploadedStudy) -> None:
        content = {**dataclasses.asdict(study), "version": _VERSION}
        write_json(self.folder(study) / _STUDY_JSON, content)

    def _load(self) -> None:
        lost = 0
        for folder in sorted(self._folder.iterdir()):
            try:
                study = _read_study(json.loads((folder / _STUDY_JSON).read_text("utf-8")))
                if study.study_id != folder.name:
                    raise ValueError("the file of another study")
            # A study that was never committed, is of another version, or is damaged.
            except (OSError, ValueError, TypeError, KeyError):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._studies[study.study_id] = study
            if not study.is_finished:
                lost += 1
                text = "the server was restarted before the study was done. Send it again."
                self.finish(study, Refused(500, "INTERRUPTED", text))
        _LOG.info("%d former studies, of which %d were interrupted", self.num_finished(), lost)
        self.sweep()


def _read_study(content: dict[str, Any]) -> UploadedStudy:
    """Inverse of `Studies._write`."""
    if content.pop("version") != _VERSION:
        raise ValueError("another version")
    content["rejected"] = [Rejected(**file) for file in content["rejected"]]
    # Studies of an older server have none.
    content["left_out"] = [LeftOutSeries(**series) for series in content.get("left_out", ())]
    content["series"] = [
        PredictedSeries(
            **{
                **series,
                "slices": tuple(map(_read_slice_file, series["slices"])),
                "z_mm": tuple(series["z_mm"]),
                "probabilities": tuple(map(tuple, series["probabilities"])),
                # Studies of an older server have none.
                "areas_mm2": tuple(map(tuple, series.get("areas_mm2", ()))),
            }
        )
        for series in content["series"]
    ]
    return UploadedStudy(**content)


def _read_slice_file(content: dict[str, Any]) -> SliceFile:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    return SliceFile(**values)


def _empty(folder: Path) -> None:
    for path in _files(folder):
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Sequence[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
