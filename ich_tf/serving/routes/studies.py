"""Routes of studies: upload, progress, deletion."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from ich_tf.serving import answers, uploads
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB
from ich_tf.serving.routes.parameters import State

# A client that is still sending would see its connection reset instead of the answer, so that the
# body of a refused upload is read on for this long.
_DRAIN_SECONDS = 10.0
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

router = APIRouter(prefix="/api/studies")


@router.post("", status_code=202, response_model=answers.Accepted, openapi_extra=_UPLOAD)
async def send_study(request: Request, state: State) -> answers.Accepted:
    """Accepts DICOM files, NIfTI volumes or zip archives of them as the repeated field `files`."""
    limits, studies = state.limits, state.studies
    stream = request.stream()

    async def receive() -> bytes:
        async for piece in stream:
            if piece:
                return piece
        return b""

    study = None
    try:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.body_mb * MIB:
            raise uploads.too_large(limits)
        study = studies.reserve()
        content_type = request.headers.get("content-type", "")
        folder = studies.upload_folder(study)
        files = await uploads.receive_files(receive, content_type, folder, limits)
        state.pipeline.submit(study, files)
    except ClientDisconnect:
        if study is not None:
            studies.drop(study)
        raise Refused(400, "GONE", "the client went away.") from None
    except BaseException as error:
        if study is not None:
            await asyncio.to_thread(studies.drop, study)
        if isinstance(error, Refused):
            await _drain(receive, limits.body_mb * MIB)
        raise
    return answers.accepted(study)


async def _drain(receive: uploads.Receive, max_bytes: int) -> None:
    """Reads on to the end of a body, or until a limit of bytes or time."""
    left = max_bytes
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError, ClientDisconnect):

        async def read() -> None:
            nonlocal left
            while left > 0 and (piece := await receive()):
                left -= len(piece)

        await asyncio.wait_for(read(), _DRAIN_SECONDS)


@router.get("/{study_id}", response_model=answers.StudyAnswer)
def get_study(study_id: str, state: State) -> answers.StudyAnswer:
    """Returns the progress of a study; once it is done, its series and probabilities."""
    return answers.study_answer(state.studies.find(study_id), state.studies)


@router.delete("/{study_id}", status_code=204)
def delete_study(study_id: str, state: State) -> Response:
    """Deletes a study and all files and results of it."""
    study = state.studies.find(study_id)
    state.studies.delete(study_id)
    state.pipeline.forget(study)
    return Response(status_code=204)
