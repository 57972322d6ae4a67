"""A study on the server: its slices, series and predictions, and their form as `study.json`.

None of it holds a name, an id or a date of a DICOM file: only geometry, closed terms, predictions
and places in the upload. With `--keep_ids` slices keep their SOP instance UIDs.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from ich_tf.dicom.crop import Box
from ich_tf.dicom.series_description import SeriesDescription
from ich_tf.dicom.series_warnings import SeriesWarning

RECEIVING, QUEUED, READING, PREDICTING, DONE, FAILED = (
    "receiving", "queued", "reading", "predicting", "done", "failed",
)  # fmt: skip
_FINISHED = (DONE, FAILED)
_VERSION = 2
# Of the files that `decoding` writes.
_SLICE_NAME = re.compile(r"[0-9]+(-[0-9]+)*")


@dataclass(frozen=True)
class SliceFile:
    """The geometry of a slice, where it came from, and the file of its Hounsfield units.

    Attributes:
      name: Name of the file in the study's folder; float32 [rows, columns], little endian.
      rows, columns: Number of pixels.
      position_mm, orientation, spacing_mm: As in `dicom.Header`.
      box: Part of the slice that the model saw; empty for all of it.
      file: Index of its file among those that were sent, from 0.
      entry: Index of its file in the archive, from 0; None for a file that was in none.
      frame: Number of the frame in a multi-frame file, from 1; 0 in a file of one slice.
      instance: InstanceNumber; -1 if unknown.
      sop_instance_uid: SOP instance UID; empty unless the server keeps ids.
    """

    name: str
    rows: int
    columns: int
    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    box: Box = ()
    file: int = 0
    entry: int | None = None
    frame: int = 0
    instance: int = -1
    sop_instance_uid: str = ""


@dataclass(frozen=True)
class DescribedSeries:
    """A series in closed terms and numbers, as `SeriesDescription` without its UID.

    Attributes:
      series_number: SeriesNumber; None if unknown.
      pass_number: Number of the pass in its series, from 1.
      text: Description for people.
      kernel: Class of the kernel, one of `KERNELS`.
      thickness_mm: Median thickness of its slices; None if unknown.
      slice_distance_mm: Median distance between its slices; None for a single slice.
      coverage_mm: Length of the body that it covers.
      contrast, origin, content: As in `SeriesDescription`.
    """

    series_number: int | None
    pass_number: int
    text: str
    kernel: str
    thickness_mm: float | None
    slice_distance_mm: float | None
    coverage_mm: float
    contrast: str
    origin: str
    content: str

    @classmethod
    def of(cls, described: SeriesDescription) -> DescribedSeries:
        """Takes a description's terms and numbers."""
        return cls(
            series_number=described.series_number if described.series_number >= 0 else None,
            pass_number=described.number_of_pass,
            text=described.text(),
            kernel=described.kernel,
            thickness_mm=described.thickness_mm or None,
            slice_distance_mm=described.spacing_mm or None,
            coverage_mm=described.coverage_mm,
            contrast=described.contrast,
            origin=described.origin,
            content=described.content,
        )


@dataclass(frozen=True)
class PredictedSeries:
    """A series of a study with its predictions, slices from the feet to the head.

    Attributes:
      slices: The n slices.
      described: What the series is.
      chosen: Why it was chosen.
      gantry_tilt_deg: Gantry tilt of the first slice, degrees.
      z_mm: Position of each slice along the series' normal, mm, [n].
      probabilities: Probability of each class in each slice, [n, 6].
      summary: Summary of the series as `series_summary.summarize` makes it, with the index of each
        class's most suspicious slice as `most_suspicious`, and `SeriesVolumes.by_kind` as
        `volumes`, None for a model without masks.
      areas_mm2: Area of each class's mask in each slice, mm2, [n, 6]; empty for a model without
        masks. The masks lie beside the Hounsfield units (`slice_masks`).
      warnings: What speaks against believing the predictions.
    """

    slices: tuple[SliceFile, ...]
    described: DescribedSeries
    chosen: str
    gantry_tilt_deg: float
    z_mm: tuple[float, ...]
    probabilities: tuple[tuple[float, ...], ...]
    summary: dict[str, Any]
    areas_mm2: tuple[tuple[float, ...], ...] = ()
    warnings: tuple[SeriesWarning, ...] = ()


