"""DICOM files -> the slices that can be planned, and the files that have none."""

from __future__ import annotations

import functools
import io
import pickle
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ich_tf import series
from ich_tf.conversion.executor import Executor
from ich_tf.conversion.matching import LabelMatcher, Labels
from ich_tf.conversion.rejection import Rejection
from ich_tf.crop import Box, head_box, series_boxes
from ich_tf.dicom import DicomError, Header, Reason, read_headers, read_slice
from ich_tf.sources import Source


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A slice as a worker finds it.

    Attributes:
      source: Its file; frames of one file share it.
      header: Where it is in its series.
      crop: The box of its own head; empty for none.
    """

    source: Source
    header: Header
    crop: Box = ()


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
    for one in read_each(sources, executor, crop):
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


def read_each(
    sources: Sequence[Source], executor: Executor, crop: str = "none"
) -> Iterator[IndexEntry | Rejection]:
    """Every slice of every file, and the files that have none, in the order of `sources`.

    With `crop="head"` every file is read whole, to find its head; the boxes are the slices' own.
    """
    read = functools.partial(read_entries, find_head=crop == "head")
    for found in executor.map(read, sources, "index"):
        yield from found


def _as_bytes(image_id: str) -> bytes:
    return image_id.encode(errors="surrogatepass")


def read_entries(source: Source, find_head: bool = False) -> Sequence[IndexEntry | Rejection]:
    """The headers of one file's slices, or why it has none. Runs in a worker.

    With `find_head` the entries carry their own slice's box; without, none.
    """
    try:
        if find_head:
            return _entries_with_heads(source)
        if source.root.is_dir():
            with open(source.root / source.name, "rb") as file:
                headers = read_headers(file)
        else:
            headers = read_headers(io.BytesIO(source.read()))
    except DicomError as error:
        return [Rejection(source.name, "index", error.reason.value, str(error))]
    except OSError as error:
        return [Rejection(source.name, "index", Reason.UNREADABLE.value, f"{error}.")]
    return [IndexEntry(source, header) for header in headers]


def _entries_with_heads(source: Source) -> list[IndexEntry]:
    data = source.read()
    entries = []
    for header in read_headers(io.BytesIO(data)):
        try:
            box = head_box(read_slice(data, header.frame).hu, header.spacing_mm)
        except DicomError:
            box = ()  # it is quarantined when its turn to be written comes
        entries.append(IndexEntry(source, header, box))
    return entries
