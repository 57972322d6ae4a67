"""Archives that attack who unpacks them, each after a public advisory or a class of weakness.

The promise of all: every member is read or has a reason, nothing is written under a name of the
archive's, and sizes are counted while they are unpacked. Those that the page is sent
(`HOSTILE` of `tests/support/hostile_archives.py`, in `tests/serving/test_uploads.py`) are named by
their class; here are those that no class of theirs holds, and what a conversion makes of them.
"""

import io
import itertools
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.errors import InputError
from ich_tf.serving.archives import TooMuch, unpack
from tests.support.dicom_files import make_dicom
from tests.support.hostile_archives import end_of

MIB = 1 << 20


def local(name: bytes, packed: int, crc: int, size: int) -> bytes:
    """The header before a member's bytes, which are deflated."""
    return struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, packed, size, len(name), 0)


def entry(name: bytes, packed: int, crc: int, size: int, offset: int, extra: bytes = b"") -> bytes:
    """An entry of the directory."""
    return struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, packed, size, len(name), len(extra),
        0, 0, 0, 0, offset,
    ) + name + extra  # fmt: skip


def overlapping(number: int, num_bytes: int, *, quoted: bool) -> bytes:
    """An archive whose members share one deflated kernel.

    Args:
      number: Number of members.
      num_bytes: Size that each inflates to, at least.
      quoted: Whether each member has a header of its own, which the one before quotes as data;
        else all have that of the first.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = bytes(num_bytes)
    parts = packer.compress(content) + packer.flush()
    entries: list[bytes] = []
    if quoted:
        members, quote = [], b""
        for place in range(number):  # from the last to the first
            content, parts = quote[5:] + content, quote + parts
            about = b"%05d" % place, len(parts), zlib.crc32(content), len(content)
            members.append(about)
            head = local(*about) + about[0]
            # A stored block of deflate, which holds the header.
            quote = struct.pack("<BHH", 0, len(head), len(head) ^ 0xFFFF) + head
        step = len(quote)
        entries = [entry(*about, place * step) for place, about in enumerate(reversed(members))]
        data = head + parts
    else:
        about = b"a", len(parts), zlib.crc32(content), len(content)
        entries = [entry(*about, 0)] * number
        data = local(*about) + b"a" + parts
    directory = b"".join(entries)
    return data + directory + end_of(number, len(directory), len(data))


def read_all(path: Path) -> list[str]:
    """Reasons of the members of an archive, as a conversion reads it; empty if it is read."""
    listing = list_sources(path)
    reasons = [rejection.reason for rejection in listing.rejections]
    with SourceReader() as reader:
        for source in listing.sources:
            try:
                reader.slice(source, 0)
                reasons.append("")
            except DicomError as error:  # noqa: PERF203 - a case is a few members
                reasons.append(error.reason.value)
    return reasons


def unpacked(path: Path, folder: Path, most: int = 1000) -> list[str]:
    """Reasons of the members of an archive, as the page unpacks it."""
    folder.mkdir()
    numbers, taken = itertools.count(), []

    def take(size: int) -> None:
        taken.append(size)
        if sum(taken) > 64 * MIB:
            raise TooMuch("too much.")

    reasons = [
        each.reason for each in unpack(path, lambda: folder / f"{next(numbers)}", take, most)
    ]
    assert {file.name for file in folder.iterdir()} <= set(map(str, range(most)))
    return reasons


@pytest.mark.parametrize("quoted", [True, False], ids=["quoted", "full"])
def test_cve_2024_0450_cpython_members_that_overlap(tmp_path: Path, quoted: bool) -> None:
    """ "A better zip bomb": a megabyte would inflate to terabytes, since members share their bytes.

    Members that reach into another are refused before a byte of them is inflated.
    """
    path = tmp_path / "bomb.zip"
    path.write_bytes(overlapping(200, MIB, quoted=quoted))
    with zipfile.ZipFile(path) as sound:
        assert len(sound.infolist()) == 200
    assert path.stat().st_size < 64 * 1024
    assert unpacked(path, tmp_path / "out") == ["BAD_ARCHIVE"] * 199 + [""]
    listing = list_sources(path)
    assert [each.reason for each in listing.rejections] == ["BAD_ARCHIVE"] * 199
    assert len(listing.sources) == 1


@pytest.mark.parametrize("name", ["/", "//", "a//b", ".//", "/a/", "./", "../", "a/.."])
def test_cve_2024_8088_cpython_names_that_walks_never_leave(tmp_path: Path, name: str) -> None:
    """zipfile.Path looped for good over names of slashes: no path of an archive is walked here."""
    path = tmp_path / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, make_dicom())
    assert set(unpacked(path, tmp_path / "out")) <= {"", "UNSAFE_PATH", "EMPTY_ARCHIVE"}
    try:
        reasons = read_all(path)
    except InputError as error:
        assert "holds no files" in str(error)
    else:
        assert set(reasons) <= {""}


NAMES = [
    "../../x", "/etc/cron.d/x", "..\\..\\x", "C:\\x", "\\\\evil.example\\share\\x", "-rf",
    "--checkpoint-action=exec=sh", "CON", "aux.dcm", "a" * 4000, "\x1b[2J", "x\r\ny",
    "~/x", "$(id)", "`id`", "a:b", "\u202egpj.exe",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_cwe_22_names_of_members_are_no_paths(tmp_path: Path, name: str) -> None:
    """Zip Slip, flags, devices, escapes of terminals: members are read in place, or as numbers."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "names.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, make_dicom())
    assert read_all(path) == [""]
    assert list_sources(path).sources[0].shown.isprintable()
    unpacked(path, tmp_path / "out")
    assert {each.name for each in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize("claim", [0xFFFFFFFE, 1 << 40, (1 << 64) - 1])
def test_cve_2026_5439_orthanc_sizes_that_a_directory_claims(tmp_path: Path, claim: int) -> None:
    """Orthanc allocated what the directory said that a member inflates to, in 32 bits or 64."""
    crc, data = zlib.crc32(b"x"), zlib.compress(b"x")[2:-4]
    extra = struct.pack("<HHQ", 1, 8, claim) if claim > 0xFFFFFFFE else b""
    told = 0xFFFFFFFF if extra else claim
    body = local(b"a", len(data), crc, 1) + b"a" + data
    directory = entry(b"a", len(data), crc, told, 0, extra)
    path = tmp_path / "claims.zip"
    path.write_bytes(body + directory + end_of(1, len(directory), len(body)))
    assert unpacked(path, tmp_path / "out") == ["BAD_ARCHIVE"]
    assert set(read_all(path)) <= {"NOT_DICOM", "TOO_LARGE"}  # one byte, whatever is claimed


@pytest.mark.parametrize("offset", [1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_cve_2025_8291_cpython_offsets_of_64_bits(tmp_path: Path, offset: int) -> None:
    """The 64-bit numbers that zipfile believed unseen: a member where no file has bytes."""
    extra = struct.pack("<HHQ", 1, 8, offset)
    directory = entry(b"a", 1, 0, 1, 0xFFFFFFFF, extra)
    path = tmp_path / "offset.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(60) + directory + end_of(1, len(directory), 64))
    assert unpacked(path, tmp_path / "out") == ["BAD_ARCHIVE"]
    try:
        assert read_all(path) == ["BAD_ARCHIVE"]
    except InputError as error:
        assert "is cut off or damaged" in str(error)


def test_cwe_409_archives_in_archives_are_not_opened(tmp_path: Path) -> None:
    """42.zip: layers of archives, of which the first is unpacked and the others are named."""
    data = make_dicom()
    for _ in range(6):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for place in range(3):
                archive.writestr(f"{place}.zip", data)
        data = file.getvalue()
    path = tmp_path / "42.zip"
    path.write_bytes(data)
    assert unpacked(path, tmp_path / "out") == ["NESTED_ARCHIVE"] * 3
    assert read_all(path) == ["NESTED_ARCHIVE"] * 3


def test_cwe_770_a_directory_of_more_entries_than_files_are_taken(tmp_path: Path) -> None:
    """Half a million names in a few megabytes: refused by the number, before they are read."""
    directory = entry(b"", 0, 0, 0, 0) * 100_000
    path = tmp_path / "many.zip"
    path.write_bytes(b"PK\x03\x04" + directory + end_of(100_000 & 0xFFFF, len(directory), 4))
    with pytest.raises(TooMuch, match="entries"):
        unpacked(path, tmp_path / "out")
