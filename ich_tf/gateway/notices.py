"""Studies that ended and that another program is yet to be told of."""

from __future__ import annotations

from collections.abc import Callable

from ich_tf.gateway.database import Database
from ich_tf.gateway.states import Study

# Longest time from one attempt to the next.
MAX_RETRY_SECONDS = 600.0


class Notices:
    """The notices that are due; they are in the queue's database, and survive a restart."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """Takes an open database.

        Args:
          database: The database of the queue.
          clock: Function that returns seconds since 1970.
        """
        self._database, self._clock = database, clock

    def next_due(self) -> tuple[Study, int] | None:
        """The most urgent study to tell of now, and the number of attempts that failed."""
        with self._database.transaction() as rows:
            row = rows.execute(
                "SELECT * FROM study WHERE notify_at <= ? ORDER BY urgency DESC, number LIMIT 1",
                (self._clock(),),
            ).fetchone()
            return None if row is None else (Study.of_row(row), int(row["notify_attempts"]))

    def done(self, study: Study) -> None:
        """Notes that the other program knows of a study, or never will."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET notify_at = NULL, notify_attempts = 0 "
                "WHERE number = ? AND finished = ?",
                (study.number, study.finished),
            )

    def postpone(self, study: Study, seconds: float) -> None:
        """Notes a failed attempt, and the time until the next."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET notify_at = ?, notify_attempts = notify_attempts + 1 "
                "WHERE number = ? AND finished = ?",
                (self._clock() + seconds, study.number, study.finished),
            )
