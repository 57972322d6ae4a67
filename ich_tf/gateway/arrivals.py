"""Images that come: which study they belong to, and what they change in the queue."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from ich_tf.gateway.config import LimitsSection, StudySection
from ich_tf.gateway.database import NEXT_VERSION, Database
from ich_tf.gateway.ports import Refused
from ich_tf.gateway.states import FAILED, PREDICTING, RECEIVING, REFUSED, WAITING, Study

# What became of an image.
STORED, KNOWN, LATE, TOO_LARGE = "stored", "known", "late", "too_large"


@dataclass(frozen=True)
class Arrival:
    """An image that came.

    Attributes:
      study_key, uid_key, key: Keys of its study, of its StudyInstanceUID, and its own.
      num_bytes: Size of its file.
      accession, study_uid: Names to store; empty for none.
    """

    study_key: bytes
    uid_key: bytes
    key: bytes
    num_bytes: int
    accession: str = ""
    study_uid: str = ""


class Arrivals:
    """The queue's end at which images come in."""

    def __init__(
        self,
        database: Database,
        study: StudySection,
        limits: LimitsSection,
        clock: Callable[[], float],
    ) -> None:
        """Takes an open database.

        Args:
          database: The database of the queue.
          study: Rules for studies.
          limits: Limits of the queue.
          clock: Function that returns seconds since 1970.
        """
        self._database, self._study, self._limits = database, study, limits
        self._clock = clock

    def add(self, arrival: Arrival, place: Callable[[int], None]) -> tuple[str, int]:
        """Adds an image to its study, which is on the disk when this returns.

        Args:
          arrival: The image.
          place: Function that puts the file into the folder of the study with this number; called
            only if the image is to be stored, and before that is true.

        Returns:
          What became of the image, and the number of its study.

        Raises:
          Refused: If too many studies wait already.
          StateError: If the database cannot be written.
        """
        now = self._clock()
        with self._database.transaction() as rows:
            study = self._study_of(rows, arrival, now)
            if _is_gone(study):
                study = _begin_anew(rows, study)
            found = rows.execute(
                "SELECT 1 FROM instance WHERE study = ? AND key = ?", (study.number, arrival.key)
            )
            if found.fetchone() is not None:
                return KNOWN, study.number
            is_stored = study.state in (RECEIVING, WAITING) or self._begins_again(study)
            if study.reason == "TOO_LARGE" or (is_stored and self._is_too_large(study, arrival)):
                rows.execute(
                    "UPDATE study SET state = ?, reason = 'TOO_LARGE', finished = ?, notify_at = 0,"
                    " has_files = 0, text = ? WHERE number = ? AND reason != 'TOO_LARGE'",
                    (REFUSED, now, self._limits_text(), study.number),
                )
                return TOO_LARGE, study.number
            rows.execute(
                "INSERT INTO instance VALUES (?, ?, ?, ?)",
                (study.number, arrival.key, "image" if is_stored else "late", now),
            )
            if not is_stored:
                rows.execute("UPDATE study SET late = late + 1 WHERE number = ?", (study.number,))
                return LATE, study.number
            if study.state not in (RECEIVING, WAITING):
                rows.execute(f"UPDATE study SET {NEXT_VERSION} WHERE number = ?", (study.number,))
            rows.execute(
                "UPDATE study SET state = ?, images = images + 1, num_bytes = num_bytes + ?, "
                "last_image = ?, attempts = 0 WHERE number = ?",
                (RECEIVING, arrival.num_bytes, now, study.number),
            )
            place(study.number)
            return STORED, study.number

    def missing(self, uid_key: bytes, study_key: bytes | None, keys: dict[bytes, str]) -> list[str]:
        """Chooses the instances that never came.

        Args:
          uid_key: Key of the StudyInstanceUID.
          study_key: Key of it and the patient; None if the archive tells no patient.
          keys: Key -> SOPInstanceUID of each instance.
        """
        with self._database.transaction() as rows:
            refused = rows.execute(
                "SELECT 1 FROM study WHERE uid_key = ?1 AND key = coalesce(?2, key) AND "
                "reason = 'TOO_LARGE'",
                (uid_key, study_key),
            )
            if refused.fetchone() is not None:
                return []
            return [
                sop_uid
                for key, sop_uid in keys.items()
                if not rows.execute("SELECT 1 FROM instance WHERE key = ?", (key,)).fetchone()
            ]

    def is_own(self, key: bytes) -> bool:
        """Whether an instance is a result of this gateway."""
        with self._database.transaction() as rows:
            found = rows.execute("SELECT 1 FROM instance WHERE key = ? AND kind = 'own'", (key,))
            return found.fetchone() is not None

    def remember_unwanted(self, key: bytes) -> None:
        """Remembers an instance that was refused for what it is, so that it is not fetched again.

        Args:
          key: Key of the instance.
        """
        with self._database.transaction() as rows:
            rows.execute(
                "INSERT OR IGNORE INTO instance VALUES (0, ?, 'unwanted', ?)", (key, self._clock())
            )

    def _study_of(self, rows: sqlite3.Connection, arrival: Arrival, now: float) -> Study:
        """The study of an image, made if it is new."""
        query = "SELECT * FROM study WHERE key = ?"
        row = rows.execute(query, (arrival.study_key,)).fetchone()
        if row is None:
            self._check_queue(rows)
            rows.execute(
                "INSERT INTO study (key, uid_key, first_image, last_image, accession, study_uid) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(arrival.study_key, arrival.uid_key, now, now),
                    *(arrival.accession, arrival.study_uid),
                ),
            )
            row = rows.execute(query, (arrival.study_key,)).fetchone()
        return Study.of_row(row)

    def _check_queue(self, rows: sqlite3.Connection) -> None:
        (waiting,) = rows.execute(
            "SELECT COUNT(*) FROM study WHERE state IN (?, ?)", (RECEIVING, WAITING)
        ).fetchone()
        if waiting >= self._limits.studies:
            raise Refused(
                "QUEUE_FULL",
                f"{waiting} studies come in or wait already, as many as limits.studies allows. "
                "Send it later.",
            )

    def _begins_again(self, study: Study) -> bool:
        """Whether a new image begins a study again that was handled."""
        if not study.has_files:
            return False
        # Of these nothing was sent: the series that can be read may come after a scout.
        is_unsent = study.state in (PREDICTING, REFUSED) or (
            study.state == FAILED and study.reason != "NOT_SENT"
        )
        return is_unsent or self._study.late == "again"

    def _is_too_large(self, study: Study, arrival: Arrival) -> bool:
        return (
            study.images >= self._limits.study_instances
            or study.num_bytes + arrival.num_bytes > self._limits.num_bytes("study_mb")
        )

    def _limits_text(self) -> str:
        return (
            f"more than {self._limits.study_instances} images or {self._limits.study_mb} MiB. Send "
            "the series of the head alone, or raise [limits]."
        )


def _is_gone(study: Study) -> bool:
    """Whether a study failed whose images are deleted, so that they can only be sent again.

    One that is too large stays refused: a sender that repeats itself would fill the disk.
    """
    is_failed = study.state in (FAILED, REFUSED) and study.reason != "TOO_LARGE"
    return is_failed and not study.has_files


def _begin_anew(rows: sqlite3.Connection, study: Study) -> Study:
    """Forgets the images of a study, and lets it come in again."""
    rows.execute("DELETE FROM instance WHERE study = ? AND kind != 'own'", (study.number,))
    rows.execute(
        f"UPDATE study SET {NEXT_VERSION}, state = ?, images = 0, num_bytes = 0, late = 0, "
        "has_files = 1 WHERE number = ?",
        (RECEIVING, study.number),
    )
    row = rows.execute("SELECT * FROM study WHERE number = ?", (study.number,)).fetchone()
    return Study.of_row(row)
