"""Store of predictions: a SQLite database beside the submission, deleted when that is complete.

Memory does not grow with the number of slices, and a killed run continues where it was. The
database holds study, series and image UIDs, which the results name as well, and no patient's id but
as a hash. It is its owner's alone, and what is deleted from it is overwritten.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import Reason
from ich_tf.inference.prediction import layout
from ich_tf.inference.prediction.layout import Layout, header_of_text, header_text, series_key
from ich_tf.labels import ANY, CLASSES
from ich_tf.runtime.permissions import own_file
from ich_tf.runtime.writing import disk_problem

# Kind of volume -> class -> millilitres, None where they are not known.
Volumes = dict[str, dict[str, float | None]]

_SECONDS_BETWEEN_COMMITS = 2.0
_SCHEMA = """
CREATE TABLE about (fingerprint TEXT, laid_out INTEGER);
CREATE TABLE done (source INTEGER PRIMARY KEY);
CREATE TABLE slices (
    source INTEGER, frame INTEGER, image_id BLOB, instance_id BLOB, series TEXT, header TEXT,
    logits BLOB, z_mm REAL, probabilities BLOB, bleed REAL, whole BLOB, mask BLOB,
    brain_mm2 REAL,
    PRIMARY KEY (source, frame)
);
CREATE INDEX slices_by_image ON slices (image_id);
CREATE INDEX slices_by_instance ON slices (instance_id);
CREATE INDEX slices_by_series ON slices (series);
CREATE TABLE volumes (series TEXT PRIMARY KEY, volumes TEXT);
CREATE TABLE rejected (
    source INTEGER, frame INTEGER, reason TEXT, message TEXT, PRIMARY KEY (source, frame)
);
"""


@dataclass(frozen=True, eq=False)
class StoredPrediction:
    """A predicted slice.

    Attributes:
      source: Place of its file in the list of sources.
      image_id: Id of the image in a submission.
      header: Identifiers and geometry of the slice.
      values: Outputs of the predictor, float64 [k], until the series is complete; then
        probabilities, float64 [6].
      z_mm: Position along the normal of the series, mm; 0 until the series is complete.
      whole: Probabilities of its series by a series model, float64 [6]; None without one.
      mask: Mask of the DICOM image as `image_masks.encode_bits` writes it; empty without one.
      brain_mm2: Area of brain in the slice, mm2.
    """

    source: int
    image_id: str
    header: Header
    values: np.ndarray
    z_mm: float = 0.0
    whole: np.ndarray | None = None
    mask: bytes = b""
    brain_mm2: float = 0.0


class PredictionStore:
    """Predictions of one list of files by one model.

    Attributes:
      layout: Which slices the files hold, and which of them are predicted.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        """Takes over an open database; see `open`.

        Args:
          path: Path of the database.
          database: Connection to it.
        """
        self._path = path
        self._database = database
        self.layout = Layout(database)
        self._last_commit = time.monotonic()

    @classmethod
    def open(cls, path: Path, fingerprint: str) -> PredictionStore:
        """Opens the database of an earlier run, or replaces it by an empty one.

        Args:
          path: Path of the database.
          fingerprint: Hash of files and model. A database with another fingerprint, or a damaged
            one, is deleted.

        Raises:
          InputError: If something else than a file of this user lies there.
        """
        if path.exists() or path.is_symlink():
            own_file(path)  # its name can be foreseen, and the folder may be one of many users
            database = sqlite3.connect(path)
            try:
                row = database.execute("SELECT fingerprint FROM about").fetchone()
                if row == (fingerprint,):
                    store = cls(path, database)
                    store._retry()
                    return store
            except sqlite3.DatabaseError as error:
                if disk_problem(error) is not None:
                    raise
                # Otherwise it was killed while it was made.
            database.close()
            path.unlink()
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        own_file(path)
        database = sqlite3.connect(path)
        database.execute("PRAGMA secure_delete = ON")
        database.executescript(_SCHEMA + layout.TABLE)
        database.execute("INSERT INTO about VALUES (?, 0)", (fingerprint,))
        database.commit()
        return cls(path, database)

    def _retry(self) -> None:
        """Forgets files that were left out for a reason of the machine: they are read again."""
        codes = [reason.value for reason in Reason if reason.is_of_machine]
        chosen = f"reason IN ({','.join('?' * len(codes))})"
        self._database.execute(
            f"DELETE FROM done WHERE source IN (SELECT source FROM rejected WHERE {chosen})", codes
        )
        self._database.execute(f"DELETE FROM rejected WHERE {chosen}", codes)
        self._database.commit()

    def close(self, *, remove: bool = False) -> None:
        """Closes the database.

        Args:
          remove: Whether to delete it, once all of its content is in other files.
        """
        try:
            self._database.commit()
        finally:
            self._database.close()
        if remove:
            self._path.unlink()

    def is_done(self, sources: Sequence[int]) -> bool:
        """Whether all slices of these files have been predicted."""
        marks = ",".join("?" * len(sources))
        query = f"SELECT COUNT(*) FROM done WHERE source IN ({marks})"
        return bool(self._database.execute(query, list(sources)).fetchone()[0] == len(sources))

    def num_done(self) -> int:
        """Returns the number of files whose slices have all been predicted."""
        return int(self._database.execute("SELECT COUNT(*) FROM done").fetchone()[0])

    def add(self, predictions: Iterable[StoredPrediction]) -> None:
        """Stores slices with the outputs of the predictor as `values`."""
        self._database.executemany(
            "INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?, ?, ?, ?, 0, NULL, NULL, NULL, ?, ?)",
            (
                (
                    slice_.source,
                    slice_.header.frame,
                    _bytes(slice_.image_id),
                    _bytes(slice_.header.image_id),
                    series_key(slice_.header),
                    header_text(slice_.header),
                    slice_.values.astype(np.float64).tobytes(),
                    slice_.mask,
                    slice_.brain_mm2,
                )
                for slice_ in predictions
            ),
        )

    def reject(self, source: int, frame: int, reason: str, message: str) -> None:
        """Stores why a slice could not be read.

        Args:
          source: Place of its file in the list of sources.
          frame: Number of the frame; 0 if nothing of the file could be read.
          reason: Reason code.
          message: Description of the failure.
        """
        self._database.execute(
            "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?)", (source, frame, reason, message)
        )

    def mark_done(self, sources: Iterable[int]) -> None:
        """Marks files whose slices have all been predicted, or that could not be read."""
        self._database.executemany(
            "INSERT OR REPLACE INTO done VALUES (?)", ((source,) for source in sources)
        )
        if time.monotonic() - self._last_commit > _SECONDS_BETWEEN_COMMITS:
            self._database.commit()
            self._last_commit = time.monotonic()

    def by_series(self, column: str = "logits") -> Iterator[list[StoredPrediction]]:
        """Yields the slices of each series, along its normal; series sorted by their ids.

        Args:
          column: Column of `values`: `logits`, the outputs of the predictor, or `probabilities`.
        """
        keys = self._database.execute("SELECT DISTINCT series FROM slices ORDER BY series")
        for (key,) in keys.fetchall():
            rows = self._database.execute(
                f"SELECT source, image_id, header, {column}, z_mm, whole, mask, brain_mm2 "
                "FROM slices WHERE series = ? ORDER BY source, frame",
                (key,),
            )
            yield series.order([_prediction(row) for row in rows])

    def finish(self, members: Sequence[StoredPrediction]) -> None:
        """Stores the probabilities and the positions of the slices of a series.

        Args:
          members: Slices with probabilities as `values`.
        """
        self._database.executemany(
            "UPDATE slices SET z_mm = ?, probabilities = ?, bleed = ?, whole = ? "
            "WHERE source = ? AND frame = ?",
            (
                (
                    slice_.z_mm,
                    slice_.values.astype(np.float64).tobytes(),
                    float(slice_.values[ANY]),
                    None if slice_.whole is None else slice_.whole.astype(np.float64).tobytes(),
                    slice_.source,
                    slice_.header.frame,
                )
                for slice_ in members
            ),
        )

    def add_volumes(self, header: Header, volumes: Volumes) -> None:
        """Stores the volumes of a series.

        Args:
          header: Header of one of its slices.
          volumes: Volumes by class, of one or several kinds.
        """
        self._database.execute(
            "INSERT OR REPLACE INTO volumes VALUES (?, ?)",
            (series_key(header), json.dumps(volumes)),
        )

    def volumes(self, header: Header) -> Volumes:
        """Returns the volumes of the series of a slice, as `add_volumes` took them."""
        query = "SELECT volumes FROM volumes WHERE series = ?"
        ((text,),) = self._database.execute(query, (series_key(header),))
        return cast(Volumes, json.loads(text))

    def find(self, image_id: str) -> np.ndarray | None:
        """Returns the probabilities of an image, float64 [6], by its SOP instance UID or its id.

        A UID comes first: the id is a file's name without what may not be an extension.
        """
        for column in ("instance_id", "image_id"):
            row = self._database.execute(
                f"SELECT probabilities FROM slices WHERE {column} = ? LIMIT 1", (_bytes(image_id),)
            ).fetchone()
            if row is not None:
                return np.frombuffer(row[0])
        return None

    def image_ids(self) -> Iterator[str]:
        """Yields the ids of all slices, in the order of their files."""
        rows = self._database.execute("SELECT image_id FROM slices ORDER BY source, frame")
        for (image_id,) in rows:
            yield _text(image_id)

    def rejected(self) -> Iterator[tuple[int, int, str, str]]:
        """Yields place, frame, reason code and message of each file or frame that was not read."""
        yield from self._database.execute(
            "SELECT source, frame, reason, message FROM rejected ORDER BY source, frame"
        )

    def count(self, table: str) -> int:
        """Returns the number of rows of a table, `slices` or `rejected`."""
        assert table in ("slices", "rejected")
        return int(self._database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    def likeliest(self, name: str, threshold: float, limit: int) -> list[StoredPrediction]:
        """Returns the slices with the greatest probabilities of a class, highest first.

        Args:
          name: A class, one of `labels.CLASSES`.
          threshold: Least probability.
          limit: Maximum number of slices.
        """
        column = CLASSES.index(name)
        rows = self._database.execute(
            "SELECT source, image_id, header, probabilities, z_mm, whole, mask, brain_mm2 "
            "FROM slices"
        )
        slices: list[StoredPrediction] = []
        for row in rows:
            if np.frombuffer(row[3])[column] >= threshold:
                slices.append(_prediction(row))
                if len(slices) > 4 * limit:
                    slices = _greatest(slices, column, limit)
        return _greatest(slices, column, limit)


def _greatest(slices: list[StoredPrediction], column: int, limit: int) -> list[StoredPrediction]:
    def rank(slice_: StoredPrediction) -> tuple[float, int, int]:
        return -slice_.values[column], slice_.source, slice_.header.frame

    return sorted(slices, key=rank)[:limit]


def _prediction(
    row: tuple[int, bytes, str, bytes, float, bytes | None, bytes, float],
) -> StoredPrediction:
    source, image_id, header, values, z_mm, whole, mask, brain_mm2 = row
    return StoredPrediction(
        source,
        _text(image_id),
        header_of_text(header),
        np.frombuffer(values),
        z_mm,
        None if whole is None else np.frombuffer(whole),
        mask,
        brain_mm2,
    )


def _bytes(text: str) -> bytes:
    # File names need not be UTF-8.
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
