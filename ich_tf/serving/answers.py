"""The JSON that the server answers with. Clients rely on these names."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from ich_tf import __version__
from ich_tf.inference.postprocessing.aggregation import SLICE
from ich_tf.inference.postprocessing.postprocessing import Postprocessing
from ich_tf.inference.prediction.series_summary import SERIES_LEVEL
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.serving.studies import FoundSeries, Studies, Study

NOTE = "Research only - not for clinical use"
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}

State = Literal["queued", "reading", "predicting", "done", "failed"]


class ErrorDetail(BaseModel):
    """What went wrong: a stable code, and what was given, was expected, and can be done."""

    code: str
    message: str


class ErrorAnswer(BaseModel):
    """The body of every answer with a status of 400 or more."""

    error: ErrorDetail


class Accepted(BaseModel):
    """A study that was taken in."""

    study_id: str
    state: State
    num_files: int


class Progress(BaseModel):
    """Files read while `reading`, slices predicted while `predicting`."""

    done: int
    total: int


class RejectedFile(BaseModel):
    """A file that gave no slice; names are not kept, so that only its place says which."""

    file: int
    entry: int | None
    reason: str
    message: str


class Orientation(BaseModel):
    """What lies at each edge of the image: R, L, A, P, H or F."""

    left: str
    right: str
    top: str
    bottom: str


class Summary(BaseModel):
    """What is said of a series as a whole, by class."""

    max: dict[str, float]
    noisy_or: dict[str, float]
    series_model: dict[str, float] | None
    decisions: dict[str, bool | None]
    most_suspicious: dict[str, int]


class SeriesAnswer(BaseModel):
    """A series, its slices in the order of the body; classes in the order of `Model.classes`."""

    series: int
    num_slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    gantry_tilt_deg: float
    orientation: Orientation
    z_mm: list[float]
    probabilities: list[list[float]]
    summary: Summary


class StudyAnswer(BaseModel):
    """A study; `series` is empty until it is done."""

    study_id: str
    state: State
    error: ErrorDetail | None
    progress: Progress
    num_files: int
    expires_in_seconds: int
    rejected: list[RejectedFile]
    series: list[SeriesAnswer]


class Thresholds(BaseModel):
    """Operating points by Youden's rule; null where there is none."""

    slice: dict[str, float | None]
    series: dict[str, float | None]


class Model(BaseModel):
    """The model that answers."""

    name: str
    version: str
    sha256: str
    description: str
    postprocessing: str
    calibrated: bool
    classes: list[str]
    thresholds: Thresholds
    note: str = NOTE


class Sample(BaseModel):
    """A study of the server's own to try."""

    name: str
    description: str
    num_files: int


class Health(BaseModel):
    """The server stands."""

    status: str


class Results(BaseModel):
    """A finished study and the model that predicted it, to keep."""

    note: str
    model: Model
    study: StudyAnswer


def accepted(study: Study) -> Accepted:
    """The answer to an upload."""
    return Accepted(study_id=study.study_id, state=study.state, num_files=study.num_files)  # type: ignore[arg-type]


def study_answer(study: Study, studies: Studies) -> StudyAnswer:
    """A study as it stands."""
    # The state first: what is read after it is at least as new.
    state = study.state
    return StudyAnswer(
        study_id=study.study_id,
        state=state,  # type: ignore[arg-type]
        error=None if study.error is None else ErrorDetail(**study.error),
        progress=Progress(done=study.done, total=study.total),
        num_files=study.num_files,
        expires_in_seconds=int(studies.expires_in(study)),
        rejected=[RejectedFile(**vars(one)) for one in study.rejected],
        series=[_series(number, one) for number, one in enumerate(study.series)]
        if state == "done"
        else [],
    )


def _series(number: int, found: FoundSeries) -> SeriesAnswer:
    first = found.slices[0]
    return SeriesAnswer(
        series=number,
        num_slices=len(found.slices),
        rows=first.rows,
        columns=first.columns,
        spacing_mm=(first.spacing_mm[0], first.spacing_mm[1]),
        gantry_tilt_deg=found.gantry_tilt_deg,
        orientation=orientation_marks(first.orientation),
        z_mm=list(found.z_mm),
        probabilities=[list(row) for row in found.probabilities],
        summary=Summary(**found.summary),
    )


def orientation_marks(orientation: tuple[float, ...]) -> Orientation:
    """What lies at each edge of an image.

    Args:
      orientation: Unit vectors along a row and along a column; patient coordinates point to the
        left, to the back and to the head (PS3.3 C.7.6.2.1.1).
    """

    def towards(direction: tuple[float, ...]) -> str:
        axis = max(range(3), key=lambda i: abs(direction[i]))
        return ("LR", "PA", "HF")[axis][direction[axis] < 0]

    right, bottom = towards(orientation[:3]), towards(orientation[3:])
    return Orientation(left=_OPPOSITE[right], right=right, top=_OPPOSITE[bottom], bottom=bottom)


def model_answer(predictor: Predictor) -> Model:
    """What is known of the model."""
    after = predictor.postprocessing
    names = sorted({one.spec.backbone for one in predictor.members})
    return Model(
        name=", ".join(names),
        version=__version__,
        sha256=predictor.sha256,
        description=predictor.describe(),
        postprocessing=after.describe(),
        calibrated=after.calibrator.method != "none",
        classes=list(CLASSES),
        thresholds=Thresholds(slice=_points(after, SLICE), series=_points(after, SERIES_LEVEL)),
    )


def _points(after: Postprocessing, level: str) -> dict[str, float | None]:
    return {name: after.threshold(level, name) for name in CLASSES}
