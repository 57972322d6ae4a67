"""The body of a request: whether it was read to its end, and reading on where it was not."""

from __future__ import annotations

import asyncio
import contextlib
import time

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope

# A client that is still sending would see its connection reset instead of the answer, and a proxy
# would answer 502 in its place: the body of a refused request is read on for this long, as long as
# something comes.
_DRAIN_SECONDS = 30.0
_IDLE_SECONDS = 2.0
_SLOW_SECONDS = 0.2


class RequestBody:
    """The body of one request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Stores its arguments.

        Args:
          scope: Scope of the request.
          receive: Awaited for each message of the request.
        """
        headers = Headers(scope=scope)
        self._receive = receive
        self._is_complete = (
            headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        )
        # A client that waits for a go-ahead has sent nothing, and reads the answer instead.
        self._waits = headers.get("expect", "").lower() == "100-continue"

    async def receive(self) -> Message:
        """Awaits the next message of the request."""
        self._waits = False
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_complete = True
        return message

    async def drain(self, *, is_slow: bool = False) -> bool:
        """Reads on to the end of the body, as long as something comes.

        Args:
          is_slow: Whether the client was too slow, so that it is not waited for.

        Returns:
          Whether the connection can be used for another request.
        """
        if self._waits:
            return self._is_complete
        end = time.monotonic() + (_SLOW_SECONDS if is_slow else _DRAIN_SECONDS)
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            while not self._is_complete and (left := end - time.monotonic()) > 0:
                await asyncio.wait_for(self.receive(), min(left, _IDLE_SECONDS))
        return self._is_complete
