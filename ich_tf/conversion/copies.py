"""Several slices of one image id: which of them is used, and what the others are to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ich_tf.conversion.labelling import Labelling
from ich_tf.conversion.slice_index import IndexedSlice, SliceIndex
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.reasons import READER_DIED, DicomError, Reason, Rejection
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source
from ich_tf.runtime.executors.base import Executor

# Images that are compared at once: few enough for the memory, enough for all workers.
_IMAGES_PER_LOT = 2048


@dataclass(frozen=True, slots=True)
class _Content:
    """What a slice holds.

    Attributes:
      header: Hash of identifiers and geometry; empty if the slice cannot be read.
      pixels: Hash of the Hounsfield units; empty if the slice cannot be read.
      reason: Why it cannot be read, a value of `Reason`; empty if it can.
      message: Description of the failure.
    """

    header: str = ""
    pixels: str = ""
    reason: str = ""
    message: str = ""

    def is_same(self, other: _Content) -> bool:
        """Whether both can be read and hold the same."""
        same = (self.header, self.pixels) == (other.header, other.pixels)
        return same and not self.reason and not other.reason


@dataclass(frozen=True, slots=True)
class _Copy:
    """A slice whose image id another slice has.

    Attributes:
      number: Number of the slice in the index.
      slice_: The slice.
      row: Number of the row of its labels; -1 without any.
    """

    number: int
    slice_: IndexedSlice
    row: int = -1


def settle_copies(
    indexed: SliceIndex,
    listing: SourceListing,
    executor: Executor,
    labelling: Labelling | None = None,
) -> Iterator[Rejection]:
    """Chooses among the slices of each image id: the first that can be used is used.

    The others are compared with it, for which their files are read whole. Those that hold the same
    become its alternates.

    Args:
      indexed: Index of the slices, which is changed.
      listing: DICOM files.
      executor: Executor whose workers read the files.
      labelling: Labels of the slices, changed where another slice than the first is used; None
        for data without labels.

    Yields:
      All slices but those that are used, with their reasons.
    """
    groups = indexed.copies()
    while lot := list(islice(groups, _IMAGES_PER_LOT)):
        images: list[tuple[int, list[_Copy]]] = []
        for group in lot:
            first = group[0][0]
            copies, rejected = _labelled(group, labelling)
            yield from rejected
            if copies:
                images.append((first, copies))
                continue
            indexed.remove(first)
            for number, slice_ in group:
                if labelling is not None and labelling.is_unlabelled(number):
                    indexed.note_unlabelled(number, slice_)
        contents = _read_contents(
            [copy for _, copies in images for copy in copies], listing, executor
        )
        for first, copies in images:
            compared = [contents[copy.number] for copy in copies]
            yield from _settle(indexed, first, copies, compared, labelling)


def _labelled(
    group: Sequence[tuple[int, IndexedSlice]], labelling: Labelling | None
) -> tuple[list[_Copy], list[Rejection]]:
    """Copies of an image that may be used as far as labels go, and the others' reasons."""
    if labelling is None:
        return [_Copy(*member) for member in group], []
    problems = [labelling.problem(*member) for member in group]
    copies, rejected = [], []
    for (number, slice_), problem in zip(group, problems, strict=True):
        row = int(labelling.matches.row[number])
        # A slice without a row may hold the same as one with a row.
        if problem is None or (row < 0 and None in problems):
            copies.append(_Copy(number, slice_, row))
        else:
            rejected.append(problem)
    return copies, rejected


