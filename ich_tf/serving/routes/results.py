"""Routes of results to keep: JSON, CSV, a DICOM report."""

from __future__ import annotations

from fastapi import APIRouter, Response

from ich_tf.serving import answers, study_answers
from ich_tf.serving.analysis import slice_hu
from ich_tf.serving.dicom_report import report
from ich_tf.serving.routes.described import errors
from ich_tf.serving.routes.parameters import CSV, DICOM, SeriesIndex, State, download

router = APIRouter(prefix="/api/studies/{study_id}")


@router.get("/results.json", response_model=answers.Results, responses=errors(404, 409))
def get_results_json(study_id: str, state: State) -> answers.Results:
    """Returns a finished study together with the model that predicted it."""
    study = state.find_done(study_id)
    return answers.Results(
        note=answers.NOTE,
        model=study_answers.study_model(study),
        study=study_answers.study_result(study),
    )


@router.get(
    "/results.csv",
    response_class=Response,
    responses={200: {"content": CSV, "description": "A table"}, **errors(404, 409)},
)
def get_results_csv(study_id: str, state: State) -> Response:
    """Returns a table with a row for each slice."""
    return download(study_answers.results_csv(state.find_done(study_id)), "results.csv", "text/csv")


@router.get(
    "/series/{series}/report.dcm",
    response_class=Response,
    responses={
        200: {"content": DICOM, "description": "A structured report, TID 1500"},
        **errors(404, 409, 422),
    },
)
async def get_report(study_id: str, series: SeriesIndex, state: State) -> Response:
    """Returns the probabilities of a series as a DICOM structured report with ids of its own."""
    study, predicted = state.find_series(study_id, series)
    model = study_answers.study_model(study)
    folder = state.studies.folder(study)
    written = await state.run_large(
        lambda: report(study_id, series, predicted, model, lambda slice_: slice_hu(folder, slice_))
    )
    return download(written, f"report-{series}.dcm")
