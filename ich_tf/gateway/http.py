"""HTTP of a gateway: health, metrics, and the worklist as JSON and as a page."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi import Path as PathValue
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import BaseRoute

import ich_tf.serving
from ich_tf import __version__
from ich_tf.errors import InputError
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.database import StateError
from ich_tf.gateway.gateway import Gateway
from ich_tf.gateway.tls import server_context
from ich_tf.gateway.worklist import NOTE, Worklist, in_order, study_row
from ich_tf.serving.error_answers import handle_errors
from ich_tf.serving.errors import Refused
from ich_tf.serving.guard import Guard, error_response
from ich_tf.serving.monitoring import CONTENT_TYPE
from ich_tf.serving.sub_path import SubPath

if TYPE_CHECKING:
    import uvicorn

_STATIC = Path(__file__).parent / "static"
# Files of the web application that the worklist's page uses as well.
_SHARED_FROM = Path(ich_tf.serving.__file__).parent / "static"
_SHARED = re.compile(r"[a-z_]+\.(js|css|svg)")
_MAX_HOURS = 87600
# The largest number of SQLite.
_MAX_NUMBER = 2**63 - 1
_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")


def make_app(gateway: Gateway, token: str, routes: Sequence[BaseRoute] = ()) -> FastAPI:
    """Makes the application.

    Args:
      gateway: The gateway, whose services run.
      token: Token that clients must send; empty for none.
      routes: Further routes: those of STOW-RS.
    """
    config = gateway.config
    app = FastAPI(
        title="ich_tf gateway",
        version=__version__,
        description=f"Studies of an archive, and what a model found in them. {NOTE}.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    hosts = () if token else (*_LOCAL_NAMES, config.http.host)
    app.add_middleware(Guard, monitor=gateway.monitor, token=token, hosts=hosts)
    app.add_middleware(SubPath, root_path=config.http.root_path)
    handle_errors(app)

    @app.exception_handler(StateError)
    async def on_state(_: Request, error: StateError) -> Response:
        return error_response(Refused(503, "STATE", str(error), retry_after=10))

    app.include_router(_routes(gateway))
    app.router.routes.extend(routes)
    app.mount("/", StaticFiles(directory=_STATIC, html=True), name="page")
    return app


def _routes(gateway: Gateway) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    def get_health() -> JSONResponse:
        """Reports whether all parts of the gateway run; a supervisor restarts it if not."""
        dead = gateway.dead()
        return JSONResponse({"status": "failed" if dead else "ok", "dead": dead}, _status(dead))

    @router.get("/readyz")
    def get_readiness() -> JSONResponse:
        """Reports whether studies can be taken and handled now, and why not."""
        problems = gateway.problems()
        status = "not ready" if problems else "ok"
        return JSONResponse({"status": status, "problems": problems}, _status(problems))

    @router.get("/metrics", response_class=Response, include_in_schema=False)
    def get_metrics() -> Response:
        """Returns the counters in Prometheus' text format."""
        gateway.problems()  # sets the gauges of the services
        return Response(gateway.monitor.text(), media_type=CONTENT_TYPE)

    @router.get("/api/worklist", response_model=Worklist)
    def get_worklist(hours: Annotated[float, Query(ge=0, le=_MAX_HOURS)] = 24) -> Worklist:
        """Returns the studies, the most urgent first.

        `hours` is the greatest age of the last image of those that are finished.
        """
        return Worklist(
            studies=[study_row(study) for study in in_order(gateway.queue.studies(hours))],
            counts=gateway.queue.counts(),
            problems=gateway.problems(),
            destination=gateway.destination_name,
            dry_run=gateway.dry_run,
        )

    @router.post("/api/worklist/{study}/retry", status_code=202)
    def retry(study: Annotated[int, PathValue(ge=1, le=_MAX_NUMBER)]) -> dict[str, int]:
        """Lets a failed or refused study be handled once more, while its images are kept."""
        if gateway.queue.find(study) is None:
            raise Refused(404, "NO_STUDY", "the worklist has no such study.")
        if not gateway.queue.retry(study):
            raise Refused(
                409, "NO_RETRY", "only a failed or refused study whose images are kept can be."
            )
        return {"study": study}

    @router.get("/shared/{name}", response_class=FileResponse, include_in_schema=False)
    def get_shared(name: str) -> FileResponse:
        """Returns a file of the web application."""
        path = _SHARED_FROM / name
        if not _SHARED.fullmatch(name) or not path.is_file():
            raise Refused(404, "NO_PAGE", "there is no such page.")
        return FileResponse(path)

    return router


def _status(problems: object) -> int:
    return 503 if problems else 200


def listen(config: GatewayConfig) -> socket.socket:
    """Opens a socket at the address of `[http]`.

    Raises:
      InputError: If the address is taken, or is not one of this machine.
    """
    host, port = config.http.host, config.http.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(
            f"http.host and http.port are {host}:{port}, which cannot be listened on "
            f"({error.strerror}). Choose another port, or end what holds it."
        ) from error
    return listening


def make_server(app: FastAPI, config: GatewayConfig) -> uvicorn.Server:
    """Makes the server of an application, by HTTPS if `[http]` says so.

    Raises:
      InputError: If a file of `[tls]` cannot be used.
    """
    from ich_tf.serving.server import make_server as make_plain_server

    server = make_plain_server(app)
    if config.http.tls:
        context = server_context(config.tls, asks_clients=False)
        server.config.load()
        server.config.ssl = context
    return server
