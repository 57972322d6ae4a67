"""Slices that can be planned, by series, in a database on the disk."""

from __future__ import annotations

import pickle
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ich_tf.conversion.exam_matching import ExamMatches, SeriesKey
from ich_tf.conversion.label_rows import LabelRows, Labels
from ich_tf.dicom import series
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.dicom.header import Header
from ich_tf.dicom.reasons import quarantine_path


@dataclass(frozen=True, slots=True)
class IndexedSlice:
    """A slice that can be planned.

    Attributes:
      name: Name of the DICOM file within the source folder.
      image_id: Id under which the labels were found; without labels, the header's.
      labels: 0 or 1 per class, in the order of `CLASSES`, or None where unknown; None without
        labels.
      header: Header of the slice, with its position in the series.
      crop: Top, left, rows and columns to crop to, px; empty for the whole image.
      alternates: Names of other files that hold the same slice.
      pixel_hash: Hash of the pixels, as of `header_scan.ScannedHeader`.
    """

    name: str
    image_id: str
    labels: Labels | None
    header: Header
    crop: Box = ()
    alternates: tuple[str, ...] = ()
    pixel_hash: int = 0

    @property
    def path(self) -> str:
        """Name in quarantine files: the file's, with `#frame` in a multi-frame file."""
        return quarantine_path(self.name, self.header.frame)


