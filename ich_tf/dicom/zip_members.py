"""Members of zip archives, read by whoever knows their place, without the archive's directory.

Clauses are those of PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ich_tf.dicom.archives import damaged_member, encrypted_member
from ich_tf.dicom.reasons import DicomError, unreadable
from ich_tf.dicom.zip_directory import PLACE

# 4.3.7: the header before a member's bytes.
_LOCAL = struct.Struct("<4s2xH18x2H")
_LOCAL_MARK = b"PK\x03\x04"
_PIECE_BYTES = 2**20
_ENCRYPTED, _PATCHED = 1 << 0, 1 << 5
# What `zipfile` and its decompressors raise on damaged members. bzip2's OSError has no number.
UNPACK_ERRORS = (
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def place_stamp(place: bytes) -> str:
    """A text that changes with the content of a member: its size and its CRC.

    Args:
      place: The member's `zip_directory.Member.place`.
    """
    _, _, size, crc, _ = PLACE.unpack(place)
    return f"{size}-{crc:08x}"


def place_size(place: bytes) -> int:
    """Size of a member, bytes: what is inflated is cut at it.

    Args:
      place: The member's `zip_directory.Member.place`.
    """
    size: int = PLACE.unpack(place)[2]
    return size


@contextmanager
def open_member(file: BinaryIO, place: bytes) -> Iterator[BinaryIO]:
    """Opens a member for reading; its CRC is checked where it is read to its end.

    Args:
      file: Seekable archive.
      place: The member's `zip_directory.Member.place`.

    Yields:
      Seekable file, which raises DicomError: BAD_ARCHIVE or UNREADABLE.

    Raises:
      DicomError: BAD_ARCHIVE, ENCRYPTED_ARCHIVE or UNREADABLE.
    """
    offset, packed, size, crc, method = PLACE.unpack(place)
    with _told():
        if offset > file.seek(0, io.SEEK_END):
            raise zipfile.BadZipFile
        file.seek(offset)
        mark, flags, name_bytes, extra_bytes = _LOCAL.unpack(file.read(_LOCAL.size))
        if mark != _LOCAL_MARK or flags & _PATCHED:
            raise zipfile.BadZipFile
        if flags & _ENCRYPTED:
            raise encrypted_member()
        file.seek(offset + _LOCAL.size + name_bytes + extra_bytes)
        info = zipfile.ZipInfo()
        info.compress_type, info.compress_size, info.file_size, info.CRC = method, packed, size, crc
        inner = zipfile.ZipExtFile(file, "r", info)
    with io.BufferedReader(_MemberFile(inner)) as member:
        yield member


class _MemberFile(io.RawIOBase):
    """A member whose damage is told by its reason wherever it is met."""

    def __init__(self, inner: zipfile.ZipExtFile) -> None:
        self._inner = inner

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _told():
            # In pieces: what is asked for may be a quarter of a gigabyte, and is held twice.
            data = self._inner.read(min(len(buffer), _PIECE_BYTES))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _told():
            return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DicomError:
        raise
    except UNPACK_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(error) from error
        raise damaged_member(error) from error
