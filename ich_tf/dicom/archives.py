"""Archives: their kinds, by their first bytes, and the words in which they are refused."""

from __future__ import annotations

import zlib

from ich_tf.dicom.reasons import DicomError, Reason

# Number of bytes at the start of a file that tell its kind: a tar has its mark at 257.
START_BYTES = 512
ZIP = "zip archive"
# First bytes -> kind.
_KINDS = {
    b"PK\x03\x04": ZIP,
    b"PK\x05\x06": ZIP,
    b"PK\x07\x08": ZIP,
    b"7z\xbc\xaf\x27\x1c": "7z archive",
    b"Rar!\x1a\x07": "RAR archive",
    b"BZh": "bzip2 file",
    b"\xfd7zXZ\x00": "xz file",
    b"\x28\xb5\x2f\xfd": "zstd file",
}
_GZIP = b"\x1f\x8b"
# Compression methods of a zip archive's members (APPNOTE.TXT 4.4.5).
_METHODS = {
    1: "shrink",
    6: "implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    93: "zstd",
    95: "xz",
    98: "PPMd",
}


def archive_kind(start: bytes) -> str:
    r"""Kind of an archive or a compressed file, by its first `START_BYTES` bytes.

    Returns:
      Kind, such as `zip archive`; empty for DICOM files and all others.

    Examples:
      >>> archive_kind(b"Rar!\x1a\x07"), archive_kind(bytes(128) + b"DICM")
      ('RAR archive', '')
    """
    if is_dicom(start):
        return ""
    if _is_tar(start):
        return "tar archive"
    if start.startswith(_GZIP):
        return _gzip_kind(start)
    return next((kind for mark, kind in _KINDS.items() if start.startswith(mark)), "")


def is_dicom(start: bytes) -> bool:
    """Whether a file's first bytes are the preamble of a DICOM file (PS3.10 7.1)."""
    return start[128:132] == b"DICM"


def nested_archive(kind: str) -> DicomError:
    """Error of an archive in the place of a DICOM file.

    Args:
      kind: Its kind, of `archive_kind`.
    """
    return DicomError(
        Reason.NESTED_ARCHIVE, f"is a {kind}; what is within it is not read. Unpack it first."
    )


def encrypted_member() -> DicomError:
    """Error of a member that needs a password."""
    return DicomError(
        Reason.ENCRYPTED_ARCHIVE, "is encrypted; expected an archive without a password."
    )


def overlapping_member() -> DicomError:
    """Error of a member whose bytes are another one's, too."""
    return DicomError(
        Reason.BAD_ARCHIVE,
        "shares its bytes with another member, as bombs do; expected members one after the other.",
    )


def unknown_method(method: int) -> DicomError:
    """Error of a member that is packed by a method that is not read.

    Args:
      method: Number of the method (APPNOTE.TXT 4.4.5).
    """
    name = _METHODS.get(method, f"number {method}")
    return DicomError(
        Reason.BAD_ARCHIVE,
        f"is packed by the method {name}; expected deflate. Pack the archive again.",
    )


def damaged_member(error: Exception) -> DicomError:
    """Error of a member that cannot be unpacked.

    Args:
      error: Error of the unpacking, of which only the type is told.
    """
    return DicomError(
        Reason.BAD_ARCHIVE,
        "cannot be unpacked: its size, its checksum or its compressed bytes are wrong "
        f"({type(error).__name__}).",
    )


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def _gzip_kind(start: bytes) -> str:
    try:
        content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, START_BYTES)
    except zlib.error:
        content = b""
    if _is_tar(content):
        return "gzip file of a tar archive"
    return "gzip file of a DICOM file" if is_dicom(content) else "gzip file"
