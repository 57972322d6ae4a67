"""Connections that end when a request's header does not come in time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Time from the first byte of a header to its end, seconds; also that until the first byte.
HEADER_SECONDS = 10.0


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for a header for good."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Starts the timer."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Stops the timer once the header is there; what follows an answer starts it again."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._timer is None:
            self._watch()

    def on_response_complete(self) -> None:
        """Stops the timer: between requests uvicorn's own one runs."""
        self._unwatch()
        super().on_response_complete()

    def _watch(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._end)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
