"""HDF5 in Python alone: the blocks of a file, from its first bytes to the links of its groups.

The HDF5 library opens other files because a file says so (external links, external storage,
virtual datasets), loads plugins, and ends the process at some damaged files. Weights need a small
part of the format, the one that h5py writes by default: this part is read here from bytes in
memory, every offset is checked against them, and whatever else a file holds is refused by name.

Words are those of the HDF5 File Format Specification, version 3.0, whose sections are cited.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = (1 << 64) - 1
# Messages of an object header (section IV.A.2).
NIL, DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT, FILTERS, ATTRIBUTE = (
    0x0, 0x1, 0x2, 0x3, 0x6, 0x7, 0x8, 0xB, 0xC,
)  # fmt: skip
_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 0x10, 0x11, 0x15
_SHARED = 0x02
_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_CACHED_SOFT_LINK = 2
# A header has a few dozen messages; one that continues in itself has no end.
_MOST_MESSAGES = 256
# Pieces that are looked at in a file, seconds of work; ResNet50's has 20,000.
_MOST_PIECES = 5_000_000
_MOST_NAME_BYTES = 1024
_SHOWN = 120


class Refused(ValueError):  # noqa: N818 - a decision, not a failure
    """A file that is not read; the text says what it holds."""


class Block:
    """Bytes of a file, of which nothing outside is ever read.

    Attributes:
      data: The bytes.
    """

    __slots__ = ("_pieces", "data")

    def __init__(self, data: memoryview, pieces: list[int] | None = None) -> None:
        """Keeps the bytes; `pieces` counts what is read of the whole file."""
        self.data = data
        self._pieces = [0] if pieces is None else pieces

    def cut(self, start: int, size: int) -> memoryview:
        """The `size` bytes from `start` on.

        Raises:
          Refused: If the file ends before.
        """
        self._pieces[0] += 1
        if self._pieces[0] > _MOST_PIECES:
            raise Refused(f"more than {_MOST_PIECES} pieces")
        if start < 0 or size < 0 or start + size > len(self.data):
            raise Refused(
                f"damaged: {size} bytes are looked for at byte {start}, and it ends at "
                f"{len(self.data)}"
            )
        return self.data[start : start + size]

    def part(self, start: int, size: int) -> Block:
        """The `size` bytes from `start` on, as a block."""
        return Block(self.cut(start, size), self._pieces)

    def unpack(self, form: str, start: int) -> tuple[int, ...]:
        """Little-endian integers from `start` on, as `struct.unpack` reads them."""
        form = "<" + form
        return struct.unpack(form, self.cut(start, struct.calcsize(form)))

    def text(self, start: int) -> str:
        """A text that ends with a zero byte."""
        end = min(start + _MOST_NAME_BYTES, len(self.data))
        name, zero, _ = bytes(self.cut(start, max(end - start, 0))).partition(b"\0")
        if not zero:
            raise Refused(f"a name of more than {_MOST_NAME_BYTES} bytes")
        return name.decode("utf-8", "replace")


@dataclass(frozen=True)
class Message:
    """A message of an object header: its type and its bytes."""

    kind: int
    body: Block


def root_header(file: Block) -> int:
    """Checks the superblock (section II.A) and returns the address of the root group's header.

    Raises:
      Refused: If the file is none of HDF5, cut short or longer than it says, or in another layout
        than that which h5py writes by default.
    """
    if bytes(file.data[:8]) != SIGNATURE:
        raise Refused("no HDF5 file: it does not begin as one")
    version = file.cut(8, 1)[0]
    if version > 1:
        raise Refused(
            f"in a newer layout of HDF5 (superblock {version}) than Keras writes; copy its arrays "
            "with h5py's default libver"
        )
    if tuple(file.cut(13, 2)) != (8, 8):
        raise Refused("of offsets that are not of 8 bytes")
    base, _, end, driver = file.unpack("4Q", 24 if version == 0 else 28)
    if base:
        raise Refused("with a user block before its first byte")
    if driver != UNDEFINED:
        raise Refused("one part of a file that is spread over several")
    if end != len(file.data):
        raise Refused(f"cut short or continued: it says {end} bytes and has {len(file.data)}")
    _, header = file.unpack("2Q", 56 if version == 0 else 60)
    return header


def messages(file: Block, address: int, where: str) -> list[Message]:
    """Reads the messages of an object header (section IV.A.1.a).

    Args:
      file: The file.
      address: Address of the header.
      where: Name of the object, for messages.

    Raises:
      Refused: If the header is damaged, of another version, or shares messages with others, as
        with a committed datatype.
    """
    (version,) = file.unpack("B", address)
    if version != 1:
        raise Refused(f"{where} in a newer layout of HDF5 than Keras writes, or damaged")
    (size,) = file.unpack("I", address + 8)
    blocks = [(address + 16, size)]
    found: list[Message] = []
    number = 0
    while blocks:
        start, size = blocks.pop(0)
        block = file.part(start, size)
        place = 0
        while place + 8 <= size:
            kind, length, flags = block.unpack("HHB", place)
            body = block.part(place + 8, length)
            place += 8 + length
            number += 1
            if number > _MOST_MESSAGES:
                raise Refused(f"{where} with a header of more than {_MOST_MESSAGES} messages")
            if kind == NIL:
                continue
            if flags & _SHARED:
                raise Refused(f"{where} with a committed datatype")
            if kind == _CONTINUATION:
                blocks.append(body.unpack("QQ", 0))  # type: ignore[arg-type]
            else:
                found.append(Message(kind, body))
    return found


def is_group(parts: list[Message]) -> bool:
    """Whether a header's messages are a group's."""
    return any(part.kind in (_SYMBOL_TABLE, LINK_INFO, LINK) for part in parts)


def links(file: Block, parts: list[Message], where: str) -> Iterator[tuple[str, int]]:
    """Names and header addresses of what a group holds.

    Args:
      file: The file.
      parts: Messages of the group's header.
      where: Name of the group, for messages.

    Raises:
      Refused: If one is anything but a part of this file under one name.
    """
    for part in parts:
        if part.kind == _SYMBOL_TABLE:
            tree, heap = part.body.unpack("QQ", 0)
            yield from _symbols(file, tree, heap, where)
        elif part.kind == LINK:
            yield _link(part.body, where)
        elif part.kind == LINK_INFO:
            (flags,) = part.body.unpack("B", 1)
            (heap,) = part.body.unpack("Q", 10 if flags & 1 else 2)
            if heap != UNDEFINED:
                raise Refused(f"{where} in a newer layout of HDF5 (dense links) than Keras writes")


def _symbols(file: Block, tree: int, heap: int, where: str) -> Iterator[tuple[str, int]]:
    """The entries of an old-style group: a B-tree of symbol nodes (III.A.1, III.B, III.D)."""
    if bytes(file.cut(heap, 4)) != b"HEAP":
        raise Refused(f"{where} damaged: its names are not where it says")
    size, _, names_at = file.unpack("3Q", heap + 8)
    names = file.part(names_at, size)
    for _, node in tree_entries(file, tree, 0, 8, where):
        if bytes(file.cut(node, 4)) != b"SNOD":
            raise Refused(f"{where} damaged: a node of it is none")
        (count,) = file.unpack("H", node + 6)
        for entry in range(node + 8, node + 8 + 40 * count, 40):
            name_at, header, cached = file.unpack("QQI", entry)
            name = names.text(name_at)
            if cached == _CACHED_SOFT_LINK or header == UNDEFINED:
                raise Refused(f"a soft link, {shown(f'{where}/{name}')}")
            yield name, header


def tree_entries(
    file: Block, root: int, node_type: int, key_size: int, where: str
) -> Iterator[tuple[Block, int]]:
    """Keys and children of the leaves of a version 1 B-tree, in order.

    Args:
      file: The file.
      root: Address of the root node.
      node_type: 0 for a group's, 1 for that of chunks.
      key_size: Number of bytes of a key.
      where: Name of the object, for messages.
    """
    seen: set[int] = set()
    # Address, and level at which it must be; None for the root.
    nodes: list[tuple[int, int | None]] = [(root, None)]
    while nodes:
        address, expected = nodes.pop()
        head = bytes(file.cut(address, 8))
        kind, level, count = head[4], head[5], int.from_bytes(head[6:], "little")
        if head[:4] != b"TREE" or kind != node_type or expected not in (None, level):
            raise Refused(f"{where} damaged: its index is none")
        if address in seen:
            raise Refused(f"{where} whose index leads back to itself")
        seen.add(address)
        start, step = address + 24, key_size + 8
        entries = file.part(start, count * step)
        children = [entries.unpack("Q", i * step + key_size)[0] for i in range(count)]
        if level:
            nodes += [(child, level - 1) for child in reversed(children)]
            continue
        for i, child in enumerate(children):
            yield entries.part(i * step, key_size), child


def _link(body: Block, where: str) -> tuple[str, int]:
    """A link message (section IV.A.2.g)."""
    version, flags = body.unpack("BB", 0)
    if version != 1:
        raise Refused(f"{where} with links of an unknown version")
    place, kind = 2, _HARD
    if flags & 0x08:
        (kind,) = body.unpack("B", place)
        place += 1
    place += (8 if flags & 0x04 else 0) + (1 if flags & 0x10 else 0)
    width = 1 << (flags & 0x03)
    length = int.from_bytes(body.cut(place, width), "little")
    place += width
    name = bytes(body.cut(place, min(length, _MOST_NAME_BYTES))).decode("utf-8", "replace")
    path = shown(f"{where}/{name}")
    if kind == _HARD:
        return name, body.unpack("Q", place + length)[0]
    if kind == _EXTERNAL:
        raise Refused(f"an external link, {path}, to an object of another file")
    raise Refused(f"a soft link, {path}" if kind == _SOFT else f"a user-defined link, {path}")


def shown(text: str) -> str:
    """A stranger's text for a message: printable, and short."""
    text = "".join(c if c.isprintable() else "?" for c in text.lstrip("/"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
