"""The queue's database: SQLite in WAL mode, on the disk before anything is acknowledged."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.runtime.permissions import own_file
from ich_tf.runtime.writing import disk_problem

_VERSION = 1
_BUSY_SECONDS = 20.0
_TABLES = """
CREATE TABLE study (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    uid_key BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'receiving',
    version INTEGER NOT NULL DEFAULT 0,
    images INTEGER NOT NULL DEFAULT 0,
    num_bytes INTEGER NOT NULL DEFAULT 0,
    late INTEGER NOT NULL DEFAULT 0,
    first_image REAL NOT NULL,
    last_image REAL NOT NULL,
    predicted REAL,
    finished REAL,
    next_attempt REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    urgency REAL,
    findings TEXT NOT NULL DEFAULT '{}',
    is_suspected INTEGER,
    warnings TEXT NOT NULL DEFAULT '[]',
    objects INTEGER NOT NULL DEFAULT 0,
    sent INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    has_files INTEGER NOT NULL DEFAULT 1,
    accession TEXT NOT NULL DEFAULT '',
    study_uid TEXT NOT NULL DEFAULT '',
    notify_at REAL,
    notify_attempts INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX study_by_state ON study (state);
CREATE INDEX study_by_uid ON study (uid_key);
-- kind: image (stored), late (not stored), own (a result of this gateway), unwanted (was refused).
CREATE TABLE instance (
    study INTEGER NOT NULL,
    key BLOB NOT NULL,
    kind TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (study, key)
) WITHOUT ROWID;
CREATE INDEX instance_by_key ON instance (key);
"""


# Assignments by which a study begins again: the next version of its results is another.
NEXT_VERSION = (
    "version = version + 1, attempts = 0, reason = '', text = '', finished = NULL, "
    "predicted = NULL, urgency = NULL, findings = '{}', is_suspected = NULL, warnings = '[]', "
    "objects = 0, sent = 0, notify_at = NULL, notify_attempts = 0"
)


class StateError(Exception):
    """The queue cannot be read or written at present, for a reason in words."""


class Database:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Takes an open connection."""
        self._path, self._connection = path, connection
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Database:
        """Opens the database, or makes it.

        Raises:
          InputError: If it is damaged, of another version, or cannot be opened.
        """
        try:
            # SQLite's logs beside it get its permissions.
            own_file(path)
            connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            # FULL: a commit is on the disk when it returns, also in WAL mode.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            # What is deleted is overwritten.
            connection.execute("PRAGMA secure_delete = ON")
            (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if health != "ok":
                raise sqlite3.DatabaseError("malformed")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT;"
                )
            elif version != _VERSION:
                raise InputError(
                    f"{path}: is of version {version}; this version of ich_tf reads {_VERSION}. "
                    "Give another keep.state_dir, or run the version that wrote it."
                )
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{path}: {_problem(error)}") from error
        return cls(path, connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Context in which statements are done all or not at all; on the disk at its end.

        Raises:
          StateError: If the database cannot be read or written.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise StateError(f"{self._path.name}: {_problem(error)}") from error

    def empty_log(self) -> None:
        """Empties the write-ahead log, in which what was deleted still stands.

        Raises:
          StateError: If the database cannot be written.
        """
        with self._lock:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error as error:
                raise StateError(f"{self._path.name}: {_problem(error)}") from error

    def close(self) -> None:
        """Closes the connection."""
        with self._lock:
            self._connection.close()


def _problem(error: Exception) -> str:
    problem = disk_problem(error)
    if problem is not None:
        return f"cannot be used ({problem})."
    text = str(error).lower()
    if "locked" in text:
        return "is locked by another program. Close whatever has it open."
    if "malformed" in text or "not a database" in text:
        return (
            "is damaged. Move the state folder away and start with a new one: the archive has to "
            "send again what was not done."
        )
    return f"cannot be used ({type(error).__name__})."
