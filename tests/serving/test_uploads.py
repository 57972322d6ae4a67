"""Uploads from strangers: bounded, counted, refused with a reason; names forgotten."""

import asyncio
import errno
import gzip
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ich_tf.runtime.clutter import is_clutter
from ich_tf.serving.archives import TooMuch, is_archive, unpack
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.uploads import Upload, UploadedFile
from tests.support.hostile_archives import (
    HOSTILE,
)
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

        upload = Upload(folder, limits or Limits())
        await upload.receive(following, kind)
        return upload.files

    return asyncio.run(run())


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_files_arrive_whole_and_unnamed(tmp_path: Path, piece: int) -> None:
    sent = [("Müller, Anna.dcm", os.urandom(3000)), ("../../etc/passwd", b"b\r\n--xy"), ("c", b"")]
    files = receive(form(sent), tmp_path, piece=piece)
    assert [file.file for file in files] == [0, 1, 2]
    assert [file.path.read_bytes() for file in files if file.path] == [data for _, data in sent]
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}


def test_clutter_keeps_its_number(tmp_path: Path) -> None:
    sent = [(".DS_Store", b"1"), ("a/DICOMDIR", b"2"), ("__MACOSX/._x", b"3"), ("x", b"4")]
    (file,) = receive(form(sent), tmp_path)
    assert (file.file, file.path.read_bytes() if file.path else b"") == (3, b"4")
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
        asyncio.run(Upload(tmp_path, Limits(idle_seconds=0.1)).receive(never, KIND))
    assert caught.value.status == 408


def test_archives_are_unpacked(tmp_path: Path) -> None:
    inner = [("b/Meier.dcm", b"1"), ("b/", b""), ("__MACOSX/._b", b"2"), ("c", b"3" * 9999)]
    files = receive(form([("x", b"0"), ("y.zip", zipped(inner))]), tmp_path)
    assert [(file.file, file.entry) for file in files] == [(0, None), (1, 0), (1, 3)]
    assert [file.path.read_bytes() for file in files if file.path] == [b"0", b"1", b"3" * 9999]
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
        entries = unpack(path, next_path, take, most_files)
        assert sum(entry.path.stat().st_size for entry in entries if entry.path) <= most_bytes
        return [(entry.index, entry.reason) for entry in entries]
    except TooMuch:
        return ["TOO_MUCH"]
    finally:
        assert time.perf_counter() - begun < 5
        assert sum(each.stat().st_size for each in out.iterdir()) <= most_bytes


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(name: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[name]
    assert unpacked(make(), tmp_path) == expected


def test_a_disk_that_fills_during_an_upload_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in ("_Parts.add_data", "unpack"):
        with monkeypatch.context() as patch, pytest.raises(Refused) as caught:

            def full(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(f"ich_tf.serving.uploads.{step}", full)
            receive(form([("a.zip", zipped([("a", b"x")]))]), tmp_path)
        assert (caught.value.status, caught.value.code) == (507, "DISK_FULL")
        (tmp_path / "part-0").unlink()


def test_too_many_entries_that_are_files(tmp_path: Path) -> None:
    archive = zipped([(f"{number}", b"x") for number in range(30)])
    with pytest.raises(Refused) as caught:
        receive(form([("a.zip", archive)]), tmp_path, Limits(files=20))
    assert caught.value.status == 413


def test_a_dicom_file_with_an_archive_in_its_preamble_is_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"PK\x03\x04".ljust(128, b"\0") + b"DICM")
    assert not is_archive(path)


def test_an_archive_may_begin_with_a_program(tmp_path: Path) -> None:
    archive = b"MZ" * 100 + zipped([("a", b"x"), ("b", b"y")])
    assert unpacked(archive, tmp_path) == [(0, ""), (1, "")]
    (tmp_path / "text").write_bytes(b"MZ" * 100)
    assert not is_archive(tmp_path / "text")


def test_a_packed_volume_in_an_archive_is_no_archive(tmp_path: Path) -> None:
    archive = zipped([("a.nii.gz", gzip.compress(b"x")), ("b.gz", gzip.compress(b"x"))])
    assert unpacked(archive, tmp_path) == [(0, ""), (1, "NESTED_ARCHIVE")]
