"""SIGTERM, which clusters send before they take a machine away: a request to stop soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

# A cluster that signals all processes of a job reaches one twice whose parent passes the signal on.
_SAME_REQUEST_SECONDS = 1.0


def end_in_order(exit_code: int) -> None:
    """Has SIGTERM and SIGHUP end this process as Ctrl-C does: temporary files go, locks are freed.

    SIGHUP comes when a terminal is closed, and is left alone where `nohup` ignores it. A second
    signal, a second later, ends the process at once.

    Args:
      exit_code: Exit code of the process.
    """
    first = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not first:
            first = time.monotonic()
            # Not `print`: the main thread may be within one.
            os.write(2, b"Terminated. Run the same command again to continue.\n")
            # No `Exception`, which code that outlives whatever a file causes would catch.
            raise SystemExit(exit_code)
        if time.monotonic() - first > _SAME_REQUEST_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, handle)


class Interruption:
    """Context manager in which SIGTERM only sets `requested`; a later one ends the process.

    It has no effect outside the main thread, which alone receives signals.

    Attributes:
      requested: Whether SIGTERM was received.
    """

    def __init__(self, pass_on: Callable[[], None] | None = None) -> None:
        """Stores what else to do.

        Args:
          pass_on: Function that is called at the first SIGTERM, from the signal's handler.
        """
        self.requested = False
        self._pass_on = pass_on
        self._since = 0.0
        self._former_handler: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._former_handler = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._former_handler is not None:
            signal.signal(signal.SIGTERM, self._former_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
            if self._pass_on is not None:
                self._pass_on()
        elif time.monotonic() - self._since > _SAME_REQUEST_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
