"""Bundles as files: written from the files of a model, and unpacked into a folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import ich_tf
from ich_tf.models.bundle_format import (
    END_BYTES,
    FORMAT,
    LIST,
    MAX_BYTES,
    START,
    BadBundle,
    Entry,
    directory,
    directory_bytes,
    local_header,
    max_size,
    ordered,
    read_directory,
)
from ich_tf.runtime.files import json_text, parse_json

_BLOCK = 1 << 20
_VERSION = re.compile(r"[0-9a-z.+]{1,40}", re.ASCII)
# A file of a bundle to be: its bytes, or where it lies.
Content = bytes | Path


def write_archive(file: BinaryIO, files: Mapping[str, Content]) -> str:
    """Writes a bundle.

    Args:
      file: File to write to, at its start.
      files: Name within the bundle -> content, without the list of files, which is added.

    Returns:
      SHA-256 of the bundle.

    Raises:
      BadBundle: If a name or a size is not one of a bundle, or a file changes meanwhile.
    """
    measured = {name: _measure(content) for name, content in files.items()}
    listed = {
        name: {"sha256": sha256, "size": size} for name, (sha256, size, _) in measured.items()
    }
    content = {"format": FORMAT, "ich_tf": ich_tf.__version__, "files": listed}
    files = {**files, LIST: json_text(content).encode("ascii")}
    measured[LIST] = _measure(files[LIST])
    entries = [Entry(name, *measured[name][1:]) for name in ordered(files)]
    for entry in entries:
        if not 0 <= entry.size <= max_size(entry.name):
            raise BadBundle(
                f"{entry.name} has {entry.size} bytes; expected a bundle's file of at most "
                f"{max_size(entry.name)}"
            )
    total = sum(entry.size for entry in entries)
    if total > MAX_BYTES:
        raise BadBundle(f"would have {total} bytes; a bundle has at most {MAX_BYTES}")
    digest = hashlib.sha256()

    def write(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    for entry in entries:
        write(local_header(entry))
        crc = 0
        for block in _blocks(files[entry.name]):
            crc = zlib.crc32(block, crc)
            write(block)
        if crc != entry.crc:
            raise BadBundle(f"{entry.name} was changed while it was read")
    write(directory(entries))
    return digest.hexdigest()


def _measure(content: Content) -> tuple[str, int, int]:
    """SHA-256, number of bytes and CRC-32 of a content."""
    digest, size, crc = hashlib.sha256(), 0, 0
    for block in _blocks(content):
        digest.update(block)
        size += len(block)
        crc = zlib.crc32(block, crc)
    return digest.hexdigest(), size, crc


def _blocks(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with open(content, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def open_archive(file: BinaryIO) -> list[Entry]:
    """Reads the directory of a bundle, and nothing of its files.

    Raises:
      BadBundle: If the file is no bundle.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    if file.read(len(START)) != START:
        raise BadBundle("is no zip archive")
    if size > MAX_BYTES + _BLOCK:
        raise BadBundle(f"has {size} bytes; a bundle has at most {MAX_BYTES}")
    file.seek(max(0, size - END_BYTES))
    length = directory_bytes(file.read(END_BYTES), size)
    file.seek(size - length)
    return read_directory(file.read(length))


def unpack_archive(file: BinaryIO, entries: list[Entry], folder: Path) -> tuple[str, str]:
    """Unpacks a bundle in one pass over its bytes, in which all of them are checked.

    Args:
      file: The bundle.
      entries: Result of `open_archive`.
      folder: Empty folder to unpack into. What is in it after an error is to be removed.

    Returns:
      SHA-256 of the bundle, and the version of ich_tf that wrote it.

    Raises:
      BadBundle: If a byte is another one than directory and list of files say.
    """
    source = _Hashed(file)
    listed: dict[str, str] = {}
    version = ""
    for entry in entries:
        if source.read(len(local_header(entry))) != local_header(entry):
            raise BadBundle(f"the header before {entry.name} differs from the directory")
        path = folder / entry.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sha256 = source.copy(path, entry)
        if entry.name == LIST:
            listed, version = _read_list(path, entries)
        elif sha256 != listed[entry.name]:
            raise BadBundle(f"{entry.name} is damaged: its SHA-256 is not the one in {LIST}")
    # The file may have been changed since its directory was read.
    if source.read(len(directory(entries))) != directory(entries) or file.read(1):
        raise BadBundle("was changed while it was read")
    return source.digest.hexdigest(), version


class _Hashed:
    """A file that is read from its start to its end, and hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data

    def copy(self, path: Path, entry: Entry) -> str:
        """Copies the content of an entry into a new file, and returns its SHA-256."""
        digest, left, crc = hashlib.sha256(), entry.size, 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as target:
            while left:
                block = self.read(min(left, _BLOCK))
                if not block:
                    raise BadBundle("was changed while it was read")
                target.write(block)
                digest.update(block)
                crc = zlib.crc32(block, crc)
                left -= len(block)
        if crc != entry.crc:
            raise BadBundle(f"{entry.name} is damaged: its CRC-32 is not the directory's")
        return digest.hexdigest()


def _read_list(path: Path, entries: list[Entry]) -> tuple[dict[str, str], str]:
    """Reads the SHA-256 of each file, and the version of ich_tf that wrote them."""
    try:
        content = parse_json(path.read_text("utf-8"))
        number = content["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadBundle(f"its {LIST} cannot be read ({error!r})") from error
    if number != FORMAT or isinstance(number, bool):
        raise BadBundle(
            f"is of format {json.dumps(number)[:40]}; this version of ich_tf ({ich_tf.__version__})"
            f" reads {FORMAT}"
        )
    try:
        files = content["files"].items()
        listed = {name: (str(each["sha256"]), each["size"]) for name, each in files}
        version = content["ich_tf"]
    except (AttributeError, KeyError, TypeError) as error:
        raise BadBundle(f"its {LIST} cannot be read ({error!r})") from error
    expected = {entry.name: entry.size for entry in entries if entry.name != LIST}
    if {name: size for name, (_, size) in listed.items()} != expected:
        raise BadBundle(f"its {LIST} names other files or sizes than it holds")
    if not (isinstance(version, str) and _VERSION.fullmatch(version)):
        raise BadBundle(f"its {LIST} does not say which ich_tf wrote it")
    return {name: sha256 for name, (sha256, _) in listed.items()}, version
