"""Routes of studies: upload, list, progress, deletion."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from ich_tf.serving import answers, study_answers, uploads
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB
from ich_tf.serving.routes.described import LOCATION, RETRY_AFTER, errors
from ich_tf.serving.routes.parameters import State, located
from ich_tf.serving.study import UploadedStudy
from ich_tf.serving.uploads import Upload

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "DICOM files, NIfTI volumes in Hounsfield units, or "
                            "zip archives of them.",
                        }
                    },
                }
            }
        },
    }
}
_MORE = Query(description="Whether more parts of this upload follow.")
_ERRORS = errors(400, 408, 413, 415, 503, 507, headers=RETRY_AFTER)
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"description": "The study was accepted", "headers": LOCATION}
}

router = APIRouter(prefix="/api/studies")


@router.post(
    "",
    status_code=202,
    response_model=answers.Accepted,
    openapi_extra=_UPLOAD,
    responses={**_ACCEPTED, **_ERRORS},
)
async def send_study(
    request: Request, response: Response, state: State, more: Annotated[bool, _MORE] = False
) -> answers.Accepted:
    """Accepts DICOM files, NIfTI volumes or zip archives of them as the repeated field `files`.

    Files of several patients or studies become a study each; `upload` of the first lists them.
    With `more` the upload stays open for further parts, which POST .../files takes.
    """
    length = _length(request, state.limits.body_mb * MIB)
    with state.upload_slots.take():
        study = state.studies.reserve(length)
        upload = Upload(state.studies.upload_folder(study), state.limits)
        return await _receive(request, response, state, study, upload, more)


@router.post(
    "/{study_id}/files",
    status_code=202,
    response_model=answers.Accepted,
    openapi_extra=_UPLOAD,
    responses={**_ACCEPTED, **_ERRORS, **errors(404, 409)},
)
async def send_files(
    study_id: str,
    request: Request,
    response: Response,
    state: State,
    more: Annotated[bool, _MORE] = False,
) -> answers.Accepted:
    """Accepts a further part of an upload that was begun with `more`; the last comes without it.

    All parts together keep to the limits of an upload but `body_mb`, which is that of each part.
    An error drops the whole upload.
    """
    with state.upload_slots.take():
        waiting = state.open_uploads.take(study_id)
        return await _receive(request, response, state, waiting.study, waiting.upload, more)


async def _receive(
    request: Request,
    response: Response,
    state: State,
    study: UploadedStudy,
    upload: Upload,
    more: bool,
) -> answers.Accepted:
    """Receives a part of an upload; any failure drops the whole upload."""
    stream = request.stream()

    async def receive() -> bytes:
        async for piece in stream:
            if piece:
                return piece
        return b""

    try:
        _length(request, state.limits.body_mb * MIB)
        _check_encoding(request)
        await upload.receive(receive, request.headers.get("content-type", ""))
        if more:
            study.num_files = len(upload.files)
            state.open_uploads.put(study, upload)
        else:
            state.pipeline.submit(study, upload.files)
    except ClientDisconnect:
        await asyncio.to_thread(state.studies.drop, study)
        raise Refused(400, "GONE", "the client went away.") from None
    except BaseException:
        await asyncio.to_thread(state.studies.drop, study)
        raise
    located(response, request, study)
    return study_answers.accepted(study)


def _length(request: Request, max_bytes: int) -> int:
    """Length of a body as it is declared; 0 if it is not.

    Raises:
      Refused: 413, if it is too large.
    """
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return 0
    if int(length) > max_bytes:
        raise uploads.too_large(request.app.state.server.limits)
    return int(length)


def _check_encoding(request: Request) -> None:
    """Refuses a body that is compressed as a whole.

    Raises:
      Refused: 415.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(
            415,
            "ENCODED",
            "the body is encoded as a whole; send it as it is, or the files as a zip archive.",
        )


@router.get("", response_model=list[answers.ListedStudy], responses=errors(403))
def list_studies(state: State) -> list[answers.ListedStudy]:
    """Lists all studies that are kept, the newest first, where the server runs with --list_studies.

    Without it the answer is 403: whoever has a study's key may read the study.
    """
    if not state.lists_studies:
        raise Refused(
            403,
            "NO_LIST",
            "this server lists no studies: keys are secrets of those who sent them. The option "
            "--list_studies lets it.",
        )
    return [study_answers.listed(study, state.studies) for study in state.studies.all()]


@router.get("/{study_id}", response_model=answers.StudyAnswer, responses=errors(404))
def get_study(study_id: str, state: State) -> answers.StudyAnswer:
    """Returns the progress of a study; once it is done, its series and probabilities."""
    return study_answers.study_answer(state.studies.find(study_id), state.studies)


@router.delete("/{study_id}", status_code=204, responses=errors(404))
def delete_study(study_id: str, state: State) -> Response:
    """Deletes a study and all files and results of it."""
    study = state.studies.find(study_id)
    state.studies.delete(study_id)
    state.pipeline.forget(study)
    return Response(status_code=204)
