"""The longest time of a request to an archive, whatever the archive sends meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any


class RequestWatch:
    """Ends a request whose answer does not begin.

    httpx counts from one byte to the next, and reads on after each answer of status 1xx: a header
    that trickles, or such answers without end, would hold it for good.

    Attributes:
      is_cut: Whether the time was over.
    """

    def __init__(self, wires: set[socket.socket], seconds: float) -> None:
        """Starts no timer yet.

        Args:
          wires: Sockets of the client, to which those that it opens are added.
          seconds: Time for the request and its answer.
        """
        self.is_cut = False
        self._wires = wires
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def on_event(self, name: str, info: Mapping[str, Any]) -> None:
        """Remembers the sockets that httpx opens."""
        if name in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            for wire in [wire for wire in self._wires if wire.fileno() < 0]:
                self._wires.discard(wire)
            self._wires.add(info["return_value"].get_extra_info("socket"))

    def _cut(self) -> None:
        self.is_cut = True
        for wire in list(self._wires):
            # That of an SSLSocket would take away the cipher under the reading thread.
            with suppress(OSError):
                socket.socket.shutdown(wire, socket.SHUT_RDWR)
