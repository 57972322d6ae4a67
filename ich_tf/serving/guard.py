"""Rules for every request: who may ask, the headers of answers, the log."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ich_tf.serving.errors import Refused
from ich_tf.serving.monitoring import RequestMonitor, log_failure
from ich_tf.serving.request_body import RequestBody
from ich_tf.serving.sub_path import path_within

# Scripts, styles and requests of this server alone; nothing inline.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")
# Name or address, and port (RFC 9110 7.2): what a URL may have beside them, no Host header has.
_HOST = re.compile(r"([a-z0-9._-]+|\[[a-f0-9:.]+\])(?::[0-9]*)?", re.ASCII | re.IGNORECASE)
# Paths that need the token, where there is one; the second is the gateway's.
_GUARDED = ("/api/", "/dicom-web/")
# Open even with a token: they tell nothing about any study.
OPEN = ("/healthz", "/readyz", "/api/docs", "/api/openapi.json")


def error_response(error: Refused) -> JSONResponse:
    """Makes the answer to an error."""
    headers = {"retry-after": str(error.retry_after)} if error.retry_after else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = {"error": {"code": error.code, "message": error.message}}
    return JSONResponse(body, error.status, headers)


class Guard:
    """ASGI middleware around all routes."""

    def __init__(
        self, app: ASGIApp, monitor: RequestMonitor, token: str, hosts: Sequence[str]
    ) -> None:
        """Wraps an application.

        Args:
          app: Application.
          monitor: Counters to update with every answer.
          token: Token that clients must send; empty for none.
          hosts: Names by which the server may be called; empty for any. Without a token a page of
            another site could otherwise let its own name resolve to this machine, and read what
            the server answers.
        """
        self._app, self._monitor = app, monitor
        self._token, self._hosts = token, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request that is refused, and passes on any other."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        has_two_lengths = _has_two_lengths(Headers(scope=scope))
        body = RequestBody(scope, receive)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        if method == "HEAD":
            # Routes know GET; the server sends no body to a request that was HEAD.
            scope = {**scope, "method": "GET"}

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                # Files of the page are asked for again, and answered by 304: modules of two
                # versions do not fit each other.
                headers["cache-control"] = "no-cache" if "etag" in headers else "no-store"
                if 300 <= status < 400 and "location" in headers:
                    # By path alone, with one slash: the name that a client called is no address.
                    path = urlsplit(headers["location"]).path
                    headers["location"] = f"/{path.lstrip('/')}"
                is_whole = status < 400 or await body.drain(is_slow=status == 408)
                if not is_whole or has_two_lengths:
                    headers["connection"] = "close"
            await send(message)

        # Any failure is answered; the log names the place, not the text, which may quote a file.
        try:
            refused = self._refused(scope)
            if refused is not None:
                await error_response(refused)(scope, body.receive, send_guarded)
            else:
                await self._app(scope, body.receive, send_guarded)
        except Exception as error:
            log_failure("a request", error)
            if not status:
                failed = Refused(500, "FAILED", "the server failed. Tell the person who runs it.")
                await error_response(failed)(scope, body.receive, send_guarded)
        finally:
            seconds = time.perf_counter() - begun
            self._monitor.answered(method, _route(scope), status, seconds)

    def _refused(self, scope: Scope) -> Refused | None:
        headers = Headers(scope=scope)
        if _has_two_lengths(headers):
            return Refused(
                400, "BAD_LENGTH", "a request has Content-Length or Transfer-Encoding, never both."
            )
        host = headers.get("host", "")
        if self._hosts and _host_name(host) not in self._hosts:
            return Refused(421, "WRONG_HOST", "this server answers only as 127.0.0.1 or localhost.")
        origin = headers.get("origin")
        foreign = origin is not None and not (host and _place(origin) == host)
        if scope["method"] not in ("GET", "HEAD") and (
            foreign or headers.get("sec-fetch-site") == "cross-site"
        ):
            return Refused(
                403, "FOREIGN_ORIGIN", "pages of other sites may not send requests to this server."
            )
        path = path_within(scope)
        guarded = path == "/metrics" or (path.startswith(_GUARDED) and path not in OPEN)
        if self._token and guarded:
            given = headers.get("authorization", "").encode()
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                return Refused(
                    401, "NO_TOKEN", "this server needs its token: Authorization: Bearer TOKEN."
                )
        return None


def _has_two_lengths(headers: Headers) -> bool:
    """Whether a proxy could see another end of the body, and of the next request (RFC 9112 6.1)."""
    return "content-length" in headers and "transfer-encoding" in headers


def _host_name(host: str) -> str:
    """Name in a Host header, without the port; empty if it is malformed."""
    found = _HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""


def _place(origin: str) -> str:
    """Name and port in an Origin header; empty if it is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _route(scope: Scope) -> str:
    route = scope.get("route")
    path = getattr(route, "path", None)
    if isinstance(path, str) and path:
        return path
    return "other"
