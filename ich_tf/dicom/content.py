"""The bytes of a file, read in parts: in memory, or on a disk that is read when it is needed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property
from typing import BinaryIO

# Bytes of a file in memory. A `bytearray` is what a deflated file inflates to.
Buffer = bytes | bytearray | memoryview

# A header of a hundred elements has four kilobytes, functional groups of 2,000 frames megabytes.
_HEADER_STEPS = (2**14, 2**17, 2**20, 2**23, 2**26)
MAX_HEADER_BYTES = _HEADER_STEPS[-1]


class Content:
    """The bytes of a file.

    Attributes:
      is_cut: Whether it is known that bytes are missing at the end.
    """

    def __init__(self, source: Buffer | BinaryIO, *, is_cut: bool = False) -> None:
        """Wraps bytes, or a seekable file, which has to stay open."""
        self._data = source if isinstance(source, bytes | bytearray | memoryview) else None
        self._file = None if isinstance(source, bytes | bytearray | memoryview) else source
        self.is_cut = is_cut

    @cached_property
    def size(self) -> int:
        """Number of bytes."""
        if self._data is not None:
            return len(self._data)
        assert self._file is not None
        return self._file.seek(0, io.SEEK_END)

    def heads(self) -> Iterator[tuple[Buffer, bool]]:
        """Longer and longer parts of the start, for a reader that does not know where it will end.

        Yields:
          The first bytes, and whether they are the whole content. What is in memory comes whole.
        """
        if self._data is not None:
            yield self._data, True
            return
        assert self._file is not None
        for size in _HEADER_STEPS:
            self._file.seek(0)
            head = self._file.read(size)
            yield head, len(head) < size
            if len(head) < size:
                return

    def part(self, start: int, length: int) -> Buffer:
        """Bytes from `start` on: `length` of them, or fewer where the content ends."""
        if self._data is not None:
            return memoryview(self._data)[start : start + length]
        assert self._file is not None
        self._file.seek(start)
        return self._file.read(length)
