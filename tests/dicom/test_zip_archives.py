import gzip
import io
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom import sources, zip_members
from ich_tf.dicom.header_scan import ScannedHeader, scan_file
from ich_tf.dicom.listing import list_sources, named_sources
from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError
from tests.support.dicom_files import make_dicom


def write_archive(
    path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    """Writes members in order; a backslash stays in the name, and a name may repeat."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system, info.compress_type = name, 0, method
            archive.writestr(info, data)
    return path


def reason_of(source: Source) -> Reason:
    with pytest.raises(DicomError) as caught:
        source.read()
    return caught.value.reason


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("d/ID_b.dcm", b"bb")
        archive.writestr("d/ID_a.dcm", b"aa")
        archive.writestr("__MACOSX/ID_a.dcm", b"")
        archive.writestr("../../evil.dcm", b"never extracted, just read")
    sources = list_sources(path).sources
    assert [source.stem for source in sources] == ["evil", "ID_a", "ID_b"]
    assert sources[1].read() == b"aa"
    assert [p.name for p in tmp_path.iterdir()] == ["data.zip"]


def test_the_mark_of_the_end_may_stand_in_the_comment(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", ("a.dcm", b"a"))
    data, comment = path.read_bytes(), b"PK\5\6" + bytes(30)
    path.write_bytes(data[:-2] + struct.pack("<H", len(comment)) + comment)
    assert [source.name for source in list_sources(path).sources] == ["a.dcm"]
    path.write_bytes(data + b"more")
    assert [source.name for source in list_sources(path).sources] == ["a.dcm"]


def test_the_last_part_of_an_archive_is_no_file_of_its_own(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", ("a.dcm", make_dicom()))
    path.write_bytes(path.read_bytes()[100:])
    with pytest.raises(InputError, match="is cut off or damaged: its directory"):
        list_sources(path)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="has no end record: it is cut off, or no zip archive"):
        list_sources(path)


def test_a_text_list_has_a_path_a_line(tmp_path: Path) -> None:
    name = "a\u2028b\x1cc.dcm"
    (tmp_path / name).write_bytes(b"a")
    (tmp_path / "list.txt").write_bytes(f"# files\r\n{name}\r\n".encode())
    assert [source.name for source in list_sources(tmp_path / "list.txt").sources] == [name]


def test_a_folder_within_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("r/train/ID_a.dcm", "r/train/b/ID_b.dcm", "r/train2/ID_c.dcm", "r/t.csv"):
            archive.writestr(name, name)
    sources = list_sources(path / "r/train").sources
    assert [source.name for source in sources] == ["r/train/ID_a.dcm", "r/train/b/ID_b.dcm"]
    assert sources[0].read() == b"r/train/ID_a.dcm"
    with pytest.raises(InputError, match=r"data.zip/r/test: holds no files"):
        list_sources(path / "r/test")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(InputError, match="no such file or folder"):
        list_sources(tmp_path / "text/train")


def test_a_damaged_member_has_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ID_a.dcm", b"payload-payload")
    data = path.read_bytes().replace(b"payload-payload", b"payload-PAYLOAD", 1)
    path.write_bytes(data)
    (source,) = list_sources(path).sources
    with pytest.raises(DicomError) as caught:
        source.read()
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_members_of_one_name_are_each_read(tmp_path: Path) -> None:
    names = ("IM1", "IM1", "IM1~2", "a/IM1", "IM1")
    members = [(name, bytes([number])) for number, name in enumerate(names)]
    sources = list_sources(write_archive(tmp_path / "d.zip", *members)).sources
    read = {source.name: source.read() for source in sources}
    assert read == {"IM1": b"\0", "IM1~3": b"\1", "IM1~2": b"\2", "a/IM1": b"\3", "IM1~4": b"\4"}
    for name, data in read.items():  # as a repair finds them
        assert Source(tmp_path / "d.zip", name).read() == data
        assert named_sources(tmp_path / "d.zip").find(name).read() == data


def test_backslashes_part_folders_and_folders_are_no_members(tmp_path: Path) -> None:
    members = (("stage\\", b""), ("stage\\a\\x.dcm", b"x"), ("stage\\b.dcm", b"b"), ("c", b"c"))
    path = write_archive(tmp_path / "d.zip", *members)
    assert [source.name for source in list_sources(path).sources] == [
        "c", "stage/a/x.dcm", "stage/b.dcm",
    ]  # fmt: skip
    sources = list_sources(path / "stage/a").sources
    assert [(source.stem, source.read()) for source in sources] == [("x", b"x")]
    assert [source.name for source in list_sources(path / "stage/b.dcm").sources] == ["stage/b.dcm"]


@pytest.mark.parametrize("is_utf8", [True, False])
def test_a_member_may_have_any_name(tmp_path: Path, is_utf8: bool) -> None:
    path = write_archive(tmp_path / "d.zip", ("pXre.dcm", b"x"))
    data = path.read_bytes().replace(b"pXre", b"p\xe9re")
    if is_utf8:  # as the flags say, and the name is not
        at = data.index(b"PK\x01\x02") + 8
        data = data[:at] + struct.pack("<H", 1 << 11) + data[at + 2 :]
    path.write_bytes(data)
    (source,) = list_sources(path).sources
    assert source.shown == ("p\\xe9re.dcm" if is_utf8 else "pΘre.dcm")
    assert source.read() == b"x"


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_damage_to_a_member_has_a_reason(tmp_path: Path, method: int) -> None:
    content = make_dicom() * 4
    path = write_archive(tmp_path / "d.zip", ("a", content), ("b", content), method=method)
    assert list_sources(path).sources[1].read() == content
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        begin, end = (info.header_offset for info in archive.infolist())
    reasons = set()
    for at in range(begin, end, max(1, (end - begin) // 60)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        first, second = list_sources(path).sources
        try:
            assert first.read() == content  # a byte that nobody reads
        except DicomError as error:
            reasons.add(error.reason)
        assert second.read() == content
    assert Reason.BAD_ARCHIVE in reasons
    assert reasons <= {Reason.BAD_ARCHIVE, Reason.ENCRYPTED_ARCHIVE}


def test_the_index_of_a_damaged_member_says_so(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "d.zip", ("a.dcm", make_dicom()), method=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    data[30 + len("a.dcm")] = 0x07  # a deflate block of no known type
    path.write_bytes(data)
    (rejection,) = scan_file(list_sources(path).sources[0])
    assert rejection.reason == "BAD_ARCHIVE"


def test_a_header_that_is_damaged_within_an_archive_is_the_archives(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "d.zip", ("a.dcm", make_dicom()))
    path.write_bytes(path.read_bytes().replace(b"DICM", b"DICE"))
    (rejection,) = scan_file(list_sources(path).sources[0])
    assert rejection.reason == "BAD_ARCHIVE"


def test_mutations_of_an_archive_have_reasons(tmp_path: Path) -> None:
    stored = np.zeros((8, 8), np.int16)
    members = [(name, make_dicom(stored)) for name in ("a/1", "2", "a/1")]
    path = write_archive(tmp_path / "d.zip", *members, method=zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        # Half of them in the directory.
        at = int(random.integers(random.choice([0, len(data) - 250]), len(data)))
        data[at : at + int(random.integers(1, 5))] = random.bytes(int(random.integers(0, 5)))
        path.write_bytes(data)
        try:
            listing = list_sources(path)
        except InputError:
            continue
        for source in listing.sources:
            (entry,) = scan_file(source)
            try:
                assert source.read() == members[0][1]
            except DicomError as error:
                assert error.reason in (Reason.BAD_ARCHIVE, Reason.ENCRYPTED_ARCHIVE)
            else:
                assert isinstance(entry, ScannedHeader)


def test_the_index_inflates_a_members_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dicom() + bytes(20 * 2**20)
    path = write_archive(tmp_path / "d.zip", ("a.dcm", data), method=zipfile.ZIP_DEFLATED)
    (source,) = list_sources(path).sources
    sizes: list[int] = []
    read = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        piece = read(self, n)
        sizes.append(len(piece))
        return piece

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    (scanned,) = scan_file(source)
    assert isinstance(scanned, ScannedHeader)
    assert sum(sizes) <= 2 * 16384


def test_the_directory_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(tmp_path / "d.zip", ("a", b"a"), ("b", b"b"))
    sources = list_sources(path).sources
    monkeypatch.setattr("ich_tf.dicom.sources.list_members", None)
    assert [source.read() for source in sources] == [b"a", b"b"]
    assert [source.stamp() for source in sources] == [
        f"1-{zlib.crc32(d):08x}" for d in (b"a", b"b")
    ]


def test_an_archive_within_other_bytes(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "d.zip", ("a", b"aa"))
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert list_sources(path).sources[0].read() == b"aa"


def test_a_large_archive_has_64_bit_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 16)
    members = [(f"n{number}", bytes([number]) * 20) for number in range(5)]
    path = write_archive(tmp_path / "d.zip", *members)
    assert b"PK\x06\x06" in path.read_bytes()
    for before in (b"", b"bytes before the archive"):
        path.write_bytes(before + path.read_bytes())
        assert [(s.name, s.read()) for s in list_sources(path).sources] == members


def test_a_cut_archive_is_called_that(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "d.zip", *((f"{n}.dcm", make_dicom()) for n in range(4)))
    whole = path.read_bytes()
    for size in (40, len(whole) // 2, len(whole) - 30, len(whole) - 3):
        path.write_bytes(whole[:size])
        for where in (path, path / "folder"):
            with pytest.raises(InputError, match=r"d\.zip: .*(cut off|damaged).*archive"):
                list_sources(where)
    damaged = whole.replace(b"PK\x01\x02", b"PK\x01\x03", 1)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"d\.zip: is cut off or damaged"):
        list_sources(path)


def encrypted(data: bytes) -> bytes:
    """Marks every member of an archive as encrypted, in its header and in the directory."""
    data = re.sub(rb"(PK\x03\x04..)\x00", lambda match: match[1] + b"\1", data, flags=re.DOTALL)
    return re.sub(rb"(PK\x01\x02....)\x00", lambda match: match[1] + b"\1", data, flags=re.DOTALL)


def test_an_encrypted_archive_is_refused_and_a_member_is_listed(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "d.zip", ("a.dcm", b"aa"), ("b.dcm", b"bb"))
    data = path.read_bytes()
    path.write_bytes(encrypted(data))
    with pytest.raises(InputError, match=r"d\.zip: .*a\.dcm, is encrypted; .* without a password"):
        list_sources(path)
    at = data.rindex(b"PK\x01\x02") + 8  # the flags of the last
    path.write_bytes(data[:at] + b"\1" + data[at + 1 :])
    listing = list_sources(path)
    assert [source.name for source in listing.sources] == ["a.dcm"]
    (rejection,) = listing.rejections
    assert (rejection.path, rejection.reason) == ("b.dcm", "ENCRYPTED_ARCHIVE")
    # Encrypted by its own header alone.
    path.write_bytes(data[:6] + b"\1" + data[7:])
    assert reason_of(list_sources(path).sources[0]) is Reason.ENCRYPTED_ARCHIVE


def test_another_compression_and_a_link_are_listed(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "d.zip", ("a", b"aa"), ("b", b"bb"))
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02") + 10
    path.write_bytes(data[:at] + struct.pack("<H", 98) + data[at + 2 :])
    (rejection,) = list_sources(path).rejections
    assert rejection.reason == "BAD_ARCHIVE"
    assert "PPMd" in rejection.message
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"aa")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "a")
    (rejection,) = list_sources(path).rejections
    assert (rejection.path, rejection.reason) == ("link", "NOT_A_FILE")


def tar_of(data: bytes, mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        info = tarfile.TarInfo("a.dcm")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def other_archives() -> dict[str, bytes]:
    """Kind -> a file of it."""
    data = make_dicom()
    return {
        "tar archive": tar_of(data, "w"),
        "gzip file of a tar archive": tar_of(data, "w:gz"),
        "gzip file of a DICOM file": gzip.compress(data),
        "gzip file": gzip.compress(b"text"),
        "bzip2 file": tar_of(data, "w:bz2"),
        "xz file": tar_of(data, "w:xz"),
        "7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(600),
        "RAR archive": b"Rar!\x1a\x07\x01\x00" + bytes(600),
    }


@pytest.mark.parametrize("kind", other_archives())
def test_other_archives_are_told_by_name(tmp_path: Path, kind: str) -> None:
    data = other_archives()[kind]
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InputError, match=rf"x: is a {kind}\. .*unpack"):
        list_sources(tmp_path / "x")
    archive = write_archive(tmp_path / "d.zip", ("inner", data))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "inner").write_bytes(data)
    for path in (archive, folder):
        (source,) = list_sources(path).sources
        (rejection,) = scan_file(source)
        assert (rejection.path, rejection.reason) == ("inner", "NESTED_ARCHIVE")
        assert rejection.message == f"is a {kind}; what is within it is not read. Unpack it first."
        with pytest.raises(DicomError) as caught:
            read_slice(source.read())
        assert caught.value.reason is Reason.NESTED_ARCHIVE


def test_a_zip_within_a_zip_is_listed(tmp_path: Path) -> None:
    inner = write_archive(tmp_path / "inner.zip", ("a", make_dicom())).read_bytes()
    (source,) = list_sources(write_archive(tmp_path / "d.zip", ("inner.zip", inner))).sources
    (rejection,) = scan_file(source)
    assert (rejection.reason, rejection.message[:16]) == ("NESTED_ARCHIVE", "is a zip archive")


def test_a_member_that_claims_more_than_a_file_may_have_is_not_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_archive(tmp_path / "a.zip", ("a.dcm", make_dicom()), method=zipfile.ZIP_DEFLATED)
    (source,) = list_sources(path).sources
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1000)
    monkeypatch.setattr(zip_members, "open_member", None)
    assert reason_of(source) is Reason.TOO_LARGE
