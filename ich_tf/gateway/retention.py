"""What is deleted when: images and results of finished studies, and then their rows."""

from __future__ import annotations

from collections.abc import Callable

from ich_tf.gateway.config import KeepSection
from ich_tf.gateway.database import Database
from ich_tf.gateway.folders import Folders, remove
from ich_tf.gateway.states import DONE, FAILED, REFUSED

_HOUR, _DAY = 3600.0, 86400.0


class Retention:
    """Deletes what need not be kept."""

    def __init__(
        self, database: Database, folders: Folders, keep: KeepSection, clock: Callable[[], float]
    ) -> None:
        """Takes an open database.

        Args:
          database: The database of the queue.
          folders: The state folder.
          keep: What is kept how long.
          clock: Function that returns seconds since 1970.
        """
        self._database, self._folders, self._keep, self._clock = database, folders, keep, clock

    def clean_up(self) -> None:
        """Deletes folders of no study, left by a killed gateway or by a prediction that went on.

        Raises:
          OSError: If a file cannot be deleted.
          StateError: If the database cannot be read.
        """
        # Within the transaction: a study that comes now is stored after it.
        with self._database.transaction() as rows:
            kept = {
                str(number)
                for (number,) in rows.execute("SELECT number FROM study WHERE has_files")
            }
            for folder in self._folders.studies.iterdir():
                if folder.name not in kept:
                    remove(folder)

    def sweep(self) -> None:
        """Deletes files and rows whose time is over.

        Raises:
          OSError: If a file cannot be deleted.
          StateError: If the database cannot be written.
        """
        self.clean_up()
        now = self._clock()
        with self._database.transaction() as rows:
            over = rows.execute(
                "SELECT number, state FROM study WHERE has_files AND "
                "(state = ? AND finished <= ? OR state IN (?, ?) AND finished <= ?)",
                (
                    *(DONE, now - _HOUR * self._keep.images_hours),
                    *(FAILED, REFUSED, now - _HOUR * self._keep.failed_hours),
                ),
            ).fetchall()
        for number, state in over:
            with self._database.transaction() as rows:
                # Unless late images have begun it again.
                marked = rows.execute(
                    "UPDATE study SET has_files = 0 WHERE number = ? AND state = ?",
                    (number, state),
                ).rowcount
                # Within the transaction: an image that is sent again now is stored after it.
                if marked:
                    remove(self._folders.study(number))
        with self._database.transaction() as rows:
            before = now - _DAY * self._keep.rows_days
            rows.execute(
                "DELETE FROM instance WHERE study IN "
                "(SELECT number FROM study WHERE finished <= ? AND NOT has_files) "
                "OR study = 0 AND since <= ?",
                (before, before),
            )
            forgotten = rows.execute(
                "DELETE FROM study WHERE finished <= ? AND NOT has_files", (before,)
            ).rowcount
        if forgotten:
            self._database.empty_log()
