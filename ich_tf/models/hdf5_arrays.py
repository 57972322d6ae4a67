"""HDF5 in Python alone: the arrays of a file and the texts beside them, by name and shape.

Everything is measured before anything is made: names and shapes of all arrays are read first, then
compared with what the reader has room for, and decompression stops at the size that was declared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ich_tf.models import hdf5_blocks as blocks
from ich_tf.models.hdf5_blocks import Block, Message, Refused, shown
from ich_tf.models.hdf5_messages import (
    STRING,
    attribute_of,
    filters_of,
    number_of,
    shape_of,
    unfiltered,
    values_of,
)

# Largest number of groups and arrays; NASNetLarge, of 1,040 layers, has 3,800.
_MOST_OBJECTS = 50_000
_MOST_DEPTH = 32
# Bytes of a text, and of all that are asked for: many may lie at one place of the file.
_MOST_TEXT_BYTES = 1024
_MOST_TEXTS_BYTES = 8 << 20
# Bytes of all chunks of an array, beside 4 times its own.
_MORE_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Array:
    """An array of a file, which is not read yet.

    Attributes:
      name: Path within the file, without a slash before it.
      shape: Its shape.
      dtype: Type of its numbers, as they are stored.
      parts: Messages of its header.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    parts: list[Message]

    @property
    def num_bytes(self) -> int:
        """Size of the array in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


class Hdf5File:
    """Arrays of an HDF5 file, whose groups are walked once.

    Attributes:
      arrays: Name -> array, in the order of the file.
      groups: Name -> messages of a group's header; the root's name is empty.
    """

    def __init__(self, data: bytes) -> None:
        """Reads names, shapes and types of all arrays.

        Args:
          data: The whole file.

        Raises:
          Refused: If it holds anything but arrays of numbers in groups, or is damaged.
        """
        self._file = Block(memoryview(data))
        self.arrays: dict[str, Array] = {}
        self.groups: dict[str, list[Message]] = {}
        self._text_bytes = 0
        self._walk(blocks.root_header(self._file))

    def _walk(self, root: int) -> None:
        waiting, seen = [("", root, 0)], {root}
        while waiting:
            name, address, depth = waiting.pop()
            where = shown(name) or "its root"
            parts = blocks.messages(self._file, address, where)
            if not blocks.is_group(parts):
                self.arrays[name] = _array(name, parts)
                continue
            self.groups[name] = parts
            if depth == _MOST_DEPTH:
                raise Refused(f"groups within groups, {_MOST_DEPTH} deep and more")
            within: list[tuple[str, int, int]] = []
            for part, child in blocks.links(self._file, parts, name):
                path = f"{name}/{part}" if name else part
                if not part or "/" in part or part in (".", ".."):
                    raise Refused(f"a name that is no name, {shown(path)!r}")
                if child in seen:
                    raise Refused(f"a second name for one object, {shown(path)}")
                seen.add(child)
                within.append((path, child, depth + 1))
                if len(seen) > _MOST_OBJECTS:
                    raise Refused(f"more than {_MOST_OBJECTS} groups and arrays")
            waiting += reversed(within)
        if "" not in self.groups:
            raise Refused("damaged: its root is no group")

    @property
    def num_bytes(self) -> int:
        """Size of all arrays in memory, as they declare it."""
        return sum(array.num_bytes for array in self.arrays.values())

    def read(self, name: str) -> np.ndarray:
        """Numbers of an array; a view of the file's bytes where they lie there in one piece.

        Raises:
          Refused: If they lie elsewhere, or are not as many as it declares.
        """
        array = self.arrays[name]
        (layout,) = _messages(array.parts, blocks.LAYOUT) or (None,)
        if layout is None:
            raise Refused(f"{shown(name)} without its numbers")
        filters = [f for part in _messages(array.parts, blocks.FILTERS) for f in filters_of(part)]
        version, kind = layout.unpack("BB", 0)
        if version != 3 or kind > 2:
            what = "a virtual dataset" if version == 4 and kind == 3 else "of an unknown layout"
            raise Refused(f"{shown(name)}, {what}")
        if kind == 2:
            flat = self._chunked(array, layout, filters)
        elif kind == 1:
            start, size = layout.unpack("QQ", 2)
            flat = self._whole(array, start, size)
        else:
            (size,) = layout.unpack("H", 2)
            flat = layout.part(4, size).cut(0, array.num_bytes)
        return np.frombuffer(flat, array.dtype).reshape(array.shape)

    def _whole(self, array: Array, start: int, size: int) -> memoryview:
        if not array.num_bytes:
            return memoryview(b"")
        if start == blocks.UNDEFINED or size < array.num_bytes:
            raise Refused(f"{shown(array.name)} that declares more numbers than it holds")
        return self._file.cut(start, array.num_bytes)

    def _chunked(self, array: Array, layout: Block, filters: list[int]) -> memoryview:
        """Puts an array together from its chunks (section IV.A.2.i, version 3, class 2)."""
        where = shown(array.name)
        rank, root = layout.unpack("BQ", 2)
        if rank != len(array.shape) + 1:
            raise Refused(f"{where} with chunks of another rank")
        *chunk, item = layout.unpack(f"{rank}I", 11)
        if item != array.dtype.itemsize or 0 in chunk:
            raise Refused(f"{where} with chunks of another size")
        chunk_bytes = math.prod(chunk) * item
        expected = math.prod(-(-n // c) for n, c in zip(array.shape, chunk, strict=True))
        # Chunks may reach beyond the array, but not far: each is decompressed as a whole.
        if max(1, expected) * chunk_bytes > 4 * array.num_bytes + _MORE_CHUNK_BYTES:
            raise Refused(f"{where} with chunks far larger than itself")
        result = np.zeros(array.shape, array.dtype)
        found: set[tuple[int, ...]] = set()
        if array.num_bytes and root == blocks.UNDEFINED:
            raise Refused(f"{where} that declares more numbers than it holds")
        entries = (
            blocks.tree_entries(self._file, root, 1, 8 + 8 * rank, where)
            if array.num_bytes
            else iter(())
        )
        for key, address in entries:
            size, mask = key.unpack("II", 0)
            place = key.unpack(f"{rank - 1}Q", 8)
            inside = all(
                p < n and p % c == 0 for p, n, c in zip(place, array.shape, chunk, strict=True)
            )
            if mask or not inside or place in found:
                raise Refused(f"{where} with chunks that do not fit")
            found.add(place)
            data = unfiltered(self._file.cut(address, size), filters, chunk_bytes, item, where)
            part = np.frombuffer(data, array.dtype).reshape(chunk)
            ends = [min(c, n - p) for c, n, p in zip(chunk, array.shape, place, strict=True)]
            target = tuple(slice(p, p + e) for p, e in zip(place, ends, strict=True))
            result[target] = part[tuple(slice(e) for e in ends)]
        if len(found) != expected:
            raise Refused(f"{where} that declares more numbers than it holds")
        return memoryview(result.tobytes())

    def texts(self, group: str, name: str) -> list[str] | None:
        """Texts of an attribute of a group; None if it has no such attribute.

        Raises:
          Refused: If they are not texts, or damaged.
        """
        for part in _messages(self.groups[group], blocks.ATTRIBUTE):
            read = attribute_of(part, name)
            if read is not None:
                return [self._text(kind, value) for kind, value in values_of(*read, name)]
        return None

    def _text(self, kind: int, value: memoryview) -> str:
        data = bytes(value).rstrip(b"\0") if kind == STRING else self._heap_text(value)
        self._text_bytes += len(data)
        if len(data) > _MOST_TEXT_BYTES or self._text_bytes > _MOST_TEXTS_BYTES:
            raise Refused(
                f"texts of more than {_MOST_TEXT_BYTES} bytes each or {_MOST_TEXTS_BYTES} together"
            )
        return data.decode("utf-8", "replace")

    def _heap_text(self, value: memoryview) -> bytes:
        # A length, and a place in a global heap (section III.E).
        length, heap, index = Block(value).unpack("IQI", 0)
        if bytes(self._file.cut(heap, 4)) != b"GCOL":
            raise Refused("a text that is not where it says")
        (size,) = self._file.unpack("Q", heap + 8)
        collection = self._file.part(heap, size)
        place = 16
        while place + 16 <= size:
            number, _, _, num_bytes = collection.unpack("HHIQ", place)
            if number == index:
                # One byte more than is allowed tells that there are more.
                most = min(length, num_bytes, _MOST_TEXT_BYTES + 1)
                return bytes(collection.cut(place + 16, most))
            if not number:
                break
            place += 16 + -(-num_bytes // 8) * 8
        raise Refused("a text that is not where it says")


def _messages(parts: list[Message], kind: int) -> list[Block]:
    return [part.body for part in parts if part.kind == kind]


def _array(name: str, parts: list[Message]) -> Array:
    """Checks the header of an array."""
    where = shown(name)
    spaces, types = _messages(parts, blocks.DATASPACE), _messages(parts, blocks.DATATYPE)
    if types and not spaces:
        raise Refused(f"a committed datatype, {where}")
    if len(spaces) != 1 or len(types) != 1:
        raise Refused(f"{where}, which is neither a group nor an array")
    if _messages(parts, blocks.EXTERNAL_FILES):
        raise Refused(f"{where}, whose numbers lie in another file (external storage)")
    return Array(name, shape_of(spaces[0], where), number_of(types[0], where), parts)
