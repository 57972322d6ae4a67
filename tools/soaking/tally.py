"""What was asked of the services, and what they answered that they should not have."""

from __future__ import annotations

import threading
from collections import Counter

_MOST_FAILURES = 50


class Unexpected(Exception):  # noqa: N818 - a finding, not an error of this program
    """An answer that is not the documented one, in words."""


class Tally:
    """Counts of requests by kind and outcome. Its methods may be called from any thread.

    Attributes:
      counts: (kind of request, outcome) -> number.
      failures: Answers that were not as documented, the first fifty.
      num_failures: Number of all of them.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.num_failures = 0
        self._lock = threading.Lock()

    def add(self, kind: str, outcome: str) -> None:
        """Counts a request that was answered as it should be.

        Args:
          kind: Kind of the request.
          outcome: What became of it, such as `202 done`.
        """
        with self._lock:
            self.counts[kind, outcome] += 1

    def fail(self, kind: str, text: str) -> None:
        """Counts a request that was not."""
        with self._lock:
            self.counts[kind, "UNEXPECTED"] += 1
            self.num_failures += 1
            if len(self.failures) < _MOST_FAILURES:
                self.failures.append(f"{kind}: {text}")

    @property
    def total(self) -> int:
        """Number of requests."""
        with self._lock:
            return sum(self.counts.values())


def expect(holds: object, text: str) -> None:
    """Raises `Unexpected` with a text, unless something holds."""
    if not holds:
        raise Unexpected(text)
