"""Answers of the server, JSON and CSV. Clients rely on the names of classes and fields."""

from __future__ import annotations

import itertools
from typing import Literal

from pydantic import BaseModel

from ich_tf import __version__
from ich_tf.inference.masks.mask_network import MaskNetwork
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.prediction.series_summary import SERIES_LEVEL, csv_line
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.serving.studies import PredictedSeries, Studies, UploadedStudy

NOTE = "Research only - not for clinical use"
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}

State = Literal["queued", "reading", "predicting", "done", "failed"]


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


class LeftOutSeriesAnswer(BaseModel):
    """A series that was not chosen: what it is, and what counts against it."""

    num_slices: int
    description: str
    reason: str


class Orientation(BaseModel):
    """Direction in the patient at each edge of the image: R, L, A, P, H or F."""

    left: str
    right: str
    top: str
    bottom: str


class SeriesSummary(BaseModel):
    """Probabilities and decisions for a series as a whole, by class.

    `volumes` are millilitres by kind (`ml`, `low_ml`, `high_ml`, `likely_low_ml`, `likely_high_ml`,
    `abc2_ml`) and class, of a model with masks.
    """

    max: dict[str, float]
    noisy_or: dict[str, float]
    series_model: dict[str, float] | None
    decisions: dict[str, bool | None]
    most_suspicious: dict[str, int]
    volumes: dict[str, dict[str, float | None]] | None = None


class SeriesAnswer(BaseModel):
    """A series, slices from the feet to the head; classes in the order of `Model.classes`.

    `areas_mm2` are the areas of the masks in each slice, of a model with masks.
    """

    series: int
    num_slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    gantry_tilt_deg: float
    orientation: Orientation
    z_mm: list[float]
    probabilities: list[list[float]]
    areas_mm2: list[list[float]] | None
    summary: SeriesSummary


class StudyAnswer(BaseModel):
    """A study; `series` is empty until it is done."""

    study_id: str
    state: State
    error: ErrorDetail | None
    progress: StudyProgress
    num_files: int
    expires_in_seconds: int
    rejected: list[RejectedFile]
    left_out: list[LeftOutSeriesAnswer]
    series: list[SeriesAnswer]


class Thresholds(BaseModel):
    """Operating points by Youden's rule; null where there is none."""

    slice: dict[str, float | None]
    series: dict[str, float | None]


class Model(BaseModel):
    """Name, hash and operating points of the model that predicts.

    `mask_thresholds` are the least probabilities of a pixel that is marked; null for a model
    without masks.
    """

    name: str
    version: str
    sha256: str
    description: str
    postprocessing: str
    calibrated: bool
    classes: list[str]
    thresholds: Thresholds
    mask_thresholds: dict[str, float] | None
    note: str = NOTE


class Sample(BaseModel):
    """A sample study that the server offers."""

    name: str
    description: str
    num_files: int


class Health(BaseModel):
    """State of the server: `ok`."""

    status: str


class Results(BaseModel):
    """A finished study together with the model that predicted it."""

    note: str
    model: Model
    study: StudyAnswer


def accepted(study: UploadedStudy) -> Accepted:
    """Answers an upload."""
    return Accepted(study_id=study.study_id, state=study.state, num_files=study.num_files)  # type: ignore[arg-type]


def study_answer(study: UploadedStudy, studies: Studies) -> StudyAnswer:
    """Describes a study in its present state."""
    # The state first: what is read after it is at least as new.
    state = study.state
    return StudyAnswer(
        study_id=study.study_id,
        state=state,  # type: ignore[arg-type]
        error=None if study.error is None else ErrorDetail(**study.error),
        progress=StudyProgress(done=study.done, total=study.total),
        num_files=study.num_files,
        expires_in_seconds=int(studies.expires_in(study)),
        rejected=[RejectedFile(**vars(file)) for file in study.rejected],
        left_out=[LeftOutSeriesAnswer(**vars(series)) for series in study.left_out],
        series=[_series_answer(*numbered) for numbered in enumerate(study.series)]
        if state == "done"
        else [],
    )


def _series_answer(number: int, series: PredictedSeries) -> SeriesAnswer:
    first = series.slices[0]
    return SeriesAnswer(
        series=number,
        num_slices=len(series.slices),
        rows=first.rows,
        columns=first.columns,
        spacing_mm=(first.spacing_mm[0], first.spacing_mm[1]),
        gantry_tilt_deg=series.gantry_tilt_deg,
        orientation=orientation_marks(first.orientation),
        z_mm=list(series.z_mm),
        probabilities=[list(row) for row in series.probabilities],
        areas_mm2=[list(row) for row in series.areas_mm2] or None,
        summary=SeriesSummary(**series.summary),
    )


def orientation_marks(orientation: tuple[float, ...]) -> Orientation:
    """Names the direction in the patient at each edge of an image.

    Args:
      orientation: Unit vectors along a row and along a column, 6 numbers; patient coordinates
        point to the left, to the back and to the head (PS3.3 C.7.6.2.1.1).

    Examples:
      >>> orientation_marks((1, 0, 0, 0, 1, 0))
      Orientation(left='R', right='L', top='A', bottom='P')
    """

    def towards(direction: tuple[float, ...]) -> str:
        axis = max(range(3), key=lambda i: abs(direction[i]))
        return ("LR", "PA", "HF")[axis][direction[axis] < 0]

    right, bottom = towards(orientation[:3]), towards(orientation[3:])
    return Orientation(left=_OPPOSITE[right], right=right, top=_OPPOSITE[bottom], bottom=bottom)


def model_answer(predictor: Predictor) -> Model:
    """Describes the model."""
    postprocessing = predictor.postprocessing
    masks = MaskNetwork.of(predictor)
    names = sorted({member.spec.backbone for member in predictor.members})
    return Model(
        name=", ".join(names),
        version=__version__,
        sha256=predictor.sha256,
        description=predictor.describe(),
        postprocessing=postprocessing.describe(),
        calibrated=postprocessing.method != "none",
        classes=list(CLASSES),
        thresholds=Thresholds(
            slice=_points(postprocessing, SLICE), series=_points(postprocessing, SERIES_LEVEL)
        ),
        mask_thresholds=None
        if masks is None
        else dict(zip(CLASSES, masks.thresholds.tolist(), strict=True)),
    )


def _points(postprocessing: Postprocessing, level: str) -> dict[str, float | None]:
    return {name: postprocessing.threshold(level, name) for name in CLASSES}


def results_csv(study: UploadedStudy) -> str:
    """Writes a finished study as a table with a row for each slice.

    Columns are the index of the series, the index of the slice in it, both from 0, the slice's
    position in mm, and six probabilities; of a model with masks also six areas in mm2.
    """
    has_areas = any(series.areas_mm2 for series in study.series)
    areas = [f"{name}_mm2" for name in CLASSES] if has_areas else []
    lines = [csv_line(("series", "slice", "z_mm", *CLASSES, *areas))]
    for index, series in enumerate(study.series):
        rows = zip(
            series.z_mm,
            series.probabilities,
            series.areas_mm2 or [()] * len(series.slices),
            strict=True,
        )
        for number, (z_mm, *values) in enumerate(rows):
            numbers = map(repr, (z_mm, *itertools.chain(*values)))
            lines.append(csv_line((index, number, *numbers)))
    return "".join(lines)