@dataclass(frozen=True)
class LeftOutSeries:
    """A series that was not chosen.

    Attributes:
      described: What the series is.
      num_slices: Number of its slices.
      reason: What counts against it, to follow "its series".
      file, entry: Place of its first slice's file in the upload, as in `SliceFile`.
    """

    described: DescribedSeries
    num_slices: int
    reason: str
    file: int
    entry: int | None


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
      upload: Keys of the studies of its upload, this one included, in the order of their files.
      received_at: Time at which its upload began, seconds since 1970.
      state: `receiving`, `queued`, `reading`, `predicting`, `done` or `failed`.
      num_files: Number of files once archives are unpacked; of an upload of several studies, of
        those that hold slices of this one, and in the first also of those without a slice.
      done, total: Number of files that are read and that there are while `reading`; of slices
        while `predicting`.
      error: Code and message of a failure; None for none.
      rejected: Files without a slice; of an upload of several studies, in the first of them.
      left_out: Series that were not chosen.
      series: Series with their predictions; empty until the study is done.
      model: Answer of the model and calibration that predicted it (`answers.Model`); None before.
      finished_at: Time at which it was done or failed, seconds since 1970; 0 before.
      size: Size of its folder, bytes; 0 before it is finished.
      is_cancelled: Whether work on it should stop.
    """

    study_id: str
    upload: list[str] = field(default_factory=list)
    received_at: float = 0.0
    state: str = QUEUED
    num_files: int = 0
    done: int = 0
    total: int = 0
    error: dict[str, str] | None = None
    rejected: list[Rejected] = field(default_factory=list)
    left_out: list[LeftOutSeries] = field(default_factory=list)
    series: list[PredictedSeries] = field(default_factory=list)
    model: dict[str, Any] | None = None
    finished_at: float = 0.0
    size: int = 0
    is_cancelled: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether the study is done or has failed, so that it changes no more."""
        return self.state in _FINISHED

    def to_json(self) -> dict[str, Any]:
        """Returns the attributes as JSON values; `from_json` is the inverse."""
        return {**dataclasses.asdict(self), "version": _VERSION}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> UploadedStudy:
        """Reads the attributes from JSON values.

        Raises:
          TypeError, KeyError, ValueError: If the content is not a study's, or of another version.
        """
        content = dict(content)
        if content.pop("version") != _VERSION:
            raise ValueError("another version")
        content["rejected"] = [Rejected(**file) for file in content["rejected"]]
        content["left_out"] = [_read_left_out(series) for series in content["left_out"]]
        content["series"] = [_read_series(series) for series in content["series"]]
        return cls(**content)


def _read_left_out(content: dict[str, Any]) -> LeftOutSeries:
    return LeftOutSeries(**{**content, "described": DescribedSeries(**content["described"])})


def _read_series(content: dict[str, Any]) -> PredictedSeries:
    return PredictedSeries(
        **{
            **content,
            "slices": tuple(map(_read_slice_file, content["slices"])),
            "described": DescribedSeries(**content["described"]),
            "z_mm": tuple(content["z_mm"]),
            "probabilities": tuple(map(tuple, content["probabilities"])),
            "areas_mm2": tuple(map(tuple, content["areas_mm2"])),
            "warnings": tuple(SeriesWarning(**warning) for warning in content["warnings"]),
        }
    )


def _read_slice_file(content: dict[str, Any]) -> SliceFile:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    if not _SLICE_NAME.fullmatch(values["name"]):
        raise ValueError(f"{values['name'][:80]!r} is no file of a study")
    return SliceFile(**values)
