import zipfile
from pathlib import Path

import pytest

from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.sources import Source, list_sources
from ich_tf.errors import InputError


def test_a_nested_folder_in_order_and_without_clutter(tmp_path: Path) -> None:
    for name in ("b/2.dcm", "a/1", "DICOMDIR", ".hidden", "__MACOSX/x", "c.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    sources = list_sources(tmp_path)
    assert [source.name for source in sources] == ["a/1", "b/2.dcm", "c.txt"]
    assert sources[1].read() == b"b/2.dcm"
    assert sources[1].stem == "2"


def test_a_zip_is_read_in_place(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("d/ID_b.dcm", b"bb")
        archive.writestr("d/ID_a.dcm", b"aa")
        archive.writestr("__MACOSX/ID_a.dcm", b"")
        archive.writestr("../../evil.dcm", b"never extracted, just read")
    sources = list_sources(path)
    assert [source.stem for source in sources] == ["evil", "ID_a", "ID_b"]
    assert sources[1].read() == b"aa"
    assert [p.name for p in tmp_path.iterdir()] == ["data.zip"]


def test_a_folder_within_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("r/train/ID_a.dcm", "r/train/b/ID_b.dcm", "r/train2/ID_c.dcm", "r/t.csv"):
            archive.writestr(name, name)
    sources = list_sources(path / "r/train")
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
    (source,) = list_sources(path)
    with pytest.raises(DicomError) as caught:
        source.read()
    assert caught.value.reason is Reason.UNREADABLE


def test_single_file(tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(b"x")
    assert list_sources(tmp_path / "one.dcm") == [Source(tmp_path, "one.dcm")]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        list_sources(tmp_path / "none")
    with pytest.raises(InputError, match="holds no files"):
        list_sources(tmp_path)
    with pytest.raises(DicomError):
        Source(tmp_path, "gone.dcm").read()
