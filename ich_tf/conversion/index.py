"""DICOM files -> headers, and the files that are none."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ich_tf.conversion.executor import Executor
from ich_tf.crop import Box, head_box, series_boxes
from ich_tf.dicom import DicomError, Header, Reason, read_headers, read_slice
from ich_tf.sources import Source

# Of a header: the same in most slices of a series.
_SHARED = (
    "patient_id",
    "study_id",
    "series_id",
    "orientation",
    "spacing_mm",
    "transfer_syntax",
)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A slice that can be planned.

    Attributes:
      source: Its file; frames of one file share it.
      header: Where it is in its series.
      crop: What to cut out of it; empty for all.
    """

    source: Source
    header: Header
    crop: Box = ()


@dataclass(frozen=True)
class Rejection:
    """An input that is left out; a line of quarantine.jsonl.

    Attributes:
      path: Its name within the source folder.
      stage: `index`, `plan` or `execute`.
      reason: A stable reason code.
      message: What was found, and what was expected.
      sha256: Of the file, where it was read whole.
    """

    path: str
    stage: str
    reason: str
    message: str
    sha256: str = ""


def index(
    sources: Iterable[Source], executor: Executor, crop: str = "none"
) -> tuple[list[IndexEntry], list[Rejection]]:
    """Reads the header of every file; both lists are in the order of `sources`.

    Of several slices with one image id the first is kept.

    Args:
      sources: The files.
      executor: That runs the work.
      crop: One of `records.CROPS`.
    """
    entries: list[IndexEntry] = []
    rejections: list[Rejection] = []
    first_of: dict[str, str] = {}
    for found in read_all(sources, executor, crop):
        if isinstance(found, Rejection):
            rejections.append(found)
            continue
        image_id = found.header.image_id
        if image_id in first_of:
            rejections.append(
                Rejection(
                    found.source.name,
                    "index",
                    Reason.DUPLICATE_IMAGE.value,
                    f"has the image id of {first_of[image_id]}, which is kept.",
                )
            )
            continue
        first_of[image_id] = found.source.name
        entries.append(found)
    return entries, rejections


def read_all(
    sources: Iterable[Source], executor: Executor, crop: str = "none"
) -> list[IndexEntry | Rejection]:
    """Every slice of every file, and the files that have none, in the order of `sources`.

    Conversion and prediction both ask here, so that a model sees a series cut as in training.
    To find its head every file is read whole.
    """
    read = functools.partial(read_entries, find_head=crop == "head")
    sources = list(sources)
    found: list[IndexEntry | Rejection] = []
    once: dict[Any, Any] = {}
    for source, members in zip(sources, executor.map(read, sources, "index"), strict=True):
        found += (_lean(one, source, once) for one in members)
    if crop == "none":
        return found
    entries = [one for one in found if isinstance(one, IndexEntry)]
    boxes = iter(series_boxes([(one.header, one.crop) for one in entries]))
    return [replace(one, crop=next(boxes)) if isinstance(one, IndexEntry) else one for one in found]


def _lean(one: IndexEntry | Rejection, source: Source, once: dict[Any, Any]) -> Any:
    """The same entry, holding what its series shares only once: 752,803 came from workers."""
    if isinstance(one, Rejection):
        return one
    shared = {name: getattr(one.header, name) for name in _SHARED}
    shared = {name: once.setdefault(value, value) for name, value in shared.items()}
    return IndexEntry(source, replace(one.header, **shared), one.crop)


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
