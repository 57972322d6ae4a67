"""Index of DICOM files: slices that can be planned, and files that yield none."""

from __future__ import annotations

import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ich_tf.conversion.matching import LabelMatcher, Labels
from ich_tf.conversion.patients import patient_of
from ich_tf.dicom import series
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.dicom.header import Header
from ich_tf.dicom.header_scan import scan_headers
from ich_tf.dicom.reasons import DicomError, Reason, Rejection
from ich_tf.dicom.sources import Source
from ich_tf.runtime.executors.base import Executor


@dataclass(frozen=True, slots=True)
class IndexedSlice:
    """A slice that can be planned.

    Attributes:
      name: Name of the DICOM file within the source folder.
      image_id: Id under which the labels were found; without labels, the header's.
      labels: 0 or 1 per class, in the order of `CLASSES`; None without labels.
      header: Header of the slice, with its position in the series.
      crop: Top, left, rows and columns to crop to, px; empty for the whole image.
    """

    name: str
    image_id: str
    labels: Labels | None
    header: Header
    crop: Box = ()


class SliceIndex:
    """Slices that can be planned, by series.

    They are stored in a temporary database on the disk: in memory, RSNA's 752,803 slices would take
    most of a gigabyte.

    Attributes:
      transfer_syntaxes: Number of slices per transfer syntax UID.
    """

    def __init__(self) -> None:
        """Opens an empty index."""
        # An empty name is a temporary file of SQLite's, with a cache of 2 MB.
        self._database = sqlite3.connect("")
        self._database.executescript(
            "PRAGMA journal_mode = OFF;"
            "CREATE TABLE slices (series INTEGER, image_id BLOB UNIQUE, slice BLOB);"
            "CREATE INDEX by_series ON slices (series);"
        )
        self._series: dict[tuple[str, str, str], int] = {}
        self.transfer_syntaxes: Counter[str] = Counter()

    def add(self, slice_: IndexedSlice, patient: str) -> None:
        """Adds a slice of a patient, whose image id is not in the index yet."""
        header = slice_.header
        key = patient, header.study_id, header.series_id
        number = self._series.setdefault(key, len(self._series))
        self._database.execute(
            "INSERT INTO slices VALUES (?, ?, ?)",
            (number, _as_bytes(header.image_id), pickle.dumps(slice_)),
        )
        self.transfer_syntaxes[header.transfer_syntax] += 1

    def find(self, image_id: str) -> IndexedSlice | None:
        """The slice whose header has an image id; None if there is none."""
        rows = self._database.execute(
            "SELECT slice FROM slices WHERE image_id = ?", (_as_bytes(image_id),)
        )
        return next((pickle.loads(data) for (data,) in rows), None)

    def by_series(self) -> Iterator[tuple[tuple[str, str, str], list[IndexedSlice]]]:
        """Ids (patient, study, series) and slices, in the order of the body, of each series.

        The series are sorted by their ids; a series UID with several passes is several series.
        """
        for key in sorted(self._series):
            rows = self._database.execute(
                "SELECT slice FROM slices WHERE series = ? ORDER BY rowid", (self._series[key],)
            )
            slices = [pickle.loads(data) for (data,) in rows]
            for pass_key, members in series.group_by_series(slices).items():
                boxes = series_boxes([(slice_.header, slice_.crop) for slice_ in members])
                yield (
                    pass_key,
                    [
                        replace(slice_, crop=box) if box else slice_
                        for slice_, box in zip(members, boxes, strict=True)
                    ],
                )


def index(
    sources: Sequence[Source],
    executor: Executor,
    labels: LabelMatcher | None = None,
    crop: str = "none",
    patient_from: str = "id",
) -> tuple[SliceIndex, list[Rejection]]:
    """Reads the header of every file, and finds the labels of its slices.

    Of several slices with the same image id the first is kept.

    Args:
      sources: DICOM files.
      executor: Executor that reads the headers.
      labels: Labels; a slice without a row is rejected. None to index all slices as unlabelled.
      crop: One of `records.CROPS`.
      patient_from: What tells patients apart, one of `patients.PATIENT_SOURCES`.

    Returns:
      The index, and the inputs that were left out with their reasons.
    """
    indexed = SliceIndex()
    rejections: list[Rejection] = []
    if labels is not None:
        labels.see(sources)
    for entry in scan_headers(sources, executor, crop):
        if isinstance(entry, Rejection):
            rejections.append(entry)
            continue
        try:
            patient = patient_of(entry.source, entry.header, patient_from)
        except DicomError as error:
            rejections.append(Rejection(entry.source.name, "index", error.reason.value, str(error)))
            continue
        first = indexed.find(entry.header.image_id)
        if first is not None:
            rejections.append(
                Rejection(
                    entry.source.name,
                    "index",
                    Reason.DUPLICATE_IMAGE.value,
                    f"has the image id of {first.name}, which is kept.",
                )
            )
            continue
        image_id, row = entry.header.image_id, None
        if labels is not None:
            match = labels.take(entry.source, entry.header)
            if isinstance(match, Rejection):
                rejections.append(match)
                continue
            image_id, row = match
        slice_ = IndexedSlice(entry.source.name, image_id, row, entry.header, entry.crop)
        indexed.add(slice_, patient)
    return indexed, rejections


def _as_bytes(image_id: str) -> bytes:
    return image_id.encode(errors="surrogatepass")
