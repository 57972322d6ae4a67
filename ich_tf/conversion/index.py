"""DICOM files -> headers, and the files that are none."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from ich_tf.conversion.executor import Executor
from ich_tf.dicom import DicomError, Header, Reason, read_headers
from ich_tf.sources import Source


@dataclass(frozen=True)
class IndexEntry:
    """A slice that can be planned.

    Attributes:
      source: Its file; frames of one file share it.
      header: Where it is in its series.
    """

    source: Source
    header: Header


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
    sources: Iterable[Source], executor: Executor
) -> tuple[list[IndexEntry], list[Rejection]]:
    """Reads the header of every file; both lists are in the order of `sources`.

    Of several slices with one image id the first is kept.
    """
    entries: list[IndexEntry] = []
    rejections: list[Rejection] = []
    first_of: dict[str, str] = {}
    for found in chain.from_iterable(executor.map(read_entries, list(sources), "index")):
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


def read_entries(source: Source) -> Sequence[IndexEntry | Rejection]:
    """The headers of one file's slices, or why it has none. Runs in a worker."""
    try:
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
