"""Uploads from strangers: bounded, counted, refused with a reason; names forgotten."""

import asyncio
import io
import os
import stat
import struct
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ich_tf.serving.archives import TooMuch, is_archive, is_clutter, unpack
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.uploads import UploadedFile, receive_files
from tests.support.serving import zipped

BOUNDARY = "xyz"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def form(files: list[tuple[str, bytes]], field: str = "files") -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def receive(
    body: bytes, folder: Path, limits: Limits | None = None, piece: int = 1000, kind: str = KIND
) -> list[UploadedFile]:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    async def run() -> list[UploadedFile]:
        stream = pieces()

        async def following() -> bytes:
            return await anext(stream, b"")

        return await receive_files(following, kind, folder, limits or Limits())

    return asyncio.run(run())


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_files_arrive_whole_and_unnamed(tmp_path: Path, piece: int) -> None:
    sent = [("Müller, Anna.dcm", os.urandom(3000)), ("../../etc/passwd", b"b\r\n--xy"), ("c", b"")]
    found = receive(form(sent), tmp_path, piece=piece)
    assert [one.file for one in found] == [0, 1, 2]
    assert [one.path.read_bytes() for one in found if one.path] == [data for _, data in sent]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}


def test_clutter_keeps_its_number(tmp_path: Path) -> None:
    sent = [(".DS_Store", b"1"), ("a/DICOMDIR", b"2"), ("__MACOSX/._x", b"3"), ("x", b"4")]
    (one,) = receive(form(sent), tmp_path)
    assert (one.file, one.path.read_bytes() if one.path else b"") == (3, b"4")
    assert is_clutter("a\\.git\\x") and not is_clutter("../x") and not is_clutter("a.b/c.dcm")


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (form([("a", b"x")]), "application/json", 400, "NOT_MULTIPART"),
        (form([("a", b"x")]), "multipart/form-data", 400, "NOT_MULTIPART"),
        (form([("a", b"x")], field="other"), KIND, 400, "UNKNOWN_FIELD"),
        (form([]), KIND, 400, "NO_FILES"),
        (b"", KIND, 400, "BAD_MULTIPART"),
        (form([("a", b"x" * 5000)])[:-9], KIND, 400, "BAD_MULTIPART"),
        (b"\0" * 5000, KIND, 400, "BAD_MULTIPART"),
        (b"--xyz\r\n" + b"A: " + b"b" * 100_000, KIND, 400, "BAD_MULTIPART"),
        (b"--xyz\r\n" + b"A: b\r\n" * 1000, KIND, 400, "BAD_MULTIPART"),
        (form([("", b"x")]), KIND, 400, "NO_FILES"),
        (form([(".hidden", b"x")]), KIND, 400, "NO_FILES"),
        (form([("a", b"x")] * 21), KIND, 413, "TOO_MANY_FILES"),
        (form([("a", b"x" * MIB), ("b", b"x" * MIB)]), KIND, 413, "TOO_LARGE"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_is_refused(body: bytes, kind: str, status: int, code: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        receive(body, tmp_path, Limits(body_mb=2, files=20), kind=kind)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_client_that_stops_sending_is_told(tmp_path: Path) -> None:
    async def never() -> bytes:
        await asyncio.sleep(60)
        return b""

    with pytest.raises(Refused, match="nothing came for 0.1 s") as caught:
        asyncio.run(receive_files(never, KIND, tmp_path, Limits(idle_seconds=0.1)))
    assert caught.value.status == 408


def test_archives_are_unpacked(tmp_path: Path) -> None:
    inner = [("b/Meier.dcm", b"1"), ("b/", b""), ("__MACOSX/._b", b"2"), ("c", b"3" * 9999)]
    found = receive(form([("x", b"0"), ("y.zip", zipped(inner))]), tmp_path)
    assert [(one.file, one.entry) for one in found] == [(0, None), (1, 0), (1, 3)]
    assert [one.path.read_bytes() for one in found if one.path] == [b"0", b"1", b"3" * 9999]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}


def unpacked(data: bytes, folder: Path, most_files: int = 100, most_bytes: int = MIB) -> list:
    """(index, reason) of an archive's entries; what is refused whole is a reason alone."""
    path = folder / "archive"
    path.write_bytes(data)
    out = folder / "out"
    out.mkdir()
    assert is_archive(path)
    left, number = most_bytes, 0

    def take(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise TooMuch("bytes")

    def next_path() -> Path:
        nonlocal number
        number += 1
        return out / f"{number}"

    begun = time.perf_counter()
    try:
        found = unpack(path, next_path, take, most_files)
        assert sum(one.path.stat().st_size for one in found if one.path) <= most_bytes
        return [(one.index, one.reason) for one in found]
    except TooMuch:
        return ["TOO_MUCH"]
    finally:
        assert time.perf_counter() - begun < 5
        assert sum(each.stat().st_size for each in out.iterdir()) <= most_bytes


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
        ["TOO_MUCH"],
    ),
    "claims a directory of 200 MiB, 64 bits": (lying_zip64, ["TOO_MUCH"]),
    "encrypted": (encrypted, [(0, "ENCRYPTED")]),
    "a bad checksum": (bad_checksum, [(0, "BAD_ARCHIVE")]),
    "a flipped bit": (flipped, [(0, "BAD_ARCHIVE")]),
    "a bomb": (lambda: entry("a", bytes(64 * MIB)), ["TOO_MUCH"]),
    "lzma": (lambda: entry("a", compress_type=zipfile.ZIP_LZMA), [(0, "COMPRESSION")]),
    "bzip2": (lambda: entry("a", compress_type=zipfile.ZIP_BZIP2), [(0, "COMPRESSION")]),
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


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(name: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[name]
    assert unpacked(make(), tmp_path) == expected


def test_too_many_entries_that_are_files(tmp_path: Path) -> None:
    archive = zipped([(f"{number}", b"x") for number in range(30)])
    with pytest.raises(Refused) as caught:
        receive(form([("a.zip", archive)]), tmp_path, Limits(files=20))
    assert caught.value.status == 413


def test_a_dicom_file_with_an_archive_in_its_preamble_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"PK\x03\x04".ljust(128, b"\0") + b"DICM")
    assert not is_archive(path)
