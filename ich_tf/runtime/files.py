"""Files: atomic writing, temporary names, hashes and JSON."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

from ich_tf.errors import DataError
from ich_tf.runtime.names import shortened
from ich_tf.runtime.permissions import private_opener
from ich_tf.runtime.writing import writing

# Of a manifest of 100,000 shards or a run of a million patients; and of what describes a model.
MOST_JSON_BYTES = 512 << 20
MOST_MODEL_JSON_BYTES = 4 << 20
_NOT_REGULAR = "no file, but a folder, pipe or device"
_TEMPORARY = ".tmp"
_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def file_crc32c(path: Path) -> int:
    """CRC-32C of a file."""
    # Ten times as fast as SHA-256, and enough to detect damage by a disk.
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            crc = google_crc32c.extend(crc, block)
    return crc


def read_json(path: Path, advice: str = "", most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Content of a JSON file.

    Args:
      path: JSON file to read.
      advice: Sentence to end an error message with: what the user should do.
      most_bytes: Largest file that is read. Its values take up to 40 times as much memory.

    Raises:
      DataError: If the file is missing, not JSON, or larger.
    """
    try:
        return parse_json(read_text(path, most_bytes))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {advice}".rstrip()) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {advice}".rstrip()) from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). {advice}".rstrip()) from error


class NotRegularError(ValueError):
    """A folder, pipe, socket or device in the place of a file; the text says so."""


def only_regular(path: str, flags: int) -> int:
    """Opens a file as `open(..., opener=only_regular)` does, and nothing that is none.

    To open a pipe would wait for its other end, and to read a device has no end.

    Returns:
      The descriptor.

    Raises:
      NotRegularError: If it is no regular file.
      OSError: If it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise NotRegularError(_NOT_REGULAR) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularError(_NOT_REGULAR)
    return descriptor


def read_text(path: Path, most_bytes: int) -> str:
    """Text of a file in UTF-8.

    Raises:
      ValueError: If it has more than `most_bytes` bytes, or is no text of UTF-8.
      OSError: If it cannot be read.
    """
    with open(path, "rb", opener=only_regular) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"more than {most_bytes / 2**20:g} MiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:  # whose text holds all of the file
        raise ValueError(f"byte {error.start} is no UTF-8") from None


def parse_json(text: str) -> Any:
    """Parses JSON as RFC 8259 has it: without NaN, infinities, and numbers beyond float64.

    Python's parser takes them, and a range check that is a comparison lets NaN pass. Of a name that
    an object has twice it would take the last, where people read the first.

    Raises:
      ValueError: If the text is something else, or nested too deeply.
    """
    try:
        return json.loads(
            text,
            parse_constant=_finite,
            parse_float=_finite,
            parse_int=_int,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shortened(twice, 40)!r} is there twice in one object")
    return members


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{shortened(text, 40)} is no finite number")
    return value


def _int(text: str) -> int:
    _finite(text)
    return int(text)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, with sorted keys."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Content as indented JSON with sorted keys."""
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def write_text(
    path: Path, text: str, *, sync_folder: bool = True, is_private: bool = False
) -> None:
    """Writes a text file atomically, encoded as UTF-8; options as of `atomic_file`."""
    write_parts(path, (text,), sync_folder=sync_folder, is_private=is_private)


def write_parts(
    path: Path, parts: Iterable[str], *, sync_folder: bool = True, is_private: bool = False
) -> None:
    """Writes a text file atomically from consecutive parts, encoded as UTF-8.

    Surrogates, which stand for the bytes of a path that are not UTF-8, become backslashes.
    """
    encoded = (part.encode("utf-8", "backslashreplace") for part in parts)
    write_bytes(path, encoded, sync_folder=sync_folder, is_private=is_private)


def write_bytes(
    path: Path, parts: Iterable[bytes], *, sync_folder: bool = True, is_private: bool = False
) -> None:
    """Writes a file atomically from consecutive parts; options as of `atomic_file`."""
    with atomic_file(path, sync_folder=sync_folder, is_private=is_private) as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def remove_temporaries(folder: Path) -> None:
    """Removes the temporary files and folders of writers that were killed."""
    for path in filter(is_temporary, folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove_temporaries_of(path: Path) -> None:
    """Removes what killed writers of one file left in a folder, where others' writers are, too."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}{re.escape(_TEMPORARY)}")
    with contextlib.suppress(OSError):  # nothing is lost where they stay
        for other in path.parent.iterdir():
            if not name.fullmatch(other.name):
                continue
            if other.is_dir() and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)
            else:
                other.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a path was made by `temporary_path`."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY)


def temporary_path(path: Path) -> Path:
    """A unique hidden path in the folder of `path`, for content that is not finished."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")


@contextmanager
def atomic_file(
    path: Path, *, sync_folder: bool = True, is_private: bool = False
) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under its name only if the block succeeds.

    Args:
      path: File to write.
      sync_folder: Whether the name survives a power failure from then on. False for the first of
        several files of a folder, of which the last takes care of all.
      is_private: Whether only its owner may read it, whatever the umask.

    Raises:
      InputError: If it cannot be written.
    """
    temporary = temporary_path(path)
    with writing(path):
        try:
            # New for sure: nobody has put a link there.
            with open(temporary, "xb", opener=private_opener if is_private else None) as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        if not sync_folder:
            return
        # The rename survives a power failure only once the folder is synchronized.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
