"""The queue of studies: what is done with each, and what is left to do.

Every method is one transaction, on the disk when it returns, so that a killed gateway goes on from
what was true. A method that ends a step does nothing if the study is no longer in that step: images
that came meanwhile may have begun it again.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Sequence

from ich_tf.gateway.database import NEXT_VERSION, Database
from ich_tf.gateway.prediction import StudyPrediction
from ich_tf.gateway.states import (
    FAILED,
    FINISHED,
    PREDICTING,
    RECEIVING,
    REFUSED,
    SENDING,
    STATES,
    WAITING,
    Study,
)
from ich_tf.labels import ANY, CLASSES

# A gateway that is killed while it predicts is mostly not killed by the study.
MAX_ATTEMPTS = 10


class StudyQueue:
    """The studies of a gateway."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """Takes an open database.

        Args:
          database: The database.
          clock: Function that returns seconds since 1970.
        """
        self._database = database
        self.clock = clock

    def forget_names(self) -> None:
        """Deletes the names in the archive that study.identify_by no longer asks for."""
        with self._database.transaction() as rows:
            forgotten = rows.execute(
                "UPDATE study SET accession = '', study_uid = '' "
                "WHERE accession != '' OR study_uid != ''"
            ).rowcount
        if forgotten:
            self._database.empty_log()

    def recover(self) -> None:
        """Begins again what a killed gateway had begun; a study that came in waits anew."""
        now = self.clock()
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET state = ?, reason = 'CRASHED', finished = ?, notify_at = 0, "
                "text = 'the gateway ended ' || attempts || ' times while it predicted this study.'"
                " WHERE state = ? AND attempts >= ?",
                (FAILED, now, PREDICTING, MAX_ATTEMPTS),
            )
            rows.execute("UPDATE study SET state = ? WHERE state = ?", (WAITING, PREDICTING))
            # Its sender may have been cut off: it has the time of a new image to go on.
            rows.execute("UPDATE study SET last_image = ? WHERE state = ?", (now, RECEIVING))

    def heed_clock(self, max_wait_seconds: float) -> None:
        """Brings times back that lie ahead, as after the clock was set back.

        Else a study would wait for as long as the clock was set back: to be complete, to be sent,
        or to be deleted.

        Args:
          max_wait_seconds: Longest time to the next attempt to send, or to tell of a study.
        """
        now = self.clock()
        later = now + max_wait_seconds
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET first_image = min(first_image, :now), "
                "last_image = min(last_image, :now), predicted = min(predicted, :now), "
                "finished = min(finished, :now), next_attempt = min(next_attempt, :later), "
                "notify_at = min(notify_at, :later) WHERE max(first_image, last_image) > :now "
                "OR predicted > :now OR finished > :now OR next_attempt > :later "
                "OR notify_at > :later",
                {"now": now, "later": later},
            )

    def close_stable(self, seconds: float) -> int:
        """Lets studies wait for prediction to which no image came for so long; returns how many."""
        now = self.clock()
        with self._database.transaction() as rows:
            return rows.execute(
                "UPDATE study SET state = ? WHERE state = ? AND last_image <= ?",
                (WAITING, RECEIVING, now - seconds),
            ).rowcount

    def begin_prediction(self) -> Study | None:
        """Takes the study that waits longest; one whose prediction ended the gateway comes last.

        There is one worker: a study whose prediction was begun and whose end could not be written
        waits again.
        """
        with self._database.transaction() as rows:
            rows.execute("UPDATE study SET state = ? WHERE state = ?", (WAITING, PREDICTING))
            row = rows.execute(
                "SELECT number FROM study WHERE state = ? ORDER BY attempts, number LIMIT 1",
                (WAITING,),
            ).fetchone()
            if row is None:
                return None
            rows.execute(
                "UPDATE study SET state = ?, attempts = attempts + 1 WHERE number = ?",
                (PREDICTING, row["number"]),
            )
            return self._find(rows, row["number"])

    def give_back(self, study: Study) -> None:
        """Lets a study wait again whose prediction failed for a reason of this machine."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET state = ?, attempts = attempts - 1 "
                "WHERE number = ? AND version = ? AND state = ?",
                (WAITING, study.number, study.version, PREDICTING),
            )

    def end_prediction(
        self, study: Study, prediction: StudyPrediction, results: Sequence[bytes]
    ) -> bool:
        """Stores a prediction whose results are on the disk, and lets them be sent.

        Args:
          study: The study, as `begin_prediction` returned it.
          prediction: What was found in it.
          results: Key of each result (`keys.Keys.instance`).

        Returns:
          Whether the study was still the same; else the results must not be sent.
        """
        now = self.clock()
        with self._database.transaction() as rows:
            ended = rows.execute(
                "UPDATE study SET state = ?, predicted = ?, urgency = ?, findings = ?, "
                "is_suspected = ?, warnings = ?, objects = ?, sent = 0, attempts = 0, "
                "next_attempt = 0 WHERE number = ? AND version = ? AND state = ?",
                (
                    *(SENDING, now, prediction.findings[CLASSES[ANY]]),
                    *(json.dumps(dict(prediction.findings)), prediction.is_suspected),
                    *(json.dumps(prediction.warnings), len(results)),
                    *(study.number, study.version, PREDICTING),
                ),
            )
            if ended.rowcount:
                # Before anything is sent: an archive may send it back at once.
                rows.executemany(
                    "INSERT OR REPLACE INTO instance VALUES (?, ?, 'own', ?)",
                    ((study.number, key, now) for key in results),
                )
            return bool(ended.rowcount)

    def next_to_send(self) -> Study | None:
        """The most urgent study whose results are to be sent now."""
        with self._database.transaction() as rows:
            row = rows.execute(
                "SELECT * FROM study WHERE state = ? AND next_attempt <= ? "
                "ORDER BY urgency DESC, number LIMIT 1",
                (SENDING, self.clock()),
            ).fetchone()
            return None if row is None else Study.of_row(row)

    def predict_again(self, study: Study) -> None:
        """Lets a study wait again whose results are gone."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET state = ? WHERE number = ? AND version = ? AND state = ?",
                (WAITING, study.number, study.version, SENDING),
            )

    def postpone(self, study: Study, seconds: float, reason: str, text: str) -> None:
        """Notes a failed attempt to send, and the time until the next."""
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE study SET attempts = attempts + 1, next_attempt = ?, reason = ?, text = ? "
                "WHERE number = ? AND version = ? AND state = ?",
                (
                    *(self.clock() + seconds, reason, text),
                    *(study.number, study.version, SENDING),
                ),
            )

    def finish(
        self, study: Study, state: str, reason: str = "", text: str = "", *, sent: int = 0
    ) -> bool:
        """Ends a study.

        Args:
          study: The study, in the state of its last step.
          state: One of `FINISHED`.
          reason: One of `REASONS`; empty for `DONE`.
          text: Reason in words.
          sent: Number of results that the destination took.

        Returns:
          Whether the study was still in that step.
        """
        assert state in FINISHED, state
        with self._database.transaction() as rows:
            return bool(
                rows.execute(
                    "UPDATE study SET state = ?, reason = ?, text = ?, finished = ?, sent = ?, "
                    "notify_at = 0 WHERE number = ? AND version = ? AND state = ?",
                    (
                        *(state, reason, text, self.clock(), sent),
                        *(study.number, study.version, study.state),
                    ),
                ).rowcount
            )

    def retry(self, number: int) -> bool:
        """Lets a failed or refused study wait again; returns whether its images are still there."""
        with self._database.transaction() as rows:
            return bool(
                rows.execute(
                    f"UPDATE study SET {NEXT_VERSION}, state = ? "
                    "WHERE number = ? AND state IN (?, ?) AND has_files",
                    (WAITING, number, FAILED, REFUSED),
                ).rowcount
            )

    def find(self, number: int) -> Study | None:
        """The study with this number; None if it is gone."""
        with self._database.transaction() as rows:
            return self._find(rows, number)

    def studies(self, hours: float = math.inf) -> list[Study]:
        """The studies, by number.

        Args:
          hours: Greatest age of the last image of those that are finished.
        """
        since = self.clock() - 3600.0 * hours
        with self._database.transaction() as rows:
            found = rows.execute(
                "SELECT * FROM study WHERE finished IS NULL OR last_image >= ? ORDER BY number",
                (since,),
            )
            return list(map(Study.of_row, found))

    def counts(self) -> dict[str, int]:
        """Number of studies in each state."""
        with self._database.transaction() as rows:
            counted = rows.execute("SELECT state, COUNT(*) FROM study GROUP BY state").fetchall()
        return dict.fromkeys(STATES, 0) | dict(counted)

    def oldest_waiting(self) -> float | None:
        """Time of the last image of the study that waits longest for its results; None if none."""
        with self._database.transaction() as rows:
            (oldest,) = rows.execute(
                "SELECT MIN(last_image) FROM study WHERE state IN (?, ?, ?)",
                (WAITING, PREDICTING, SENDING),
            ).fetchone()
            return None if oldest is None else float(oldest)

    @staticmethod
    def _find(rows: sqlite3.Connection, number: int) -> Study | None:
        row = rows.execute("SELECT * FROM study WHERE number = ?", (number,)).fetchone()
        return None if row is None else Study.of_row(row)
