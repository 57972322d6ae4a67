"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 30.0

Item = TypeVar("Item")


class Tracker:
    """Says on stderr how far work has come, how fast, and how long it will still take."""

    def __init__(self, total: int, name: str, unit: str, done: int = 0) -> None:
        """Begins.

        Args:
          total: Items.
          name: Of the work.
          unit: Of an item.
          done: Items that are done already.
        """
        self._total, self._name, self._unit = total, name, unit
        self._first = self._done = done
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=name, unit=unit)

    def update(self, number: int = 1, note: str = "") -> None:
        """Counts items as done; `note` is shown beside the count."""
        self._done += number
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(number)
            return
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            rate = (self._done - self._first) / (now - self._start)
            left = (self._total - self._done) / rate
            _LOG.info(
                "%s: %d of %d%s, %.1f %s/s, %.0f s left",
                *(self._name, self._done, self._total, f", {note}" if note else ""),
                *(rate, self._unit, left),
            )

    def close(self) -> None:
        """Ends the line of a terminal's bar."""
        if self._bar is not None:
            self._bar.close()


def track(items: Iterable[Item], total: int, name: str, unit: str = "file") -> Iterator[Item]:
    """Yields `items`, under a `Tracker`."""
    tracker = Tracker(total, name, unit)
    try:
        for item in items:
            yield item
            tracker.update()
    finally:
        tracker.close()
