"""Errors and headers of answers, as the API's description lists them."""

from __future__ import annotations

from typing import Any

from ich_tf.serving.answers import ErrorAnswer

_TEXT = {"schema": {"type": "string"}}
_ERRORS = {
    400: "The body is no upload of files (NOT_MULTIPART, BAD_MULTIPART, UNKNOWN_FIELD, NO_FILES)",
    401: "The token is missing or wrong (NO_TOKEN)",
    403: "The server lists no studies (NO_LIST), or a page of another site asks (FOREIGN_ORIGIN)",
    404: "There is no such study, series, slice, class, mask or sample (NO_STUDY, NO_SLICE, "
    "NO_CLASS, NO_MASK, NO_SAMPLE)",
    408: "The upload is too slow (TOO_SLOW)",
    409: "The study is not done (NOT_DONE), takes no more files (NOT_RECEIVING), or is of another "
    "model (OTHER_MODEL)",
    413: "The upload is too large (TOO_LARGE, TOO_MANY_FILES)",
    415: "The body is compressed as a whole (ENCODED)",
    422: "A parameter is not what the route expects (INVALID)",
    503: "The server is busy (BUSY) or not ready (NOT_READY)",
    507: "The server's disk is full (DISK_FULL)",
}
LOCATION = {"Location": {"description": "Path of the study", **_TEXT}}
RETRY_AFTER = {"Retry-After": {"description": "Seconds after which to ask again", **_TEXT}}
IMAGE = {
    "X-Rows": {"description": "Number of rows", **_TEXT},
    "X-Columns": {"description": "Number of columns", **_TEXT},
}
HEAT_MAP = {
    **IMAGE,
    "X-Peak": {"description": "Logit that 255 stands for", **_TEXT},
    "X-Greatest": {"description": "Greatest logit of the slice", **_TEXT},
    "X-Explains": {"description": "Probability that the map explains", **_TEXT},
}


def errors(*statuses: int, headers: dict[str, Any] | None = None) -> dict[int | str, Any]:
    """Describes errors of a route.

    Args:
      statuses: HTTP statuses, 401 aside, which all routes of the API have.
      headers: Headers of those that say when to ask again.
    """
    return {
        status: {
            "model": ErrorAnswer,
            "description": _ERRORS[status],
            **({"headers": headers} if headers and status == 503 else {}),
        }
        for status in (401, *statuses)
    }
