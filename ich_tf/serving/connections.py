"""Connections that end when a request's header does not come in time, or an answer is not read."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Time from the first byte of a header to its end, seconds; also that until the first byte.
HEADER_SECONDS = 10.0
# Time in which nothing of a waiting answer is taken, seconds; up to twice as long may pass.
UNREAD_SECONDS = 30.0


class TimedProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for good: for a header, and for a reader."""

    _timer: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _unread, _is_read = 0, False

    def connection_made(self, transport: Any) -> None:
        """Starts the timers."""
        super().connection_made(transport)
        self._watch()
        self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self._unwatch()
        if self._reading is not None:
            self._reading.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Notes that what waited was taken."""
        self._is_read = True
        super().resume_writing()

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

    def _watch_reading(self) -> None:
        """Ends the connection if what waits to be sent is what waited the last time."""
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting >= self._unread > 0 and not self._is_read:
            # Closing would wait for the reader, too.
            self.transport.abort()
            return
        self._unread, self._is_read = waiting, False
        self._reading = self.loop.call_later(UNREAD_SECONDS, self._watch_reading)

    def _end(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()
