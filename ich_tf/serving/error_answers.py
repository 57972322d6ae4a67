"""The answers to errors: a code for programs and a text for people."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ich_tf.serving.errors import Refused
from ich_tf.serving.guard import error_response


def handle_errors(app: FastAPI) -> None:
    """Lets every error of an application be answered by an `answers.ErrorAnswer`."""

    @app.exception_handler(Refused)
    async def on_refused(_: Request, error: Refused) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        # The values are not repeated: they are the client's text.
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        return error_response(Refused(422, "INVALID", f"{fields}: not what the route expects."))

    @app.exception_handler(HTTPException)
    async def on_http(_: Request, error: HTTPException) -> Response:
        code = {404: "NO_PAGE", 405: "WRONG_METHOD"}.get(error.status_code, "REFUSED")
        return error_response(Refused(error.status_code, code, f"{error.detail}."))
