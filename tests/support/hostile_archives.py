"""Archives that a stranger could send, and what becomes of their entries."""

import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable

from ich_tf.serving.limits import MIB
from tests.support.serving import zipped


def entry(name: str, data: bytes = b"x", **about: int) -> bytes:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    for key, value in about.items():
        setattr(info, key, value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, data, about.get("compress_type"))
    return buffer.getvalue()


def forged(data: bytes, offset: int, form_: str, value: int) -> bytes:
    """An archive of one entry with another value in its directory."""
    place = data.index(b"PK\x01\x02") + offset
    size = struct.calcsize(form_)
    return data[:place] + struct.pack(form_, value) + data[place + size :]


def end_of(count: int, length: int, offset: int = 0) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count & 0xFFFF, count & 0xFFFF, length,
                       offset, 0)  # fmt: skip


def many(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}", b"")
    return buffer.getvalue()


def bad_checksum() -> bytes:
    return forged(entry("a", b"x" * 1000), 16, "<L", 1)


def encrypted() -> bytes:
    return forged(entry("a"), 8, "<H", 1)


def flipped() -> bytes:
    """One bit of the compressed bytes."""
    data = bytearray(entry("a", os.urandom(1000)))
    data[300] ^= 1
    return bytes(data)


def lying_zip64() -> bytes:
    """A directory of 200 MiB, by a 64-bit end record that an honest one stands after."""
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 5, 5, 200 * MIB, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    return b"PK\x03\x04" + bytes(200) + record + locator + end_of(1, 46)


HOSTILE: dict[str, tuple[Callable[[], bytes], list]] = {
    "climbs": (lambda: entry("../../x"), [(0, "UNSAFE_PATH")]),
    "climbs, Windows": (lambda: entry("..\\..\\x"), [(0, "UNSAFE_PATH")]),
    "absolute": (lambda: entry("/etc/x"), [(0, "UNSAFE_PATH")]),
    "a drive": (lambda: entry("C:\\x"), [(0, "UNSAFE_PATH")]),
    "a link": (
        lambda: entry("a", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16),
        [(0, "NOT_A_FILE")],
    ),
    "a device": (
        lambda: entry("a", b"", external_attr=(stat.S_IFCHR | 0o777) << 16),
        [(0, "NOT_A_FILE")],
    ),
    "claims more bytes": (lambda: forged(entry("a", b"x" * 9), 24, "<L", 99), [(0, "BAD_ARCHIVE")]),
    "claims fewer bytes": (
        lambda: forged(entry("a", bytes(9 * MIB)), 24, "<L", 9),
        [(0, "BAD_ARCHIVE")],
    ),
    "is somewhere else": (lambda: forged(entry("a"), 42, "<L", 2**31), [(0, "BAD_ARCHIVE")]),
    "an archive within": (lambda: zipped([("b.zip", entry("c"))]), [(0, "NESTED_ARCHIVE")]),
    "100,000 entries": (lambda: many(100_000), ["TOO_MUCH"]),
    "claims 60,000 entries": (
        lambda: b"PK\x03\x04" + bytes(99) + end_of(60_000, 46),
        ["TOO_MUCH"],
    ),
    "claims a directory of 4 GB": (
        lambda: b"PK\x03\x04" + bytes(99) + end_of(1, 2**32 - 2),
        [(None, "BAD_ARCHIVE")],
    ),
    "claims a directory of 200 MiB, 64 bits": (lying_zip64, [(None, "BAD_ARCHIVE")]),
    "encrypted": (encrypted, [(0, "ENCRYPTED_ARCHIVE")]),
    "a bad checksum": (bad_checksum, [(0, "BAD_ARCHIVE")]),
    "a flipped bit": (flipped, [(0, "BAD_ARCHIVE")]),
    "a bomb": (lambda: entry("a", bytes(64 * MIB)), ["TOO_MUCH"]),
    "lzma": (lambda: entry("a", compress_type=zipfile.ZIP_LZMA), [(0, "BAD_ARCHIVE")]),
    "bzip2": (lambda: entry("a", compress_type=zipfile.ZIP_BZIP2), [(0, "BAD_ARCHIVE")]),
    "clutter alone": (lambda: entry("__MACOSX/._a"), [(None, "EMPTY_ARCHIVE")]),
    "folders alone": (lambda: entry("a/", b""), [(None, "EMPTY_ARCHIVE")]),
    "empty": (lambda: zipped([]), [(None, "EMPTY_ARCHIVE")]),
    "cut off": (lambda: entry("a", os.urandom(999))[:500], [(None, "BAD_ARCHIVE")]),
    "its first bytes": (lambda: b"PK\x03\x04", [(None, "BAD_ARCHIVE")]),
    "a directory of noise": (
        lambda: b"PK\x03\x04" + os.urandom(500) + end_of(5, 400, 50),
        [(None, "BAD_ARCHIVE")],
    ),
}
