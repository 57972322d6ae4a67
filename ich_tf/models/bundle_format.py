"""The form of a bundle: a zip archive of known names, stored, with nothing that could differ.

Names and contents alone decide its bytes: no clock, no permissions, no compression, the files in
order. A reader can therefore ask for exactly these bytes, and has no archive's tricks to know.
Clauses are those of PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import re
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ich_tf.models import run_files
from ich_tf.models.feature_axes import AXES

FORMAT = 1
LIST = "bundle.json"
NETWORK = "network-"
MEMBER = "member-"
MAX_FILES = 512
# What 32 bits can tell, less room for the directory: no bundle needs the 64-bit form.
MAX_BYTES = (1 << 32) - (1 << 20)
_MIB = 1 << 20

# Folder of a member or of a network that it reads.
FOLDER = re.compile(r"(?:seed-\d{1,5}/)?fold-\d{1,5}|(?:seed|member|network)-\d{1,5}", re.ASCII)
_NAME = re.compile(
    rf"(?:({FOLDER.pattern})/)?({run_files.EPOCHS}/epoch-\d{{1,7}}\.weights\.h5|[a-z0-9.]+)",
    re.ASCII,
)
# Name of a file -> its greatest size, bytes. The first are of the bundle, the others of a model.
_OF_BUNDLE = {
    LIST: _MIB,
    run_files.ENSEMBLE: _MIB,
    run_files.CALIBRATION: 16 * _MIB,
    run_files.CARD: _MIB,
    run_files.CARD_PAGE: _MIB,
}
_OF_MODEL = {
    run_files.MODEL: _MIB,
    run_files.CONFIG: _MIB,
    run_files.RUN: 32 * _MIB,
    AXES: 1024 * _MIB,
    run_files.BEST_WEIGHTS: MAX_BYTES,
}

# 4.3.7, 4.3.12 and 4.3.16: a local header, an entry of the directory, the end record.
_LOCAL = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
END_BYTES = _END.size
_LOCAL_MARK, _ENTRY_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
START = _LOCAL_MARK
START_BYTES = _LOCAL.size + len(LIST)
# Unix, and version 2.0 of the specification.
_MADE_BY, _NEEDED = 3 << 8 | 20, 20
# 1980-01-01, the first day that the format knows.
_TIME, _DATE = 0, 1 << 5 | 1
_MODE = (stat.S_IFREG | 0o644) << 16
_ENCRYPTED = 1


class BadBundle(ValueError):  # noqa: N818 - what is wrong with a file
    """A file that is no bundle; the text says why, to follow its name."""


class Entry(NamedTuple):
    """A file of a bundle.

    Attributes:
      name: Path within the bundle, such as `fold-0/model.json`.
      size: Number of its bytes.
      crc: CRC-32 of its content.
    """

    name: str
    size: int
    crc: int


def max_size(name: str) -> int:
    """Greatest size of a file of a bundle, bytes; 0 for a name that no bundle has.

    Examples:
      >>> max_size("fold-0/model.json") > 0, max_size("../model.json"), max_size("fold-0/card.md")
      (True, 0, 0)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return 0
    folder, file = match.groups()
    if "/" in file:
        return MAX_BYTES
    return (_OF_MODEL if folder else {**_OF_MODEL, **_OF_BUNDLE}).get(file, 0)


def ordered(names: Iterable[str]) -> list[str]:
    """Names in the order of a bundle: the list of its files first."""
    return sorted(names, key=lambda name: (name != LIST, name))


def local_header(entry: Entry) -> bytes:
    """The bytes before a file's content."""
    name = entry.name.encode("ascii")
    sizes = (entry.crc, entry.size, entry.size)
    return _LOCAL.pack(_LOCAL_MARK, _NEEDED, 0, 0, _TIME, _DATE, *sizes, len(name), 0) + name


def starts_as_bundle(start: bytes) -> bool:
    """Whether the first `START_BYTES` bytes of a file are those of a bundle."""
    return start.startswith(_LOCAL_MARK) and start[_LOCAL.size :] == LIST.encode()


def directory(entries: Sequence[Entry]) -> bytes:
    """The bytes behind the contents of all files: the directory and its end record."""
    parts, offset = [], 0
    for entry in entries:
        name = entry.name.encode("ascii")
        fields = (_MADE_BY, _NEEDED, 0, 0, _TIME, _DATE, entry.crc, entry.size, entry.size)
        parts.append(_ENTRY.pack(_ENTRY_MARK, *fields, len(name), 0, 0, 0, 0, _MODE, offset) + name)
        offset += len(local_header(entry)) + entry.size
    size = sum(map(len, parts))
    number = len(entries)
    return b"".join([*parts, _END.pack(_END_MARK, 0, 0, number, number, size, offset, 0)])


def directory_bytes(end: bytes, size: int) -> int:
    """Number of bytes of the directory and its end record.

    Args:
      end: Last `END_BYTES` bytes of a file.
      size: Size of the file, bytes.

    Raises:
      BadBundle: If the file does not end with the end record of a bundle's directory.
    """
    if len(end) < _END.size or not end.startswith(_END_MARK):
        raise BadBundle("does not end as a zip archive does: it is cut off, or something follows")
    _, disk, first, here, number, length, offset, comment = _END.unpack(end)
    if offset + length + _END.size != size or disk or first or here != number or comment:
        raise BadBundle(
            "its directory is not where its end says: something stands before the archive, or it "
            "is one of another form"
        )
    if not 0 < number <= MAX_FILES or length > number * (_ENTRY.size + 256):
        raise BadBundle(f"holds {number} files; a bundle holds 1 to {MAX_FILES}")
    return int(length) + _END.size


def read_directory(data: bytes) -> list[Entry]:
    """Reads the directory of a bundle.

    Args:
      data: Its bytes, with those of its end record.

    Raises:
      BadBundle: If it is not exactly the directory that `directory` makes of its entries.
    """
    entries: list[Entry] = []
    place = 0
    while data[place : place + 4] == _ENTRY_MARK and place + _ENTRY.size <= len(data):
        fields = _ENTRY.unpack_from(data, place)
        _, made_by, _, flags, method, _, _, crc, packed, size, length, extra, comment = fields[:13]
        raw = data[place + _ENTRY.size : place + _ENTRY.size + length]
        place += _ENTRY.size + length + extra + comment
        name = _known_name(raw)
        if flags & _ENCRYPTED:
            raise BadBundle(f"{name} is encrypted")
        if method:
            raise BadBundle(f"{name} is compressed (method {method}); a bundle's files are stored")
        kind = stat.S_IFMT(fields[15] >> 16) if made_by >> 8 == 3 else stat.S_IFREG
        if kind != stat.S_IFREG:
            raise BadBundle(f"{name} is a link, a folder or a special file")
        if packed != size or size > max_size(name):
            raise BadBundle(
                f"{name} has {size} bytes, {packed} of them in the archive; expected the same "
                f"number, at most {max_size(name)}"
            )
        entries.append(Entry(name, size, crc))
    names = [entry.name for entry in entries]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadBundle(f"{twice[0]} is in it twice")
    if not names or names[0] != LIST:
        raise BadBundle(f"does not begin with {LIST}")
    if names != ordered(names) or directory(entries) != data:
        raise BadBundle(
            "its directory is not the one that ich_tf.bundle writes: files overlap, are out of "
            "order or have extra fields, or it was packed again"
        )
    return entries


def _known_name(raw: bytes) -> str:
    name = raw.decode("latin-1")
    if not (name.isascii() and max_size(name)):
        raise BadBundle(f"{name[:80]!r} is no name of a bundle's file")
    return name
