"""Routes of the service itself: its model, its health, its counters, its description."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ich_tf.serving import answers
from ich_tf.serving.docs_page import docs_page
from ich_tf.serving.monitoring import CONTENT_TYPE
from ich_tf.serving.routes.parameters import State

router = APIRouter()


@router.get("/api/model", response_model=answers.Model)
def get_model(state: State) -> answers.Model:
    """Returns name, hash and operating points of the model."""
    return answers.model_answer(state.predictor)


@router.get("/healthz", response_model=answers.Health)
async def get_health() -> answers.Health:
    """Reports that the server is up."""
    return answers.Health(status="ok")


@router.get("/metrics", response_class=Response, include_in_schema=False)
def get_metrics(state: State) -> Response:
    """Returns the counters in Prometheus' text format."""
    return Response(state.monitor.text(), media_type=CONTENT_TYPE)


@router.get("/api/docs", response_class=Response, include_in_schema=False)
def get_docs(request: Request) -> Response:
    """Returns the description of the routes as a page."""
    return Response(docs_page(request.app.openapi()), media_type="text/html")
