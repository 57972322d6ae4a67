"""Routes of the service itself: its model, its health, its counters, its description."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ich_tf.serving import answers
from ich_tf.serving.docs_page import docs_page
from ich_tf.serving.errors import Refused
from ich_tf.serving.monitoring import CONTENT_TYPE
from ich_tf.serving.routes.parameters import State

_NOT_READY = {
    "model": answers.ErrorAnswer,
    "description": "A thread does not run (DEAD_THREAD), or the disk is full (NOT_READY)",
}

router = APIRouter()


@router.get("/api/model", response_model=answers.Model)
def get_model(state: State) -> answers.Model:
    """Returns name, hash and operating points of the model."""
    return state.pipeline.model


@router.get("/api/service", response_model=answers.Service)
def get_service(state: State) -> answers.Service:
    """Returns what the server takes, keeps and lists."""
    limits = state.limits
    return answers.Service(
        body_mb=limits.body_mb,
        unpacked_mb=limits.unpacked_mb,
        files=limits.files,
        studies=limits.studies,
        kept_minutes=limits.kept_seconds / 60,
        lists_studies=state.lists_studies,
        keeps_ids=state.keeps_ids,
    )


@router.get("/healthz", response_model=answers.Health, responses={503: _NOT_READY})
async def get_health(state: State) -> answers.Health:
    """Reports that the server is up and its threads run; where it is not, start it again."""
    dead = [name for name, runs in state.pipeline.threads.items() if not runs]
    if dead:
        raise Refused(
            503, "DEAD_THREAD", f"the thread {dead[0]} does not run. Start the server again."
        )
    return answers.Health(status="ok")


@router.get("/readyz", response_model=answers.Health, responses={503: _NOT_READY})
def get_readiness(state: State) -> answers.Health:
    """Reports that the server takes uploads: its threads run, and its disk has room."""
    if not all(state.pipeline.threads.values()):
        raise Refused(503, "NOT_READY", "a thread of the server does not run. Start it again.")
    if not state.studies.has_room():
        raise Refused(503, "NOT_READY", "the server's disk is full. Free some space.")
    return answers.Health(status="ok")


@router.get("/metrics", response_class=Response, include_in_schema=False)
def get_metrics(state: State) -> Response:
    """Returns the counters in Prometheus' text format."""
    return Response(state.monitor.text(), media_type=CONTENT_TYPE)


@router.get("/api/docs", response_class=Response, include_in_schema=False)
def get_docs(request: Request) -> Response:
    """Returns the description of the routes as a page."""
    return Response(docs_page(request.app.openapi()), media_type="text/html")
