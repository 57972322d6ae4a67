"""Warnings that others cause: whoever connects can cause any number of them."""

from __future__ import annotations

import logging
import threading
import time

_SECONDS = 60.0
_LEFT_OUT = "%d more warnings of that minute were not logged"


class RationedLog:
    """Logs a number of warnings a minute, and how many it left out."""

    def __init__(self, log: logging.Logger, most: int = 30) -> None:
        """Starts a minute.

        Args:
          log: Logger of the module.
          most: Most warnings a minute.
        """
        self._log, self._ration = log, _Ration(most)

    def warning(self, text: str, *values: object) -> None:
        """Logs a warning, or counts it.

        Args:
          text: Text with placeholders of `logging`.
          *values: Their values.
        """
        is_logged, left_out = self._ration.take()
        if left_out:
            self._log.warning(_LEFT_OUT, left_out)
        if is_logged:
            self._log.warning(text, *values)


class RationedWarnings(logging.Filter):
    """Lets a number of a library's warnings a minute through; errors are not counted."""

    def __init__(self, most: int = 30) -> None:
        """Starts a minute.

        Args:
          most: Most warnings a minute.
        """
        super().__init__()
        self._ration = _Ration(most)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged."""
        if record.levelno != logging.WARNING or record.msg == _LEFT_OUT:
            return True
        is_logged, left_out = self._ration.take()
        if left_out:
            logging.getLogger(record.name).warning(_LEFT_OUT, left_out)
        return is_logged


class _Ration:
    """Counts a minute's warnings."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._begun, self._count = time.monotonic(), 0

    def take(self) -> tuple[bool, int]:
        """Whether one more may be logged, and how many of a minute that is over were not."""
        with self._lock:
            now, left_out = time.monotonic(), 0
            if now > self._begun + _SECONDS:
                left_out = max(0, self._count - self._most)
                self._begun, self._count = now, 0
            self._count += 1
            return self._count <= self._most, left_out
