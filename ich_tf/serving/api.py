"""The server's routes: each looks up a study, calls one thing, and answers."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ich_tf import __version__
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.labels import CLASSES
from ich_tf.serving import answers, uploads
from ich_tf.serving.analysis import slice_hu
from ich_tf.serving.config import ServeConfig
from ich_tf.serving.dicom_report import heat_map_picture, structured_report
from ich_tf.serving.docs_page import docs_page
from ich_tf.serving.errors import Refused
from ich_tf.serving.guard import Guard, error_response
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.monitoring import CONTENT_TYPE, Monitor
from ich_tf.serving.pipeline import GZIP_LEVEL, Pipeline
from ich_tf.serving.results import results_csv
from ich_tf.serving.samples import find_samples
from ich_tf.serving.studies import DONE, FoundSeries, Studies, Study

Result = TypeVar("Result")
STATIC = Path(__file__).parent / "static"
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_SWEEP_SECONDS = 5.0
# Of a body that is refused, so much is read all the same: a client that still sends would see its
# connection reset instead of the answer.
_DRAINED_SECONDS = 10.0
_PIXELS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_DICOM = {"application/dicom": {"schema": {"type": "string", "format": "binary"}}}
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
                            "description": "DICOM files, or zip archives of them.",
                        }
                    },
                }
            }
        },
    }
}

Series = Annotated[int, InPath(ge=0, description="Of the study, from 0.")]
Number = Annotated[int, InPath(ge=0, description="Of the slice, from 0.")]


def make_app(config: ServeConfig, predictor: Predictor, limits: Limits | None = None) -> FastAPI:
    """The application, ready to answer.

    Args:
      config: Of the server.
      predictor: The model.
      limits: In the place of the config's.

    Raises:
      InputError: If the state folder cannot be used.
    """
    limits = limits or config.limits
    monitor = Monitor()
    studies = Studies(config.state_path, limits)
    pipeline = Pipeline(predictor, studies, limits, monitor, config.batch_size)
    samples = find_samples(config.samples_dir)
    monitor.unfinished.set_function(studies.num_unfinished)
    monitor.finished.set_function(studies.num_finished)
    large = anyio.CapacityLimiter(limits.large_answers)

    async def make_large(function: Callable[[], Result]) -> Result:
        # The bound on how many are made at once is a bound on memory.
        return await anyio.to_thread.run_sync(function, limiter=large)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await asyncio.to_thread(studies.sweep)

        task = asyncio.create_task(sweep())
        yield
        task.cancel()
        await asyncio.to_thread(pipeline.close)
        studies.close()

    app = FastAPI(
        title="ich_tf",
        version=__version__,
        description="Head CT DICOM files in, probabilities of intracranial hemorrhage out. "
        f"{answers.NOTE}.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={
            code: {"model": answers.ErrorAnswer, "description": "What is wrong"}
            for code in ("4XX", "5XX")
        },
    )
    # Without a token this machine alone may ask, and only by its own names.
    hosts = () if config.token else (*_LOCAL_NAMES, config.host)
    app.add_middleware(Guard, monitor=monitor, token=config.token, hosts=hosts)

    @app.exception_handler(Refused)
    async def on_refused(_: Request, error: Refused) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        # What was sent is not repeated.
        fields = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
        return error_response(Refused(422, "INVALID", f"{fields}: not what the route expects."))

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        code = {404: "NO_PAGE", 405: "WRONG_METHOD"}.get(error.status_code, "REFUSED")
        return error_response(Refused(error.status_code, code, f"{error.detail}."))

    def done(study_id: str) -> Study:
        study = studies.find(study_id)
        if study.state != DONE:
            raise Refused(
                409,
                "NOT_DONE",
                f"the study is {study.state}; there is something to see once it is done.",
                retry_after=0 if study.is_finished else 1,
            )
        return study

    def find_slice(study_id: str, series: int, number: int) -> tuple[Study, FoundSeries]:
        study = done(study_id)
        if series >= len(study.series) or number >= len(study.series[series].slices):
            raise Refused(404, "NO_SLICE", "the study has no such series or slice.")
        return study, study.series[series]

    def check_class(name: str) -> None:
        if name not in CLASSES:
            raise Refused(404, "NO_CLASS", f"no such class; expected one of {', '.join(CLASSES)}.")

    @app.post(
        "/api/studies", status_code=202, response_model=answers.Accepted, openapi_extra=_UPLOAD
    )
    async def send_study(request: Request) -> answers.Accepted:
        """Takes DICOM files or zip archives of them; the field `files`, repeated."""
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
            found = await uploads.receive_files(receive, content_type, folder, limits)
            pipeline.submit(study, found)
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

    @app.get("/api/studies/{study_id}", response_model=answers.StudyAnswer)
    def get_study(study_id: str) -> answers.StudyAnswer:
        """How far a study is; once it is done, its series and probabilities."""
        return answers.study_answer(studies.find(study_id), studies)

    @app.delete("/api/studies/{study_id}", status_code=204)
    def delete_study(study_id: str) -> Response:
        """Deletes a study and all that was made of it."""
        study = studies.find(study_id)
        studies.delete(study_id)
        pipeline.forget(study)
        return Response(status_code=204)

    @app.get("/api/studies/{study_id}/results.json", response_model=answers.Results)
    def get_results_json(study_id: str) -> answers.Results:
        """The finished study with the model that predicted it."""
        return answers.Results(
            note=answers.NOTE,
            model=answers.model_answer(predictor),
            study=answers.study_answer(done(study_id), studies),
        )

    @app.get("/api/studies/{study_id}/results.csv", response_class=Response)
    def get_results_csv(study_id: str) -> Response:
        """A row a slice."""
        headers = {"content-disposition": 'attachment; filename="results.csv"'}
        return Response(results_csv(done(study_id)), media_type="text/csv", headers=headers)

    @app.get(
        "/api/studies/{study_id}/series/{series}/slices/{number}/pixels",
        response_class=Response,
        responses={200: {"content": _PIXELS, "description": "int16 [rows, columns]"}},
    )
    async def get_pixels(study_id: str, series: Series, number: Number) -> Response:
        """Hounsfield units: little-endian int16 [X-Rows, X-Columns], compressed by gzip."""
        study, found = find_slice(study_id, series, number)
        place = found.slices[number]

        def read() -> bytes:
            hu = slice_hu(studies.folder(study), place)
            return gzip.compress(
                np.rint(np.clip(hu, -32768, 32767)).astype("<i2").tobytes(), GZIP_LEVEL
            )

        return _packed(await _kept(make_large, read), place.rows, place.columns)

    @app.get(
        "/api/studies/{study_id}/series/{series}/report.dcm",
        response_class=Response,
        responses={200: {"content": _DICOM, "description": "A structured report, TID 1500"}},
    )
    async def get_report(study_id: str, series: Series) -> Response:
        """The probabilities of a series, as a DICOM structured report with ids of its own."""
        _, found = find_slice(study_id, series, 0)
        model = answers.model_answer(predictor)
        return _download(
            await make_large(lambda: structured_report(study_id, series, found, model)),
            f"report-{series}.dcm",
        )

    @app.get(
        "/api/studies/{study_id}/series/{series}/slices/{number}/heatmaps/{name}.dcm",
        response_class=Response,
        responses={200: {"content": _DICOM, "description": "A secondary capture"}},
    )
    async def get_picture(study_id: str, series: Series, number: Number, name: str) -> Response:
        """A slice under its heat map, as a DICOM secondary capture with ids of its own."""
        check_class(name)
        study, found = find_slice(study_id, series, number)
        place, model = found.slices[number], answers.model_answer(predictor)
        heat = await anyio.to_thread.run_sync(pipeline.heat_map, study, series, number, name)

        def draw() -> bytes:
            hu = slice_hu(studies.folder(study), place)
            values = heat.unpacked()
            return heat_map_picture(study_id, series, number, place, hu, values, name, model)

        return _download(await _kept(make_large, draw), f"heat-map-{series}-{number}-{name}.dcm")

    @app.get(
        "/api/studies/{study_id}/series/{series}/slices/{number}/heatmaps/{name}",
        response_class=Response,
        responses={200: {"content": _PIXELS, "description": "uint8 [rows, columns]"}},
    )
    async def get_heat_map(study_id: str, series: Series, number: Number, name: str) -> Response:
        """Where the model looked: uint8 [X-Rows, X-Columns] by gzip; 255 stands for X-Peak."""
        check_class(name)
        study, _ = find_slice(study_id, series, number)
        heat = await anyio.to_thread.run_sync(pipeline.heat_map, study, series, number, name)
        answer = _packed(heat.packed, heat.rows, heat.columns)
        answer.headers["x-peak"] = repr(heat.peak)
        return answer

    @app.get("/api/model", response_model=answers.Model)
    def get_model() -> answers.Model:
        """The model that answers."""
        return answers.model_answer(predictor)

    @app.get("/api/samples", response_model=list[answers.Sample])
    def get_samples() -> list[answers.Sample]:
        """Studies of the server's own to try."""
        return [
            answers.Sample(name=one.name, description=one.description, num_files=len(one.files))
            for one in samples.values()
        ]

    @app.post("/api/samples/{name}", status_code=202, response_model=answers.Accepted)
    def send_sample(name: str) -> answers.Accepted:
        """As if the files of a sample had been sent."""
        if name not in samples:
            raise Refused(404, "NO_SAMPLE", "there is no such sample; see /api/samples.")
        study = studies.reserve()
        try:
            files = uploads.copied(samples[name].files, studies.upload_folder(study))
            pipeline.submit(study, files)
        except BaseException:
            studies.drop(study)
            raise
        return answers.accepted(study)

    @app.get("/healthz", response_model=answers.Health)
    async def get_health() -> answers.Health:
        """Whether the server stands."""
        return answers.Health(status="ok")

    @app.get("/metrics", response_class=Response, include_in_schema=False)
    def get_metrics() -> Response:
        """Prometheus' counters."""
        return Response(monitor.text(), media_type=CONTENT_TYPE)

    @app.get("/api/docs", response_class=Response, include_in_schema=False)
    def get_docs() -> Response:
        """What the routes are, for people."""
        return Response(docs_page(app.openapi()), media_type="text/html")

    app.mount("/", StaticFiles(directory=STATIC, html=True, check_dir=False), name="page")
    return app


async def _kept(
    make_large: Callable[[Callable[[], bytes]], Any], read: Callable[[], bytes]
) -> bytes:
    """What a study's files say; 404 if the study went meanwhile."""
    try:
        found: bytes = await make_large(read)
    except FileNotFoundError as error:
        raise Refused(404, "NO_STUDY", "the study went while it was read.") from error
    return found


def _packed(body: bytes, rows: int, columns: int) -> Response:
    headers = {"content-encoding": "gzip", "x-rows": str(rows), "x-columns": str(columns)}
    return Response(body, media_type="application/octet-stream", headers=headers)


def _download(body: bytes, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type="application/dicom", headers=headers)


async def _drain(receive: uploads.Receive, most: int) -> None:
    left = most
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError, ClientDisconnect):

        async def read() -> None:
            nonlocal left
            while left > 0 and (piece := await receive()):
                left -= len(piece)

        await asyncio.wait_for(read(), _DRAINED_SECONDS)
