"""Parameters that several routes take, and forms in which they answer."""

from __future__ import annotations

import gzip
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi import Path as InPath

from ich_tf.serving.state import ServerState
from ich_tf.serving.study import UploadedStudy


# Asynchronous, so that FastAPI calls it at once and not in a thread.
async def get_state(request: Request) -> ServerState:
    """Returns the state of the application that a request was sent to."""
    state: ServerState = request.app.state.server
    return state


State = Annotated[ServerState, Depends(get_state)]
SeriesIndex = Annotated[int, InPath(ge=0, description="Index of the series in the study, from 0.")]
SliceIndex = Annotated[int, InPath(ge=0, description="Index of the slice in the series, from 0.")]

BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
CSV = {"text/csv": {"schema": {"type": "string"}}}
DICOM = {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}


def accepts_gzip(request: Request) -> bool:
    """Whether a client can unpack gzip (RFC 9110, 12.5.3); one that does not say so may not."""
    qualities: dict[str, str] = {}
    for coding in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = coding.partition(";")
        qualities[name.strip()] = quality.replace(" ", "").removeprefix("q=") or "1"
    quality = qualities.get("gzip", qualities.get("*", "0"))
    return quality.strip("0.") != ""


def packed_image(request: Request, packed: bytes, rows: int, columns: int) -> Response:
    """Answers with an array [rows, columns] that is compressed by gzip, or not if asked so."""
    headers = {"vary": "accept-encoding", "x-rows": str(rows), "x-columns": str(columns)}
    if accepts_gzip(request):
        headers["content-encoding"] = "gzip"
    else:
        packed = gzip.decompress(packed)
    return Response(packed, media_type="application/octet-stream", headers=headers)


def located(response: Response, request: Request, study: UploadedStudy) -> None:
    """Says in the header of an answer where a study is."""
    root = request.scope.get("root_path", "")
    response.headers["location"] = f"{root}/api/studies/{study.study_id}"


def download(body: bytes | str, name: str, media_type: str = "application/dicom") -> Response:
    """Answers with a file that browsers save under a name."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=media_type, headers=headers)
