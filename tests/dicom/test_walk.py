import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from ich_tf.dicom.header_scan import scan_file
from ich_tf.dicom.listing import SourceListing, list_sources
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.sources import Source
from ich_tf.errors import InputError


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def names(listing: SourceListing) -> list[str]:
    return [source.name for source in listing.sources]


def refused(listing: SourceListing) -> dict[str, str]:
    return {rejection.path: rejection.reason for rejection in listing.rejections}


@pytest.fixture
def unlistable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes the listing of a folder fail: the tests may run as root, who may list any."""
    folders: set[str] = set()
    scandir = os.scandir

    def failing(path: Path) -> object:
        if os.fspath(path) in folders:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    return lambda path: folders.add(os.fspath(path))


def test_links_are_followed_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    write(tmp_path / "store/p1/a.dcm")
    write(tmp_path / "store/p2/b.dcm")
    write(tmp_path / "in/z/c.dcm")
    (tmp_path / "in/one").symlink_to("../store/p1")
    (tmp_path / "in/all").symlink_to("../store")
    (tmp_path / "in/again").symlink_to(tmp_path / "in/z")  # has a real path
    (tmp_path / "in/z/up").symlink_to(tmp_path / "in")
    (tmp_path / "store/round").symlink_to(tmp_path / "store")
    listing = list_sources(tmp_path / "in")
    assert names(listing) == ["all/p1/a.dcm", "all/p2/b.dcm", "z/c.dcm"]
    assert not listing.rejections
    assert [source.read() for source in listing.sources] == [b"x"] * 3


def test_a_folder_that_cannot_be_listed_is_listed(
    tmp_path: Path, unlistable: Callable[[Path], None]
) -> None:
    write(tmp_path / "a/1/x.dcm")
    write(tmp_path / "b/y.dcm")
    unlistable(tmp_path / "a/1")
    listing = list_sources(tmp_path)
    assert names(listing) == ["b/y.dcm"]
    assert refused(listing) == {"a/1": "UNREADABLE"}
    assert listing.rejections[0].message == "cannot be read (Permission denied)."
    assert len(listing) == 2
    unlistable(tmp_path)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)"):
        list_sources(tmp_path)


def test_only_regular_files_are_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "sound.dcm")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path may have a hundred bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to("/nowhere/Name^Of^Patient")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link.dcm").symlink_to("sound.dcm")
    listing = list_sources(tmp_path)
    assert names(listing) == ["link.dcm", "sound.dcm"]
    expected = ("device", "gone", "loop", "pipe", "socket")
    assert refused(listing) == dict.fromkeys(expected, "NOT_A_FILE")
    assert not any("/" in rejection.message for rejection in listing.rejections)


@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing"])
def test_a_file_that_becomes_another_kind_is_no_reason_to_wait(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a.dcm")
    (source,) = list_sources(tmp_path).sources
    (tmp_path / "a.dcm").unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / "a.dcm")
    elif kind == "folder":
        (tmp_path / "a.dcm").mkdir()
    reason = Reason.UNREADABLE if kind == "nothing" else Reason.NOT_A_FILE
    with pytest.raises(DicomError) as caught:
        source.read()
    assert caught.value.reason is reason
    (rejection,) = scan_file(source)
    assert rejection.reason == reason.value
    assert str(tmp_path) not in rejection.message


def test_names_may_be_any_bytes(tmp_path: Path) -> None:
    for name in (b"p\xe9re.dcm", b"two\nlines", "père".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    listing = list_sources(tmp_path)
    assert {source.shown: source.read() for source in listing.sources} == {
        "p\\xe9re.dcm": b"p\xe9re.dcm",
        "two\\nlines": b"two\nlines",
        "père": "père".encode(),
    }
    rejections = [scan_file(source)[0] for source in listing.sources]
    assert {rejection.path for rejection in rejections} == {
        source.shown for source in listing.sources
    }


def test_outputs_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "in/a.dcm")
    write(tmp_path / "in/out/plan.json")
    write(tmp_path / "in/p.csv")
    (tmp_path / "in/link").symlink_to("out")
    listing = list_sources(
        tmp_path / "in", (tmp_path / "in/out", tmp_path / "in/p.csv", tmp_path / "in/none")
    )
    assert names(listing) == ["a.dcm"]
    assert not listing.rejections


def test_a_file_costs_one_stat_in_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.dcm")
    listing = list_sources(tmp_path)
    monkeypatch.setattr(Path, "stat", None)
    assert listing.find("a.dcm").stamp() == listing.sources[0].stamp()
    assert listing.find("a.dcm").read() == b"x"
    assert listing.find("b.dcm") == Source(tmp_path, "b.dcm")


def test_a_pipe_in_the_place_of_all_inputs_is_called_that(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    for name in ("pipe", "gone"):
        with pytest.raises(InputError, match="is a pipe, a socket, a device or a link that leads"):
            list_sources(tmp_path / name)
