"""What has been predicted so far, on the disk: so that memory stays flat, and a run may be killed.

A SQLite database beside the submission, which goes when the submission stands. Patient and study
ids stand in it as they stand in the DICOM files.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.dicom import series
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.dicom.header import Header
from ich_tf.labels import ANY, CLASSES

_SECONDS_BETWEEN_COMMITS = 2.0
_SCHEMA = """
CREATE TABLE about (fingerprint TEXT, laid_out INTEGER);
CREATE TABLE layout (series TEXT, source INTEGER, frame INTEGER, header TEXT, crop TEXT);
CREATE INDEX layout_by_series ON layout (series);
CREATE INDEX layout_by_source ON layout (source);
CREATE TABLE done (source INTEGER PRIMARY KEY);
CREATE TABLE slices (
    source INTEGER, frame INTEGER, image_id BLOB, instance_id BLOB, series TEXT, header TEXT,
    logits BLOB, z_mm REAL, probabilities BLOB, bleed REAL, whole BLOB,
    PRIMARY KEY (source, frame)
);
CREATE INDEX slices_by_image ON slices (image_id);
CREATE INDEX slices_by_instance ON slices (instance_id);
CREATE INDEX slices_by_series ON slices (series);
CREATE TABLE rejected (source INTEGER PRIMARY KEY, reason TEXT, message TEXT);
"""


@dataclass(frozen=True, eq=False)
class StoredPrediction:
    """A slice that was predicted.

    Attributes:
      source: Its file's place in the list of sources.
      image_id: Its name in a submission.
      header: Where it is.
      values: Logits or, once they are known, probabilities, float64 [6].
      z_mm: Along its series' normal; 0 before that is known.
      whole: Probabilities of its whole series by a series model, float64 [6], or None.
    """

    source: int
    image_id: str
    header: Header
    values: np.ndarray
    z_mm: float = 0.0
    whole: np.ndarray | None = None


class PredictionStore:
    """Predictions of one list of files by one model."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Opens what an earlier run left, if it was of the same files and model; else begins.

        Args:
          path: Of the database.
          fingerprint: Of files and model.
        """
        self._path = path
        self._database = self._open(fingerprint)
        self._last_commit = time.monotonic()

    def _open(self, fingerprint: str) -> sqlite3.Connection:
        if self._path.is_file():
            database = sqlite3.connect(self._path)
            try:
                found = database.execute("SELECT fingerprint FROM about").fetchone()
                if found == (fingerprint,):
                    return database
            except sqlite3.DatabaseError:
                pass  # killed while it was made
            database.close()
            self._path.unlink()
        database = sqlite3.connect(self._path)
        database.executescript(_SCHEMA)
        database.execute("INSERT INTO about VALUES (?, 0)", (fingerprint,))
        database.commit()
        return database

    def close(self, *, remove: bool = False) -> None:
        """Closes the database; `remove` deletes it, when all that it held stands elsewhere."""
        self._database.commit()
        self._database.close()
        if remove:
            self._path.unlink()

    @property
    def is_laid_out(self) -> bool:
        """Whether `add_layout` has seen all files."""
        return bool(self._database.execute("SELECT laid_out FROM about").fetchone()[0])

    def add_layout(self, found: Iterable[tuple[int, Header, Box]]) -> None:
        """Notes every slice of every file: (source, header, own box)."""
        self._database.execute("DELETE FROM layout")
        rows = (
            (_series(header), source, header.frame, _header_text(header), json.dumps(crop))
            for source, header, crop in found
        )
        self._database.executemany("INSERT INTO layout VALUES (?, ?, ?, ?, ?)", rows)
        self._database.execute("UPDATE about SET laid_out = 1")
        self._database.commit()

    def layout(self, number: int) -> Iterator[tuple[list[int], dict[int, dict[int, Box]]]]:
        """Files that belong together, and what to cut out of each one's frames.

        Args:
          number: Of sources; those without a slice stand alone, and last.
        """
        keys = self._database.execute("SELECT DISTINCT series FROM layout ORDER BY series")
        seen: set[int] = set()
        for (key,) in keys.fetchall():
            rows = self._database.execute(
                "SELECT source, header, crop FROM layout WHERE series = ? ORDER BY source, frame",
                (key,),
            ).fetchall()
            headers = [_header(text) for _, text, _ in rows]
            own_boxes = [tuple(json.loads(crop)) for _, _, crop in rows]
            boxes = series_boxes(list(zip(headers, own_boxes, strict=True)))
            crops: dict[int, dict[int, Box]] = {}
            for (source, _, _), header, box in zip(rows, headers, boxes, strict=True):
                crops.setdefault(source, {})[header.frame] = box
            # A file with frames of several series goes with the first.
            own = [source for source in crops if source not in seen]
            seen.update(own)
            if own:
                yield own, {source: crops[source] for source in own}
        yield from (([source], {}) for source in range(number) if source not in seen)

    def is_done(self, sources: Sequence[int]) -> bool:
        """Whether all that these files hold has been predicted."""
        marks = ",".join("?" * len(sources))
        query = f"SELECT COUNT(*) FROM done WHERE source IN ({marks})"
        return bool(self._database.execute(query, list(sources)).fetchone()[0] == len(sources))

    def num_done(self) -> int:
        """Files whose slices have been predicted."""
        return int(self._database.execute("SELECT COUNT(*) FROM done").fetchone()[0])

    def add(self, predictions: Iterable[StoredPrediction]) -> None:
        """Notes slices and their logits."""
        self._database.executemany(
            "INSERT OR REPLACE INTO slices VALUES (?, ?, ?, ?, ?, ?, ?, 0, NULL, NULL, NULL)",
            (
                (
                    one.source,
                    one.header.frame,
                    _bytes(one.image_id),
                    _bytes(one.header.image_id),
                    _series(one.header),
                    _header_text(one.header),
                    one.values.astype(np.float64).tobytes(),
                )
                for one in predictions
            ),
        )

    def reject(self, source: int, reason: str, message: str) -> None:
        """Notes a file that could not be read."""
        self._database.execute(
            "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?)", (source, reason, message)
        )

    def mark_done(self, sources: Iterable[int]) -> None:
        """Notes files of which nothing is missing any more."""
        self._database.executemany(
            "INSERT OR REPLACE INTO done VALUES (?)", ((source,) for source in sources)
        )
        if time.monotonic() - self._last_commit > _SECONDS_BETWEEN_COMMITS:
            self._database.commit()
            self._last_commit = time.monotonic()

    def by_series(self, column: str = "logits") -> Iterator[list[StoredPrediction]]:
        """The slices of each series, in the order of the body; series by their ids.

        Args:
          column: `logits` or `probabilities`.
        """
        keys = self._database.execute("SELECT DISTINCT series FROM slices ORDER BY series")
        for (key,) in keys.fetchall():
            rows = self._database.execute(
                f"SELECT source, image_id, header, {column}, z_mm, whole FROM slices "
                "WHERE series = ? ORDER BY source, frame",
                (key,),
            )
            yield series.order([_prediction(row) for row in rows])

    def finish(self, members: Sequence[StoredPrediction]) -> None:
        """Notes the probabilities of slices whose logits are known, and where they lie."""
        self._database.executemany(
            "UPDATE slices SET z_mm = ?, probabilities = ?, bleed = ?, whole = ? "
            "WHERE source = ? AND frame = ?",
            (
                (
                    one.z_mm,
                    one.values.astype(np.float64).tobytes(),
                    float(one.values[ANY]),
                    None if one.whole is None else one.whole.astype(np.float64).tobytes(),
                    one.source,
                    one.header.frame,
                )
                for one in members
            ),
        )

    def find(self, image_id: str) -> np.ndarray | None:
        """The probabilities of an image by its name, or by its SOP instance UID."""
        for column in ("image_id", "instance_id"):
            row = self._database.execute(
                f"SELECT probabilities FROM slices WHERE {column} = ? LIMIT 1", (_bytes(image_id),)
            ).fetchone()
            if row is not None:
                return np.frombuffer(row[0])
        return None

    def image_ids(self) -> Iterator[str]:
        """The names of all slices, in the order of their files."""
        rows = self._database.execute("SELECT image_id FROM slices ORDER BY source, frame")
        for (image_id,) in rows:
            yield _text(image_id)

    def rejected(self) -> Iterator[tuple[int, str, str]]:
        """(source, reason, message) of files that could not be read, in their order."""
        yield from self._database.execute(
            "SELECT source, reason, message FROM rejected ORDER BY source"
        )

    def count(self, table: str) -> int:
        """Rows of `slices` or `rejected`."""
        assert table in ("slices", "rejected")
        return int(self._database.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    def likeliest(self, name: str, threshold: float, most: int) -> list[StoredPrediction]:
        """The slices with the greatest probabilities of a class, at or above a threshold."""
        column = CLASSES.index(name)
        rows = self._database.execute(
            "SELECT source, image_id, header, probabilities, z_mm, whole FROM slices"
        )
        found: list[StoredPrediction] = []
        for row in rows:
            if np.frombuffer(row[3])[column] >= threshold:
                found.append(_prediction(row))
                if len(found) > 4 * most:
                    found = _greatest(found, column, most)
        return _greatest(found, column, most)


def _greatest(found: list[StoredPrediction], column: int, most: int) -> list[StoredPrediction]:
    return sorted(found, key=lambda one: (-one.values[column], one.source, one.header.frame))[:most]


def _prediction(row: tuple[int, bytes, str, bytes, float, bytes | None]) -> StoredPrediction:
    source, image_id, header, values, z_mm, whole = row
    return StoredPrediction(
        source,
        _text(image_id),
        _header(header),
        np.frombuffer(values),
        z_mm,
        None if whole is None else np.frombuffer(whole),
    )


def _series(header: Header) -> str:
    """A key by which series sort as their ids do."""
    return json.dumps([header.patient_id, header.study_id, header.series_id])


def _header_text(header: Header) -> str:
    return json.dumps({one.name: getattr(header, one.name) for one in fields(Header)})


def _header(text: str) -> Header:
    values: dict[str, Any] = json.loads(text)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
    return Header(**values)


def _bytes(text: str) -> bytes:
    # File names need not be UTF-8.
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
