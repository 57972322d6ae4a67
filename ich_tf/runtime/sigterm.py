"""SIGTERM, which clusters send before they take a machine away: a request to stop soon."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interruption:
    """Context manager in which SIGTERM only sets `requested`; a second SIGTERM ends the process.

    It has no effect outside the main thread, which alone receives signals.

    Attributes:
      requested: Whether SIGTERM was received.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former_handler: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._former_handler = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._former_handler is not None:
            signal.signal(signal.SIGTERM, self._former_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
