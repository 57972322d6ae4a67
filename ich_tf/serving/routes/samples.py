"""Routes of the sample studies that the server offers."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ich_tf.serving import answers, study_answers, uploads
from ich_tf.serving.errors import Refused
from ich_tf.serving.routes.described import LOCATION, RETRY_AFTER, errors
from ich_tf.serving.routes.parameters import State, located

router = APIRouter(prefix="/api/samples")


@router.get("", response_model=list[answers.Sample])
def get_samples(state: State) -> list[answers.Sample]:
    """Lists the sample studies of the server."""
    return [
        answers.Sample(
            name=sample.name, description=sample.description, num_files=len(sample.files)
        )
        for sample in state.samples.values()
    ]


@router.post(
    "/{name}",
    status_code=202,
    response_model=answers.Accepted,
    responses={
        202: {"description": "The study was accepted", "headers": LOCATION},
        **errors(404, 503, 507, headers=RETRY_AFTER),
    },
)
def send_sample(name: str, request: Request, response: Response, state: State) -> answers.Accepted:
    """Starts a study of a sample's files, as if they had been uploaded."""
    if name not in state.samples:
        raise Refused(404, "NO_SAMPLE", "there is no such sample; see /api/samples.")
    sample = state.samples[name]
    study = state.studies.reserve(sum(path.stat().st_size for path in sample.files))
    try:
        files = uploads.copied(sample.files, state.studies.upload_folder(study))
        state.pipeline.submit(study, files)
    except BaseException:
        state.studies.drop(study)
        raise
    located(response, request, study)
    return study_answers.accepted(study)
