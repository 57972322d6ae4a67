"""The studies of a server: in memory while they are worked on, on the disk once they are finished.

A study's folder holds `study.json` and Hounsfield units. Neither holds a name, an id or a date of a
DICOM file: only geometry, pixels and what was predicted.
"""

from __future__ import annotations

import dataclasses
import fcntl
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
from ich_tf.errors import InputError
from ich_tf.runtime.files import write_json
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits

_LOG = logging.getLogger(__name__)

QUEUED, READING, PREDICTING, DONE, FAILED = "queued", "reading", "predicting", "done", "failed"
_FINISHED = (DONE, FAILED)
_STUDY_JSON = "study.json"
_VERSION = 1


@dataclass(frozen=True)
class SlicePlace:
    """Where a slice lies and where its pixels are.

    Attributes:
      file: Of its Hounsfield units, within the study's folder.
      rows, columns: Pixels.
      position_mm, orientation, spacing_mm: As of `dicom.Header`.
      box: What the model saw of it; empty for all.
    """

    file: str
    rows: int
    columns: int
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    box: Box = ()


@dataclass(frozen=True)
class FoundSeries:
    """A series of a study, in the order of the body.

    Attributes:
      slices: Its slices.
      gantry_tilt_deg: Of the first.
      z_mm: Of each, along the series' normal.
      probabilities: Of each, six.
      summary: Of the whole, as `series_summary.summarize` makes it, and the most suspicious slices.
    """

    slices: tuple[SlicePlace, ...]
    gantry_tilt_deg: float
    z_mm: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    summary: dict[str, Any]


@dataclass(frozen=True)
class Rejected:
    """A file that gave no slice.

    Attributes:
      file: Its place among the files that were sent.
      entry: Its place in the archive, if it was in one.
      reason: A stable code.
      message: For people.
    """

    file: int
    entry: int | None
    reason: str
    message: str


