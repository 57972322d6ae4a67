"""The bytes of a NIfTI file, inflated where they are packed: in pieces, and never more than needed.

A gzip file of a megabyte can inflate to a gigabyte. What is kept is what the header announces, in a
buffer of that size, which is bounded.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ich_tf.dicom.reasons import DicomError, Reason

# A head of 1,000 slices of 512 x 512 pixels of 16 bits. Several workers hold a volume each.
MAX_VOLUME_BYTES = 512 * 2**20
_PIECE_BYTES = 2**20
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, eq=False)
class VolumeBytes:
    """The voxels of a file.

    Attributes:
      data: Bytes of the voxels.
      excess: Number of bytes after them.
      sha256: SHA-256 of the file as it is stored, hexadecimal.
    """

    data: bytearray
    excess: int
    sha256: str


def read_start(file: BinaryIO, length: int) -> bytes:
    """The first bytes of a file, inflated; fewer where it ends.

    Args:
      file: Seekable file.
      length: Number of bytes.

    Raises:
      DicomError: BAD_ARCHIVE.
    """
    start = bytearray()
    for piece in _Inflater(file):
        start += piece[: length - len(start)]
        if len(start) >= length:
            break
    return bytes(start)


def read_voxels(file: BinaryIO, offset: int, length: int, slice_bytes: int) -> VolumeBytes:
    """Reads the voxels of a file, and the file to its end.

    Args:
      file: Seekable file.
      offset: Number of bytes before the voxels, inflated.
      length: Number of bytes of the voxels.
      slice_bytes: Number of bytes of a slice: as many after the voxels are not accepted.

    Raises:
      DicomError: TOO_LARGE, BAD_ARCHIVE, BAD_HEADER or TRUNCATED_PIXELS.
    """
    if length > MAX_VOLUME_BYTES:
        raise DicomError(
            Reason.TOO_LARGE,
            f"its voxels have {length >> 20} MiB; expected {MAX_VOLUME_BYTES >> 20} at most.",
        )
    data = bytearray(length)
    inflater, at = _Inflater(file), 0
    for piece in inflater:
        first, last = max(0, offset - at), min(len(piece), offset + length - at)
        if first < last:
            data[at + first - offset : at + last - offset] = memoryview(piece)[first:last]
        at += len(piece)
        if at - offset - length >= slice_bytes:
            raise DicomError(
                Reason.BAD_HEADER,
                f"holds more than the {length} bytes of voxels that its header announces.",
            )
    if at < offset + length:
        raise DicomError(
            Reason.TRUNCATED_PIXELS,
            f"has {max(0, at - offset)} bytes of voxels; its header announces {length}. The file "
            "is cut.",
        )
    if inflater.is_cut:
        raise DicomError(Reason.BAD_ARCHIVE, "its gzip data are cut, so that no checksum is there.")
    return VolumeBytes(data, at - offset - length, inflater.sha256)


class _Inflater:
    """The content of a file in pieces, from its start, read once.

    Attributes:
      sha256: SHA-256 of the file, hexadecimal, once it has been read to its end.
      is_cut: Whether the file ended within its packed data.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._stored_bytes = 0
        self.is_cut = False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        stored = self._stored()
        first = next(stored, b"")
        if not first.startswith(_GZIP):
            yield first
            yield from stored
            return
        yield from self._inflated(first, stored)

    def _stored(self) -> Iterator[bytes]:
        """The file as it is stored."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE_BYTES):
            self._digest.update(piece)
            self._stored_bytes += len(piece)
            # An offset and what follows the voxels are bounded, too.
            if self._stored_bytes > 2 * MAX_VOLUME_BYTES:
                raise DicomError(
                    Reason.TOO_LARGE,
                    f"has more than {2 * MAX_VOLUME_BYTES >> 20} MiB; expected one volume.",
                )
            yield piece

    def _inflated(self, piece: bytes, stored: Iterator[bytes]) -> Iterator[bytes]:
        """What gzip members unpack to, one after the other (RFC 1952, 2.2)."""
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        count = 0
        try:
            while True:
                while piece and not inflater.eof:
                    inflated = inflater.decompress(piece, _PIECE_BYTES)
                    piece = inflater.unconsumed_tail
                    count += len(inflated)
                    if inflated:
                        yield inflated
                if inflater.eof:
                    piece = inflater.unused_data or piece
                    piece = piece or next(stored, b"")
                    # As gunzip: what follows a member and is none is passed over.
                    if not _GZIP.startswith(piece[:2]) or not piece:
                        break
                    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
                else:
                    piece = next(stored, b"")
                    if not piece:
                        self.is_cut = True
                        return
        except zlib.error as error:
            raise DicomError(
                Reason.BAD_ARCHIVE, f"its gzip data are damaged after {count} bytes."
            ) from error
        for _ in stored:  # for the hash
            pass
