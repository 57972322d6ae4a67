"""Warnings that others cause: whoever connects can cause any number of them."""

from __future__ import annotations

import logging
import threading
import time

_SECONDS = 60.0


class RationedLog:
    """Logs a number of warnings a minute, and how many it left out."""

    def __init__(self, log: logging.Logger, most: int = 30) -> None:
        """Starts a minute.

        Args:
          log: Logger of the module.
          most: Most warnings a minute.
        """
        self._log, self._most = log, most
        self._lock = threading.Lock()
        self._begun, self._count = time.monotonic(), 0

    def warning(self, text: str, *values: object) -> None:
        """Logs a warning, or counts it.

        Args:
          text: Text with placeholders of `logging`.
          *values: Their values.
        """
        with self._lock:
            now = time.monotonic()
            left_out = 0
            if now > self._begun + _SECONDS:
                left_out = max(0, self._count - self._most)
                self._begun, self._count = now, 0
            self._count += 1
            is_logged = self._count <= self._most
        if left_out:
            self._log.warning("%d more warnings of that minute were not logged", left_out)
        if is_logged:
            self._log.warning(text, *values)