@dataclass
class Study:
    """A study; its fields change as it is worked on, `Studies` alone adds and removes studies.

    Attributes:
      study_id: Random; whoever knows it may see the study.
      state: `queued`, `reading`, `predicting`, `done` or `failed`.
      num_files: Once archives are unpacked.
      done, total: Files read, or slices predicted.
      error: Why it failed: code and message.
      rejected: Files without a slice.
      series: Once it is done.
      model_sha256: Of the model that predicted it.
      finished_at: Seconds since 1970; 0 before.
      size: Bytes on the disk.
      is_cancelled: Whoever works on it should stop.
    """

    study_id: str
    state: str = QUEUED
    num_files: int = 0
    done: int = 0
    total: int = 0
    error: dict[str, str] | None = None
    rejected: list[Rejected] = field(default_factory=list)
    series: list[FoundSeries] = field(default_factory=list)
    model_sha256: str = ""
    finished_at: float = 0.0
    size: int = 0
    is_cancelled: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will change."""
        return self.state in _FINISHED


class Studies:
    """All studies of a server, and their folders."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Takes the folder, reads finished studies, and marks the others as lost.

        Raises:
          InputError: If the folder cannot be written, or another server has it.
        """
        self._limits = limits
        self._uploads, self._folder = folder / "uploads", folder / "studies"
        self._lock = threading.RLock()
        self._studies: dict[str, Study] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = open(folder / "lock", "w")  # noqa: SIM115 - held until the end
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock_file.close()
            raise InputError(
                f"{folder}: another server works with this folder. Give each its own --state_dir."
            ) from error
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror}).") from error
        shutil.rmtree(self._uploads, ignore_errors=True)
        for path in (self._uploads, self._folder):
            path.mkdir(exist_ok=True, mode=0o700)
        self._load()

    def close(self) -> None:
        """Lets another server have the folder."""
        self._lock_file.close()

    def upload_folder(self, study: Study) -> Path:
        """Where the files of a study lie until they are read."""
        return self._uploads / study.study_id

    def folder(self, study: Study) -> Path:
        """Where its Hounsfield units lie."""
        return self._folder / study.study_id

    def reserve(self) -> Study:
        """A new study, with folders, before its upload is received.

        Raises:
          Refused: 503, if as many are under way as are allowed.
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
            study = Study(secrets.token_urlsafe(18))
            self._studies[study.study_id] = study
        self.upload_folder(study).mkdir(mode=0o700)
        self.folder(study).mkdir(mode=0o700)
        return study

    def commit(self, study: Study) -> None:
        """Notes on the disk that there is a study, so that a restart can say that it is lost."""
        self._write(study)

    def finish(self, study: Study, error: Refused | None = None) -> None:
        """Notes that a study is done, or why it failed; its uploaded files go."""
        shutil.rmtree(self.upload_folder(study), ignore_errors=True)
        if error is not None:
            study.error = {"code": error.code, "message": error.message}
            study.series = []
            _empty(self.folder(study))
        size = sum(path.stat().st_size for path in _files(self.folder(study)))
        # One that is deleted meanwhile is either seen as finished or as cancelled.
        with self._lock:
            study.finished_at, study.size = time.time(), size
            study.state = DONE if error is None else FAILED
            if study.is_cancelled:
                self._remove(study)
            else:
                self._write(study)
                self.sweep()

    def drop(self, study: Study) -> None:
        """Forgets a study that never came to be, with all its files."""
        self._remove(study)

    def find(self, study_id: str) -> Study:
        """A study.

        Raises:
          Refused: 404.
        """
        with self._lock:
            self.sweep()
            study = self._studies.get(study_id)
        if study is None or study.is_cancelled:
            raise Refused(
                404,
                "NO_STUDY",
                "there is no such study: it expired, was deleted, or never was. Send it again.",
            )
        return study

    def delete(self, study_id: str) -> None:
        """Deletes a study; one that is worked on goes as soon as that stops.

        Raises:
          Refused: 404.
        """
        study = self.find(study_id)
        with self._lock:
            study.is_cancelled = True
            if study.is_finished:
                self._remove(study)

    def expires_in(self, study: Study) -> float:
        """Seconds that a study is kept at most; of one that is worked on the whole time."""
        if not study.is_finished:
            return self._limits.kept_seconds
        return max(0.0, study.finished_at + self._limits.kept_seconds - time.time())

    def num_unfinished(self) -> int:
        """How many are received, wait or are worked on."""
        with self._lock:
            return sum(not one.is_finished for one in self._studies.values())

    def num_finished(self) -> int:
        """How many are kept."""
        with self._lock:
            return sum(one.is_finished for one in self._studies.values())

    def sweep(self) -> None:
        """Deletes finished studies that are too old or too many, the oldest first."""
        with self._lock:
            finished = [one for one in self._studies.values() if one.is_finished]
            finished.sort(key=lambda one: one.finished_at, reverse=True)
            size = 0
            for place, one in enumerate(finished):
                size += one.size
                if (
                    place >= self._limits.kept_studies
                    or (place and size > self._limits.kept_mb * MIB)
                    or not self.expires_in(one)
                ):
                    self._remove(one)

    def _remove(self, study: Study) -> None:
        with self._lock:
            study.is_cancelled = True
            self._studies.pop(study.study_id, None)
        shutil.rmtree(self.upload_folder(study), ignore_errors=True)
        shutil.rmtree(self.folder(study), ignore_errors=True)

    def _write(self, study: Study) -> None:
        content = {**dataclasses.asdict(study), "version": _VERSION}
        write_json(self.folder(study) / _STUDY_JSON, content)

    def _load(self) -> None:
        lost = 0
        for folder in sorted(self._folder.iterdir()):
            try:
                study = _study(json.loads((folder / _STUDY_JSON).read_text("utf-8")))
                if study.study_id != folder.name:
                    raise ValueError("another study's")
            # What was begun but not noted, is of another version, or is damaged.
            except (OSError, ValueError, TypeError, KeyError):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._studies[study.study_id] = study
            if not study.is_finished:
                lost += 1
                gone = "the server was started anew before the study was done. Send it again."
                self.finish(study, Refused(500, "INTERRUPTED", gone))
        _LOG.info("%d studies of before are kept, %d were not done", self.num_finished(), lost)
        self.sweep()


def _study(content: dict[str, Any]) -> Study:
    """The inverse of `Studies._write`."""
    if content.pop("version") != _VERSION:
        raise ValueError("another version")
    content["rejected"] = [Rejected(**one) for one in content["rejected"]]
    content["series"] = [
        FoundSeries(
            **{
                **one,
                "slices": tuple(_place(place) for place in one["slices"]),
                "z_mm": tuple(one["z_mm"]),
                "probabilities": tuple(map(tuple, one["probabilities"])),
            }
        )
        for one in content["series"]
    ]
    return Study(**content)


def _place(content: dict[str, Any]) -> SlicePlace:
    values: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one for name, one in content.items()
    }
    return SlicePlace(**values)


def _empty(folder: Path) -> None:
    for path in _files(folder):
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Sequence[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
