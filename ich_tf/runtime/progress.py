"""Progress of long work: a bar on a terminal, a log line every 30 s elsewhere."""

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
    """Progress display on stderr: items done, items a second, and the remaining time."""

    def __init__(self, total: int, name: str, unit: str, done: int = 0) -> None:
        """Starts the display.

        Args:
          total: Number of items.
          name: Name of the work, shown first.
          unit: Name of one item, for example `file`.
          done: Number of items that are done already.
        """
        self._total, self._name, self._unit = total, name, unit
        self._first = self._done = done
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=name, unit=unit)

    def update(self, number: int = 1, note: str = "") -> None:
        """Counts items as done.

        Args:
          number: Number of items done since the last update.
          note: Text to show beside the count.
        """
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
        """Closes the bar of a terminal."""
        if self._bar is not None:
            self._bar.close()


def track(items: Iterable[Item], total: int, name: str, unit: str = "file") -> Iterator[Item]:
    """Yields items and shows the progress.

    Args:
      items: Items to yield.
      total: Number of items.
      name: Name of the work, shown first.
      unit: Name of one item.
    """
    tracker = Tracker(total, name, unit)
    try:
        for item in items:
            yield item
            tracker.update()
    finally:
        tracker.close()
