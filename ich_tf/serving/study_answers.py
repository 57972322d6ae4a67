"""A study's state and results as answers of the server, JSON and CSV."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

from ich_tf.inference.prediction.series_summary import csv_line
from ich_tf.labels import CLASSES
from ich_tf.serving.answers import (
    Accepted,
    ErrorDetail,
    LeftOutSeriesAnswer,
    ListedStudy,
    Model,
    RejectedFile,
    SeriesAnswer,
    SeriesDescriptionAnswer,
    SeriesSummary,
    SeriesWarningAnswer,
    SliceAnswer,
    StudyAnswer,
    StudyProgress,
    StudyResult,
    orientation_marks,
)
from ich_tf.serving.studies import Studies
from ich_tf.serving.study import (
    DONE,
    DescribedSeries,
    LeftOutSeries,
    PredictedSeries,
    SliceFile,
    UploadedStudy,
)


def accepted(study: UploadedStudy) -> Accepted:
    """Answers an upload."""
    return Accepted(study_id=study.study_id, state=study.state, num_files=study.num_files)  # type: ignore[arg-type]


def study_answer(study: UploadedStudy, studies: Studies) -> StudyAnswer:
    """Describes a study in its present state, and the time for which it is kept."""
    expires_in = int(studies.expires_in(study))
    return StudyAnswer(**dict(study_result(study)), expires_in_seconds=expires_in)


def study_result(study: UploadedStudy) -> StudyResult:
    """Describes a study in its present state."""
    # The state first: what is read after it is at least as new.
    state = study.state
    return StudyResult(
        study_id=study.study_id,
        upload=study.upload,
        received_at=_moment(study.received_at),
        state=state,  # type: ignore[arg-type]
        error=None if study.error is None else ErrorDetail(**study.error),
        progress=StudyProgress(done=study.done, total=study.total),
        num_files=study.num_files,
        rejected=[RejectedFile(**vars(file)) for file in study.rejected],
        left_out=[_left_out_answer(series) for series in study.left_out],
        series=[_series_answer(*numbered) for numbered in enumerate(study.series)]
        if state == "done"
        else [],
        model=study_model(study) if state == "done" else None,
    )


def listed(study: UploadedStudy, studies: Studies) -> ListedStudy:
    """Describes a study in a few numbers."""
    series = study.series if study.state == DONE else []
    found = [one.summary["decisions"]["any"] for one in series]
    return ListedStudy(
        study_id=study.study_id,
        state=study.state,  # type: ignore[arg-type]
        received_at=_moment(study.received_at),
        expires_in_seconds=int(studies.expires_in(study)),
        num_series=len(series),
        num_slices=sum(len(one.slices) for one in series),
        any=max((one.summary["max"]["any"] for one in series), default=None),
        decision=None if not found or None in found else any(found),
    )


def study_model(study: UploadedStudy) -> Model:
    """The model that predicted a study that is done."""
    assert study.model is not None, "set before the study is done"
    return Model(**study.model)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), timezone.utc)


def _described(described: DescribedSeries) -> SeriesDescriptionAnswer:
    return SeriesDescriptionAnswer(**vars(described))


def _left_out_answer(series: LeftOutSeries) -> LeftOutSeriesAnswer:
    return LeftOutSeriesAnswer(
        num_slices=series.num_slices,
        description=series.described.text,
        reason=series.reason,
        described=_described(series.described),
        file=series.file,
        entry=series.entry,
    )


def _slice_answer(slice_: SliceFile) -> SliceAnswer:
    return SliceAnswer(
        file=slice_.file,
        entry=slice_.entry,
        frame=slice_.frame or None,
        instance_number=slice_.instance if slice_.instance >= 0 else None,
        position_mm=slice_.position_mm,
        sop_instance_uid=slice_.sop_instance_uid or None,
    )


def _series_answer(number: int, series: PredictedSeries) -> SeriesAnswer:
    first = series.slices[0]
    return SeriesAnswer(
        series=number,
        described=_described(series.described),
        chosen=series.chosen,
        warnings=[SeriesWarningAnswer(**vars(warning)) for warning in series.warnings],
        num_slices=len(series.slices),
        rows=first.rows,
        columns=first.columns,
        spacing_mm=(first.spacing_mm[0], first.spacing_mm[1]),
        gantry_tilt_deg=series.gantry_tilt_deg,
        orientation=orientation_marks(first.orientation),
        slices=[_slice_answer(slice_) for slice_ in series.slices],
        z_mm=list(series.z_mm),
        probabilities=[list(row) for row in series.probabilities],
        areas_mm2=[list(row) for row in series.areas_mm2] or None,
        summary=SeriesSummary(**series.summary),
    )


def results_csv(study: UploadedStudy) -> str:
    """Writes a finished study as a table with a row for each slice.

    Columns are the index of the series, the index of the slice in it, the index of its file in the
    upload and in its archive, all from 0, the number of the frame in a multi-frame file, from 1,
    the slice's position along the normal of the series in mm, and six probabilities; of a model
    with masks also six areas in mm2. If ids are kept, the SOP instance UID follows the frame.
    """
    has_areas = any(series.areas_mm2 for series in study.series)
    areas = [f"{name}_mm2" for name in CLASSES] if has_areas else []
    has_ids = any(slice_.sop_instance_uid for series in study.series for slice_ in series.slices)
    ids = ["sop_instance_uid"] if has_ids else []
    places = ("series", "slice", "file", "entry", "frame", *ids, "z_mm")
    lines = [csv_line((*places, *CLASSES, *areas))]
    for index, series in enumerate(study.series):
        rows = zip(
            series.slices,
            series.z_mm,
            series.probabilities,
            series.areas_mm2 or [()] * len(series.slices),
            strict=True,
        )
        for number, (slice_, z_mm, *values) in enumerate(rows):
            entry = "" if slice_.entry is None else slice_.entry
            uid = [slice_.sop_instance_uid] if has_ids else []
            numbers = map(repr, (z_mm, *itertools.chain(*values)))
            place = (index, number, slice_.file, entry, slice_.frame or "", *uid)
            lines.append(csv_line((*place, *numbers)))
    return "".join(lines)
