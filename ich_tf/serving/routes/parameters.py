"""Parameters that several routes take, and forms in which they answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi import Path as InPath

from ich_tf.serving.state import ServerState


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
DICOM = {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}


def packed_image(body: bytes, rows: int, columns: int) -> Response:
    """Answers with an array [rows, columns] that is already compressed by gzip."""
    headers = {"content-encoding": "gzip", "x-rows": str(rows), "x-columns": str(columns)}
    return Response(body, media_type="application/octet-stream", headers=headers)


def download(body: bytes | str, name: str, media_type: str = "application/dicom") -> Response:
    """Answers with a file that browsers save under a name."""
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=media_type, headers=headers)
