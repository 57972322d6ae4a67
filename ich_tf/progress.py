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


def track(items: Iterable[Item], total: int, name: str, unit: str = "file") -> Iterator[Item]:
    """Yields `items`, and says on stderr how far it has come, how fast, and how long still."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=name, unit=unit)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            left = (total - done) / rate
            _LOG.info("%s: %d of %d, %.1f %s/s, %.0f s left", name, done, total, rate, unit, left)
