"""Encapsulated pixel data -> the codestream of each frame (PS3.5 annex A.4)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ich_tf.dicom.data_set import UNDEFINED_LENGTH, DataSet
from ich_tf.dicom.reasons import DicomError, Reason, Repair

# An item's tag and length; compressed pixels are in little endian.
_read_item = struct.Struct("<HHL").unpack
_ITEM, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_ITEM_START = struct.pack("<HH", *_ITEM)
_DELIMITER = struct.pack("<HHL", *_SEQUENCE_END, 0)
_STEP = 2**20
_MAX_FRAGMENTS = 100_000
# Where a frame has several fragments, its first begins a codestream: JPEG or JPEG 2000.
_STARTS = (b"\xff\xd8", b"\xff\x4f")


class Fragment(NamedTuple):
    """A piece of a codestream: its offset in the content, and its length, bytes."""

    start: int
    length: int


class Fragments:
    """The codestreams of a file, found once.

    Attributes:
      repairs: What the encapsulation lacked.
    """

    def __init__(self, dataset: DataSet, frames: int) -> None:
        """Finds the fragments of each frame.

        Args:
          dataset: File with compressed pixel data.
          frames: Number of frames declared in the header.

        Raises:
          DicomError: TRUNCATED_PIXELS, or BAD_HEADER.
        """
        assert dataset.pixel_data is not None
        self._content = dataset.content
        self.repairs: tuple[Repair, ...] = ()
        table, fragments = self._walk(dataset.pixel_data.start)
        self._frames = self._by_frame(table, fragments, frames)

    def __getitem__(self, frame: int) -> tuple[Fragment, ...]:
        """The fragments of a frame, by its number from 0."""
        return self._frames[frame]

    def codestream(self, frame: int) -> bytes:
        """The codestream of a frame, by its number from 0."""
        return b"".join(self._content.part(*fragment) for fragment in self._frames[frame])

    def num_bytes(self, frame: int) -> int:
        """Length of a frame's codestream."""
        return sum(fragment.length for fragment in self._frames[frame])

    def _walk(self, at: int) -> tuple[Fragment, list[Fragment]]:
        """The basic offset table, and all fragments."""
        content = self._content
        found: list[Fragment] = []
        for _ in range(_MAX_FRAGMENTS):
            head = content.part(at, 8)
            group, element, length = _read_item(head) if len(head) == 8 else (0, 0, 0)
            if (group, element) == _ITEM:
                if length == UNDEFINED_LENGTH or at + 8 + length > content.size:
                    raise _cut(f"fragment {len(found)} has {content.size - at - 8} of its {length}")
                found.append(Fragment(at + 8, length))
                at += 8 + length
                continue
            if (group, element) != _SEQUENCE_END:
                rest = bytes(head)
                if len(rest) < 8 and rest.startswith(_ITEM_START):
                    raise _cut(f"fragment {len(found)} has 0")
                if not _DELIMITER.startswith(rest) and not self._is_zero_from(at):
                    raise DicomError(
                        Reason.BAD_HEADER,
                        f"its pixel data has something else than fragments at byte {at:,}.",
                    )
                # All of the file's rest is missing, or zeros.
                self.repairs = (Repair.NO_DELIMITER,)
            if not found:
                raise _cut("it has 0 fragments and 0")
            return found[0], found[1:]
        raise DicomError(Reason.TOO_LARGE, f"has more than {_MAX_FRAGMENTS} fragments of pixels.")

    def _is_zero_from(self, at: int) -> bool:
        """Whether the rest of the file is zeros."""
        while part := bytes(self._content.part(at, _STEP)):
            if part.strip(b"\0"):
                return False
            at += len(part)
        return True

    def _by_frame(
        self, table: Fragment, fragments: list[Fragment], frames: int
    ) -> list[tuple[Fragment, ...]]:
        if frames == 1 and fragments:
            return [tuple(fragments)]
        if len(fragments) == frames:
            return [(fragment,) for fragment in fragments]
        if len(fragments) > frames and fragments:
            starts = self._starts(table, fragments, frames)
            if len(starts) == frames and starts[0] == 0:
                ends = [*starts[1:], len(fragments)]
                return [tuple(fragments[a:b]) for a, b in zip(starts, ends, strict=True)]
        if len(fragments) < frames and self.repairs:
            raise _cut(f"it has {len(fragments)} of {frames} frames, and 0")
        raise DicomError(
            Reason.BAD_HEADER,
            f"its {len(fragments)} fragments of pixels cannot be divided into {frames} frames.",
        )

    def _starts(self, table: Fragment, fragments: list[Fragment], frames: int) -> list[int]:
        """Index of the first fragment of each frame: by the offset table, or by their bytes."""
        if table.length == 4 * frames:
            first = fragments[0].start - 8
            places = {fragment.start - 8 - first: at for at, fragment in enumerate(fragments)}
            offsets = struct.unpack(f"<{frames}L", self._content.part(*table))
            return [places[offset] for offset in offsets if offset in places]
        return [
            at
            for at, fragment in enumerate(fragments)
            if bytes(self._content.part(fragment.start, 2)) in _STARTS
        ]


def _cut(what: str) -> DicomError:
    return DicomError(
        Reason.TRUNCATED_PIXELS, f"the file is cut within its compressed pixels: {what} bytes."
    )