class SliceIndex:
    """Slices that can be planned, by series.

    They are stored in a temporary database on the disk: in memory, RSNA's 752,803 slices would take
    most of a gigabyte. A slice is known by its number, in the order in which slices were added.

    Attributes:
      transfer_syntaxes: Number of slices per transfer syntax UID.
      unused_ids: Ids of the label CSV that name no file.
      exams: Labels of exams; None if all labels are of slices, and known.
      without_labels: Series of which no label speaks, in a conversion with labels of exams.
    """

    def __init__(self) -> None:
        """Opens an empty index."""
        # An empty name is a temporary file of SQLite's, with a cache of 2 MB.
        self._database = sqlite3.connect("")
        self._database.executescript(
            "PRAGMA journal_mode = OFF;"
            "CREATE TABLE slices "
            "(number INTEGER PRIMARY KEY, series INTEGER, image_id BLOB UNIQUE, slice BLOB);"
            "CREATE TABLE copies "
            "(number INTEGER PRIMARY KEY, series INTEGER, first INTEGER, slice BLOB);"
            "CREATE TABLE unlabelled (number INTEGER PRIMARY KEY, slice BLOB);"
            "CREATE INDEX by_series ON slices (series);"
        )
        self._series: dict[tuple[str, str, str], int] = {}
        self._first = array("i")
        self._cut: set[int] = set()
        self._labels: tuple[np.ndarray, LabelRows] | None = None
        self.transfer_syntaxes: Counter[str] = Counter()
        self.unused_ids: list[str] = []
        self.exams: ExamMatches | None = None
        self.without_labels: list[SeriesKey] = []

    def __len__(self) -> int:
        """Number of slices that were added."""
        return len(self._first)

    def add(self, slice_: IndexedSlice, key: tuple[str, str, str]) -> None:
        """Adds a slice of a series.

        Args:
          slice_: The slice, without labels. If another has its image id, it is a copy: at first
            the index holds the first of them.
          key: Ids of its patient, study and series.
        """
        header, number = slice_.header, len(self._first)
        of_series = self._series.setdefault(key, len(self._series))
        image_id, data = _as_bytes(header.image_id), pickle.dumps(slice_)
        added = self._database.execute(
            "INSERT OR IGNORE INTO slices VALUES (?, ?, ?, ?)", (number, of_series, image_id, data)
        )
        if not added.rowcount:
            ((first,),) = self._database.execute(
                "SELECT number FROM slices WHERE image_id = ?", (image_id,)
            )
            self._database.execute(
                "INSERT INTO copies VALUES (?, ?, ?, ?)", (number, of_series, first, data)
            )
            self._first.append(first)
            return
        self._first.append(number)
        self.transfer_syntaxes[header.transfer_syntax] += 1

    def first_copies(self) -> np.ndarray:
        """Number of the first slice with the image id of each slice, int [slices]."""
        return np.asarray(self._first, np.int64)

    def single(self) -> np.ndarray:
        """Numbers of the slices whose image id no other has, int [n]."""
        first = self.first_copies()
        return np.flatnonzero(np.bincount(first, minlength=len(first))[first] == 1)

    def copies(self) -> Iterator[list[tuple[int, IndexedSlice]]]:
        """Numbers and slices, in order, of each image id that several slices have."""
        members: list[tuple[int, IndexedSlice]] = []
        last = -1
        for number, first, data in self._database.execute(
            "SELECT number, first, slice FROM copies ORDER BY first, number"
        ):
            if first != last:
                if members:
                    yield members
                members, last = [(first, self.slice(first))], first
            members.append((number, pickle.loads(data)))
        if members:
            yield members

    def slice(self, number: int) -> IndexedSlice:
        """A slice as it was added, by its number; the slice in use for an image that has copies."""
        ((data,),) = self._database.execute(
            "SELECT slice FROM slices WHERE number = ? "
            "UNION ALL SELECT slice FROM copies WHERE number = ? LIMIT 1",
            (number, number),
        )
        slice_: IndexedSlice = pickle.loads(data)
        return slice_

    def remove(self, number: int) -> None:
        """Removes an image, by the number of its first slice."""
        self.transfer_syntaxes[self.slice(number).header.transfer_syntax] -= 1
        of_series = self._database.execute("SELECT series FROM slices WHERE number = ?", (number,))
        self._cut.update(series for (series,) in of_series)
        self._database.execute("DELETE FROM slices WHERE number = ?", (number,))

    def series_keys(self) -> list[SeriesKey]:
        """Ids (patient, study, series) of all series that were added, sorted."""
        return sorted(self._series)

    def is_cut(self, key: SeriesKey) -> bool:
        """Whether a slice of a series was removed, by the ids that it was added with."""
        return self._series.get(key) in self._cut

    def numbers_of(self, key: SeriesKey) -> list[int]:
        """Numbers of the slices of a series, by the ids that they were added with."""
        found = self._database.execute(
            "SELECT number FROM slices WHERE series = ? ORDER BY number", (self._series[key],)
        )
        return [number for (number,) in found]

    def note_unlabelled(self, number: int, slice_: IndexedSlice) -> None:
        """Notes a slice of which no row of the label CSV speaks."""
        self._database.execute(
            "INSERT INTO unlabelled VALUES (?, ?)", (number, pickle.dumps(slice_))
        )

    @property
    def has_unlabelled(self) -> bool:
        """Whether any slice has no labels."""
        return any(True for _ in self.unlabelled())

    def unlabelled(self) -> Iterator[IndexedSlice]:
        """The slices that have no labels, in order."""
        for (data,) in self._database.execute("SELECT slice FROM unlabelled ORDER BY number"):
            yield pickle.loads(data)

    def use(self, first: int, number: int, alternates: tuple[str, ...]) -> None:
        """Chooses among the copies of an image.

        Args:
          first: Number of the image's first slice.
          number: Number of the slice to use.
          alternates: Names of other files that hold the same.
        """
        before, slice_ = self.slice(first), self.slice(number)
        self.transfer_syntaxes[before.header.transfer_syntax] -= 1
        self.transfer_syntaxes[slice_.header.transfer_syntax] += 1
        if number != first:
            self._database.execute(
                "UPDATE slices SET series = (SELECT series FROM copies WHERE number = ?) "
                "WHERE number = ?",
                (number, first),
            )
        self._database.execute(
            "UPDATE slices SET slice = ? WHERE number = ?",
            (pickle.dumps(replace(slice_, alternates=alternates)), first),
        )

    def label(
        self, rows: np.ndarray, label_rows: LabelRows, unused_rows: Sequence[int] = ()
    ) -> None:
        """Gives the images their labels.

        Args:
          rows: Number of the row of each slice, int [slices], where it is the first of its image.
          label_rows: Rows of the label CSV.
          unused_rows: Rows that name no file.
        """
        self._labels = rows, label_rows
        self.unused_ids = [label_rows.ids[row] for row in unused_rows]

    def by_series(self) -> Iterator[tuple[tuple[str, str, str], list[IndexedSlice]]]:
        """Ids (patient, study, series) and slices, in the order of the body, of each series.

        The series are sorted by their ids; a series UID with several passes is several series.
        """
        for key in sorted(self._series):
            patient, study, series_id = key
            rows = self._database.execute(
                "SELECT number, slice FROM slices WHERE series = ? ORDER BY number",
                (self._series[key],),
            )
            slices = [self._labelled(*row) for row in rows]
            for number, members in enumerate(series.passes_of(slices) if slices else (), 1):
                boxes = series_boxes([(slice_.header, slice_.crop) for slice_ in members])
                yield (
                    (patient, study, series.pass_id(series_id, number)),
                    [
                        replace(slice_, crop=box) if box else slice_
                        for slice_, box in zip(members, boxes, strict=True)
                    ],
                )

    def _labelled(self, number: int, data: bytes) -> IndexedSlice:
        slice_: IndexedSlice = pickle.loads(data)
        if self._labels is None:
            return slice_
        rows, label_rows = self._labels
        row = int(rows[number])
        if row < 0:  # in a conversion with labels of exams
            return slice_
        return replace(slice_, image_id=label_rows.ids[row], labels=label_rows.labels(row))


def _as_bytes(image_id: str) -> bytes:
    return image_id.encode(errors="surrogatepass")
