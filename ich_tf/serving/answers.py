"""Answers of the server, JSON and CSV. Clients rely on the names of classes and fields."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from ich_tf.dicom.geometry import edge_directions

NOTE = "Research only - not for clinical use"

State = Literal["receiving", "queued", "reading", "predicting", "done", "failed"]


class ErrorDetail(BaseModel):
    """A stable code for programs, and a text: what was given, what was expected, what to do."""

    code: str
    message: str


class ErrorAnswer(BaseModel):
    """Body of every answer with a status of 400 or more."""

    error: ErrorDetail


class Accepted(BaseModel):
    """A study that was accepted."""

    study_id: str
    state: State
    num_files: int


class StudyProgress(BaseModel):
    """Number of files read while `reading`, of slices predicted while `predicting`."""

    done: int
    total: int


class RejectedFile(BaseModel):
    """A file without a slice: its index in the upload and in its archive; names are not kept."""

    file: int
    entry: int | None
    reason: str
    message: str


class SeriesDescriptionAnswer(BaseModel):
    """What a series is, in closed terms and numbers; `text` says the same for people.

    The free text of SeriesDescription is not kept: it may name the patient.
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


class LeftOutSeriesAnswer(BaseModel):
    """A series that was not chosen: what it is, what counts against it, its first file."""

    num_slices: int
    description: str
    reason: str
    described: SeriesDescriptionAnswer
    file: int
    entry: int | None


class SeriesWarningAnswer(BaseModel):
    """What speaks against believing a series' predictions: a code for programs, a text."""

    code: str
    message: str


class SliceAnswer(BaseModel):
    """Where a slice came from, and where it lies.

    `file` is the index of its file in the upload and `entry` that in the archive, as in
    `rejected`; `frame` counts from 1 in a multi-frame file; `position_mm` is the centre of its
    first pixel in patient coordinates, as ImagePositionPatient has it. `sop_instance_uid` is null
    unless the server runs with --keep_ids.
    """

    file: int
    entry: int | None
    frame: int | None
    instance_number: int | None
    position_mm: tuple[float, ...]
    sop_instance_uid: str | None


class Orientation(BaseModel):
    """Direction in the patient at each edge of the image: R, L, A, P, H or F."""

    left: str
    right: str
    top: str
    bottom: str


class SeriesSummary(BaseModel):
    """Probabilities and decisions for a series as a whole, by class.

    `abstention` are the answers of a model that was calibrated to leave exams to people, null for
    any other. `volumes` are millilitres by kind (`ml`, `low_ml`, `high_ml`, `likely_low_ml`,
    `likely_high_ml`, `abc2_ml`) and class, of a model with masks.
    """

    max: dict[str, float]
    noisy_or: dict[str, float]
    series_model: dict[str, float] | None
    decisions: dict[str, bool | None]
    abstention: dict[str, Literal["yes", "no", "abstain"]] | None = None
    most_suspicious: dict[str, int]
    volumes: dict[str, dict[str, float | None]] | None = None


class SeriesAnswer(BaseModel):
    """A series, slices from the feet to the head; classes in the order of `Model.classes`.

    `z_mm` is the position of each slice along the normal of the series, mm from the origin of the
    patient coordinates: for slices without tilt, the third number of ImagePositionPatient.
    `areas_mm2` are the areas of the masks in each slice, of a model with masks.
    """

    series: int
    described: SeriesDescriptionAnswer
    chosen: str
    warnings: list[SeriesWarningAnswer]
    num_slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    gantry_tilt_deg: float
    orientation: Orientation
    slices: list[SliceAnswer]
    z_mm: list[float]
    probabilities: list[list[float]]
    areas_mm2: list[list[float]] | None
    summary: SeriesSummary


class ListedStudy(BaseModel):
    """A study in the list: `any` is the greatest probability of a bleed in its series."""

    study_id: str
    state: State
    received_at: datetime
    expires_in_seconds: int
    num_series: int
    num_slices: int
    any: float | None
    decision: bool | None


class Thresholds(BaseModel):
    """Operating points by Youden's rule; null where there is none."""

    slice: dict[str, float | None]
    series: dict[str, float | None]


class Model(BaseModel):
    """Name, hashes and operating points of a model and its calibration, null without one.

    `mask_thresholds` are the least probabilities of a pixel that is marked; null for a model
    without masks. `heat_scale` is the logit that 255 stands for in heat maps of each class.
    """

    name: str
    version: str
    sha256: str
    calibration_sha256: str | None
    description: str
    postprocessing: str
    calibrated: bool
    classes: list[str]
    thresholds: Thresholds
    mask_thresholds: dict[str, float] | None
    heat_scale: dict[str, float]
    note: str = NOTE


class StudyResult(BaseModel):
    """A study; `series` is empty, and `model` null, until it is done.

    `upload` lists the keys of the studies that its files were of, this one included, from the
    state `predicting` on. `model` is the model that predicted it, which a restart of the server
    does not change.
    """

    study_id: str
    upload: list[str]
    received_at: datetime
    state: State
    error: ErrorDetail | None
    progress: StudyProgress
    num_files: int
    rejected: list[RejectedFile]
    left_out: list[LeftOutSeriesAnswer]
    series: list[SeriesAnswer]
    model: Model | None


class StudyAnswer(StudyResult):
    """A study, and the time for which the server still keeps it."""

    expires_in_seconds: int


class Sample(BaseModel):
    """A sample study that the server offers."""

    name: str
    description: str
    num_files: int


class Service(BaseModel):
    """What the server takes in an upload, how long it keeps studies, whether it lists them.

    `body_mb` is the size of a part of an upload, `unpacked_mb`, `files` and `studies` hold for all
    parts together.
    """

    body_mb: int
    unpacked_mb: int
    files: int
    studies: int
    kept_minutes: float
    lists_studies: bool
    keeps_ids: bool


class Health(BaseModel):
    """State of the server: `ok`."""

    status: str


class Results(BaseModel):
    """A finished study together with the model that predicted it: the same bytes at any time."""

    note: str
    model: Model
    study: StudyResult


def orientation_marks(orientation: tuple[float, ...]) -> Orientation:
    """Names the direction in the patient at each edge of an image.

    Args:
      orientation: Unit vectors along a row and along a column, 6 numbers; patient coordinates
        point to the left, to the back and to the head (PS3.3 C.7.6.2.1.1).

    Examples:
      >>> orientation_marks((1, 0, 0, 0, 1, 0))
      Orientation(left='R', right='L', top='A', bottom='P')
    """
    return Orientation(**edge_directions(orientation))
