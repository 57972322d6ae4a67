"""What one sender may use: an association, or the body of an HTTP request."""

from __future__ import annotations

import time

from ich_tf.gateway.config import LimitsSection
from ich_tf.gateway.ports import Refused

MIB = 2**20


class Meter:
    """Bytes and time of one sender.

    Attributes:
      num_bytes: Number of bytes that came.
    """

    def __init__(self, limits: LimitsSection) -> None:
        """Starts at 0.

        Args:
          limits: `[limits]` of the config.
        """
        self._limits = limits
        self._begun = self._latest = time.monotonic()
        self.num_bytes = 0

    def took(self, num_bytes: int) -> None:
        """Counts what came.

        Args:
          num_bytes: Number of bytes.

        Raises:
          Refused: TOO_LARGE.
        """
        self.num_bytes += num_bytes
        self._latest = time.monotonic()
        if self.num_bytes > self._limits.num_bytes("association_mb"):
            raise Refused(
                "TOO_LARGE",
                f"more than limits.association_mb = {self._limits.association_mb} MiB came at "
                "once; send fewer studies at a time.",
            )

    def answered(self) -> None:
        """Begins to wait for the sender, which was waiting for an answer until now."""
        self._latest = time.monotonic()

    def overdue(self) -> str:
        """Says which limit of time is passed; empty if none."""
        now = time.monotonic()
        if now - self._latest > self._limits.idle_seconds:
            return f"nothing came for limits.idle_seconds = {self._limits.idle_seconds:g} s"
        if now - self._begun > 60 * self._limits.association_minutes:
            minutes = self._limits.association_minutes
            return f"it took more than limits.association_minutes = {minutes:g} min"
        return ""