def _settle(
    indexed: SliceIndex,
    first: int,
    copies: Sequence[_Copy],
    contents: Sequence[_Content],
    labelling: Labelling | None,
) -> Iterator[Rejection]:
    """Chooses among the copies of an image.

    Args:
      indexed: Index of the slices.
      first: Number of the image's first slice.
      copies: The copies, in order.
      contents: Content of each copy.
      labelling: Labels of the slices; None for data without labels.
    """
    # Labels of a copy are those of all that hold the same.
    rows = [
        copy.row
        if copy.row >= 0
        else max(
            (
                other.row
                for other, held in zip(copies, contents, strict=True)
                if held.is_same(content)
            ),
            default=-1,
        )
        for copy, content in zip(copies, contents, strict=True)
    ]
    candidates = [i for i, row in enumerate(rows) if labelling is None or row >= 0]
    if labelling is not None and labelling.is_partial:
        candidates = candidates or list(range(len(rows)))
    kept = next((i for i in candidates if not contents[i].reason), None)
    if kept is None:
        # Planned all the same where the machine is to blame: the same command tries it again.
        kept = next((i for i in candidates if Reason(contents[i].reason).is_of_machine), None)
    if kept is None:
        indexed.remove(first)
        for copy, content in zip(copies, contents, strict=True):
            problem = labelling.problem(copy.number, copy.slice_) if labelling is not None else None
            yield problem or _rejection(copy, Reason(content.reason), content.message)
        return
    alternates = []
    for i, (copy, content) in enumerate(zip(copies, contents, strict=True)):
        if i == kept:
            continue
        rejection = _compare(copy, content, copies[kept], contents[kept])
        if rejection.reason == Reason.DUPLICATE_IMAGE:
            alternates.append(copy.slice_.name)
            if labelling is not None and _differ(labelling, rows[i], rows[kept]):
                path = copies[kept].slice_.path
                message = f"has the image id of {path}, which is kept, and other labels."
                rejection = _rejection(copy, Reason.LABEL_CONFLICT, message)
        yield rejection
    indexed.use(first, copies[kept].number, tuple(alternates))
    if labelling is not None:
        labelling.matches.row[first] = rows[kept]


def _differ(labelling: Labelling, row: int, other: int) -> bool:
    return labelling.rows.labels(row) != labelling.rows.labels(other)


def _compare(copy: _Copy, content: _Content, kept: _Copy, kept_content: _Content) -> Rejection:
    """What a copy is to the one that is used."""
    if content.reason:
        return _rejection(copy, Reason(content.reason), content.message)
    message = f"has the image id of {kept.slice_.path}, which is kept"
    parts = ("header", "pixels")
    differing = [part for part in parts if getattr(content, part) != getattr(kept_content, part)]
    if not differing:
        return _rejection(copy, Reason.DUPLICATE_IMAGE, f"{message}.")
    message = f"{message}; the two differ in {' and '.join(differing)}."
    return _rejection(copy, Reason.IMAGE_CONFLICT, message)


def _rejection(copy: _Copy, reason: Reason, message: str) -> Rejection:
    return Rejection(copy.slice_.path, "index", reason.value, message)


def _read_contents(
    copies: Sequence[_Copy], listing: SourceListing, executor: Executor
) -> dict[int, _Content]:
    """Content of each copy, by its number. Each file is read once."""
    members: dict[str, list[_Copy]] = {}
    for copy in copies:
        members.setdefault(copy.slice_.name, []).append(copy)
    tasks = [
        (listing.find(name), tuple(copy.slice_.header.frame for copy in group))
        for name, group in members.items()
    ]
    contents: dict[int, _Content] = {}
    results = executor.map(_read_content, tasks, on_death=_died)
    for group, found in zip(members.values(), results, strict=True):
        contents.update(zip((copy.number for copy in group), found, strict=True))
    return contents


def _read_content(task: tuple[Source, Sequence[int]]) -> list[_Content]:
    """Reads slices of a file, given by their frames. Runs in a worker."""
    source, frames = task
    with SourceReader() as reader:
        return [_content_of(reader, source, frame) for frame in frames]


def _died(task: tuple[Source, Sequence[int]]) -> list[_Content]:
    """What stands for the content of a file that ended its worker twice."""
    _, frames = task
    return [_Content(reason=Reason.DECODER_DIED.value, message=READER_DIED)] * len(frames)


def _content_of(reader: SourceReader, source: Source, frame: int) -> _Content:
    try:
        slice_ = reader.slice(source, frame)
    except DicomError as error:
        return _Content(reason=error.reason.value, message=str(error))
    return _Content(slice_.header.digest(), hashlib.sha256(slice_.hu.tobytes()).hexdigest())
