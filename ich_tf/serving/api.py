"""The server's application: routes, their shared state, and the answers to errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from ich_tf import __version__
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.serving import answers
from ich_tf.serving.config import ServeConfig
from ich_tf.serving.error_answers import handle_errors
from ich_tf.serving.guard import OPEN, Guard
from ich_tf.serving.limits import Limits
from ich_tf.serving.monitoring import log_failure
from ich_tf.serving.routes import results, samples, service, slices, studies
from ich_tf.serving.state import ServerState
from ich_tf.serving.sub_path import SubPath

STATIC = Path(__file__).parent / "static"
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")
_SWEEP_SECONDS = 5.0


def make_app(config: ServeConfig, predictor: Predictor, limits: Limits | None = None) -> FastAPI:
    """Opens the state folder, starts the workers, and makes the application.

    Args:
      config: Config of the server.
      predictor: Model that predicts.
      limits: Limits of the server; None for those of the config.

    Raises:
      InputError: If the state folder or the folder of samples cannot be used.
    """
    token = config.read_token()
    state = ServerState.start(config, predictor, limits or config.limits)
    app = FastAPI(
        title="ich_tf",
        version=__version__,
        description="Head CT DICOM files in, probabilities of intracranial hemorrhage out. "
        f"{answers.NOTE}.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        responses={
            code: {"model": answers.ErrorAnswer, "description": "Code and text of the error"}
            for code in ("4XX", "5XX")
        },
    )
    app.state.server = state
    # Without a token only this machine may ask, and only by its own names.
    hosts = () if token else (*_LOCAL_NAMES, config.host)
    app.add_middleware(Guard, monitor=state.monitor, token=token, hosts=hosts)
    app.add_middleware(SubPath, root_path=config.root_path)
    handle_errors(app)
    _describe_token(app, is_needed=bool(token))
    for resource in (studies, results, slices, service, samples):
        app.include_router(resource.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True, check_dir=False), name="page")
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Deletes old studies while the server runs, and ends its workers afterwards."""
    state: ServerState = app.state.server

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            # Whatever it raises, the next sweep comes.
            try:
                await asyncio.to_thread(state.sweep)
            except Exception as error:
                log_failure("deleting old studies", error)

    task = asyncio.create_task(sweep())
    yield
    task.cancel()
    await asyncio.to_thread(state.close)


def _describe_token(app: FastAPI, *, is_needed: bool) -> None:
    """Adds the token to the description of the API."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        schema["security"] = [{"token": []}] if is_needed else [{}, {"token": []}]
        for path in OPEN:
            if path in schema["paths"]:
                schema["paths"][path]["get"]["security"] = []
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
