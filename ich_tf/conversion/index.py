"""DICOM files -> the slices that can be planned, and the files that have none."""

from __future__ import annotations

import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ich_tf.conversion.matching import LabelMatcher, Labels
from ich_tf.dicom import series
from ich_tf.dicom.crop import Box, series_boxes
from ich_tf.dicom.header import Header
from ich_tf.dicom.header_scan import scan_headers
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.dicom.sources import Source
from ich_tf.runtime.executors.base import Executor


@dataclass(frozen=True, slots=True)
class IndexedSlice:
    """A slice that can be planned.

    Attributes:
      name: Of its file, within the source folder.
      image_id: The id its labels were found under; without labels, the header's.
      labels: Its row of the label table; None without one.
      header: Where it is in its series.
      crop: What to cut out of it; empty for all.
    """

    name: str
    image_id: str
    labels: Labels | None
    header: Header
    crop: Box = ()


class SliceIndex:
    """The slices that can be planned, by series.

    They lie in a database on the disk, which goes with this object: in memory, RSNA's 752,803
    would take most of a gigabyte.
    """

    def __init__(self) -> None:
        """Opens an empty index."""
        # Without a name: SQLite's own temporary file, beyond a cache of 2 MB.
        self._database = sqlite3.connect("")
        self._database.executescript(
            "PRAGMA journal_mode = OFF;"
            "CREATE TABLE slices (series INTEGER, image_id BLOB UNIQUE, slice BLOB);"
            "CREATE INDEX by_series ON slices (series);"
        )
        self._series: dict[tuple[str, str, str], int] = {}
        self.transfer_syntaxes: Counter[str] = Counter()

    def add(self, one: IndexedSlice) -> None:
        """Adds a slice, which `find` does not know yet."""
        header = one.header
        key = header.patient_id, header.study_id, header.series_id
        number = self._series.setdefault(key, len(self._series))
        self._database.execute(
            "INSERT INTO slices VALUES (?, ?, ?)",
            (number, _as_bytes(header.image_id), pickle.dumps(one)),
        )
        self.transfer_syntaxes[header.transfer_syntax] += 1

    def find(self, image_id: str) -> IndexedSlice | None:
        """The slice whose header has that image id."""
        rows = self._database.execute(
            "SELECT slice FROM slices WHERE image_id = ?", (_as_bytes(image_id),)
        )
        return next((pickle.loads(data) for (data,) in rows), None)

    def by_series(self) -> Iterator[tuple[tuple[str, str, str], list[IndexedSlice]]]:
        """(patient, study, series) and its slices in the order of the body; sorted by these."""
        for key in sorted(self._series):
            rows = self._database.execute(
                "SELECT slice FROM slices WHERE series = ? ORDER BY rowid", (self._series[key],)
            )
            members = series.order([pickle.loads(data) for (data,) in rows])
            boxes = series_boxes([(one.header, one.crop) for one in members])
            yield (
                key,
                [
                    replace(one, crop=box) if box else one
                    for one, box in zip(members, boxes, strict=True)
                ],
            )


def index(
    sources: Sequence[Source],
    executor: Executor,
    labels: LabelMatcher | None = None,
    crop: str = "none",
) -> tuple[SliceIndex, list[Rejection]]:
    """Reads the header of every file, and finds its labels.

    Of several slices with one image id the first is kept.

    Args:
      sources: The files.
      executor: That runs the work.
      labels: That every slice has to have; None to index all as unlabelled.
      crop: One of `records.CROPS`.
    """
    indexed = SliceIndex()
    rejections: list[Rejection] = []
    if labels is not None:
        labels.see(sources)
    for one in scan_headers(sources, executor, crop):
        if isinstance(one, Rejection):
            rejections.append(one)
            continue
        first = indexed.find(one.header.image_id)
        if first is not None:
            rejections.append(
                Rejection(
                    one.source.name,
                    "index",
                    Reason.DUPLICATE_IMAGE.value,
                    f"has the image id of {first.name}, which is kept.",
                )
            )
            continue
        image_id, its_labels = one.header.image_id, None
        if labels is not None:
            match = labels.take(one.source, one.header)
            if isinstance(match, Rejection):
                rejections.append(match)
                continue
            image_id, its_labels = match
        indexed.add(IndexedSlice(one.source.name, image_id, its_labels, one.header, one.crop))
    return indexed, rejections


def _as_bytes(image_id: str) -> bytes:
    return image_id.encode(errors="surrogatepass")
