"""Headers of many files, read by workers: slices, and inputs that are left out."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ich_tf.dicom.crop import Box, head_box
from ich_tf.dicom.reader import Header, read_headers, read_slice
from ich_tf.dicom.reasons import DicomError, Reason, Rejection
from ich_tf.dicom.sources import Source
from ich_tf.runtime.executors.base import Executor


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


def read_each(
    sources: Sequence[Source], executor: Executor, crop: str = "none"
) -> Iterator[IndexEntry | Rejection]:
    """Every slice of every file, and the files that have none, in the order of `sources`.

    With `crop="head"` every file is read whole, to find its head; the boxes are the slices' own.
    """
    read = functools.partial(read_entries, find_head=crop == "head")
    for found in executor.map(read, sources, "index"):
        yield from found


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
