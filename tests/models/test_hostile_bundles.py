"""Hostile bundles: each is refused by one message, and leaves nothing in the temporary folder."""

import hashlib
import io
import json
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ich_tf.errors import InputError
from ich_tf.inference import bundling
from ich_tf.inference.bundle_config import BundleConfig
from ich_tf.inference.ensemble import find_members
from ich_tf.models import bundle as bundles
from ich_tf.models import bundle_format
from ich_tf.models.bundle import model_folder
from ich_tf.models.bundle_archive import write_archive
from ich_tf.models.bundle_format import Entry, directory, local_header
from tests.support.bundles import FILES, write_bundle


def sound() -> bytes:
    buffer = io.BytesIO()
    write_archive(buffer, FILES)
    return buffer.getvalue()


def listed(files: Mapping[str, bytes], **changes: object) -> bytes:
    """A bundle.json of files."""
    entries = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in files.items()
    }
    return json.dumps({"format": 1, "ich_tf": "1", "files": entries, **changes}).encode()


def archive(files: Mapping[str, bytes], bundle_json: bytes | None = None) -> bytes:
    """The bytes of a bundle in the right form, whatever names and contents are."""
    contents = {"bundle.json": bundle_json or listed(files), **dict(sorted(files.items()))}
    entries = [Entry(name, len(data), zlib.crc32(data)) for name, data in contents.items()]
    parts = [local_header(entry) + contents[entry.name] for entry in entries]
    return b"".join(parts) + directory(entries)


def zipped(change: Callable[[zipfile.ZipInfo], None], method: int = zipfile.ZIP_STORED) -> bytes:
    """The files of a sound bundle, packed by another program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in {"bundle.json": listed(FILES), **FILES}.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            change(info)
            made.writestr(info, data)
    return buffer.getvalue()


def as_link(info: zipfile.ZipInfo) -> None:
    if info.filename == "card.md":
        info.external_attr = (stat.S_IFLNK | 0o777) << 16


def as_folder(info: zipfile.ZipInfo) -> None:
    if info.filename == "card.md":
        info.external_attr = (stat.S_IFDIR | 0o755) << 16


def with_extra(info: zipfile.ZipInfo) -> None:
    info.extra = struct.pack("<2H4x", 0x7075, 4)


def patched(mark: bytes, number: int, offset: int, value: bytes) -> bytes:
    """A sound bundle with other bytes in one of its headers.

    Args:
      mark: First bytes of the header.
      number: Which of the headers, from 0.
      offset: Where in the header.
      value: Bytes to put there.
    """
    data = bytearray(sound())
    place = -1
    for _ in range(number + 1):
        place = data.index(mark, place + 1)
    data[place + offset : place + offset + len(value)] = value
    return bytes(data)


OTHER_CARD = b"# A SMALL model\n"
LOCAL, ENTRY, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
TWICE = [("bundle.json", listed(FILES)), *FILES.items(), ("card.md", b"other")]


def duplicate() -> bytes:
    entries = [Entry(name, len(data), zlib.crc32(data)) for name, data in TWICE]
    parts = [local_header(e) + data for e, (_, data) in zip(entries, TWICE, strict=True)]
    return b"".join(parts) + directory(entries)


def overlapping() -> bytes:
    """Two names for one content, as in a bomb of overlapping files (Fifield 2019)."""
    data = bytearray(sound())
    offset = struct.unpack_from("<L", data, data.index(ENTRY) + 42)[0]
    second = data.index(ENTRY, data.index(ENTRY) + 1)
    data[second + 42 : second + 46] = struct.pack("<L", offset)
    return bytes(data)


def zip64() -> bytes:
    """An end record that leaves its numbers to a 64-bit one, which is not there."""
    return patched(END, 0, 8, b"\xff" * 12)


def nested(depth: int = 200_000) -> bytes:
    return b"[" * depth


def model(**spec: object) -> Mapping[str, bytes]:
    return {**FILES, "model.json": json.dumps({"spec": spec}).encode()}


def members(**entry: object) -> Mapping[str, bytes]:
    content = {"members": [{"work_dir": ".", "weights": "best.weights.h5", **entry}]}
    return {**FILES, "ensemble.json": json.dumps(content).encode()}


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "no zip archive"),
    "no zip": (lambda: b"\x89HDF\r\n\x1a\n" + b"x" * 100, "no zip archive"),
    "cut off": (lambda: sound()[:-1], "cut off"),
    "half": (lambda: sound()[: len(sound()) // 2], "cut off"),
    "trailing data": (lambda: sound() + b"#!/bin/sh", "something follows"),
    "comment": (lambda: sound()[:-2] + b"\x03\x00abc", "something follows"),
    "prefixed program": (lambda: b"PK\x03\x04MZ" + sound(), "something stands before"),
    "path out of the folder": (lambda: archive({"../model.json": b"{}"}), "no name"),
    "absolute path": (lambda: archive({"/etc/model.json": b"{}"}), "no name"),
    "backslash": (lambda: archive({"..\\model.json": b"{}"}), "no name"),
    "NUL in a name": (lambda: archive({"model.json\0.txt": b"{}"}), "no name"),
    "line end in a name": (lambda: archive({"model.json\n": b"{}"}), "no name"),
    "unknown name": (lambda: archive({"sitecustomize.py": b"import os"}), "no name"),
    "card of a member": (lambda: archive({"fold-0/card.md": b"x"}), "no name"),
    "name twice": (duplicate, "in it twice"),
    "symbolic link": (lambda: zipped(as_link), "a link, a folder"),
    "folder": (lambda: zipped(as_folder), "a link, a folder"),
    "packed again": (lambda: zipped(lambda info: None), "packed again"),
    "extra fields": (lambda: zipped(with_extra), "extra fields"),
    "compressed": (lambda: zipped(lambda info: None, zipfile.ZIP_DEFLATED), "compressed"),
    "encrypted": (lambda: patched(ENTRY, 1, 8, b"\x01"), "encrypted"),
    "overlapping files": (overlapping, "overlap"),
    "64-bit lie": (zip64, "directory is not where"),
    "size of 4 GiB": (lambda: patched(ENTRY, 1, 20, b"\xff" * 8), "has 4294967295 bytes"),
    "sizes that differ": (lambda: patched(ENTRY, 1, 20, b"\x01\0\0\0"), "the same number"),
    "many files": (lambda: patched(END, 0, 8, b"\xff\x7f\xff\x7f"), "holds 32767 files"),
    "another local name": (lambda: patched(LOCAL, 1, 30, b"B"), "differs from the directory"),
    "another CRC": (lambda: patched(LOCAL, 1, 14, b"\0\0\0\0"), "differs from the directory"),
    "changed weights": (lambda: sound().replace(b"weights", b"wEights", 3), "no name|damaged"),
    "no list of files": (lambda: sound().replace(b"bundle.json", b"config.json"), "not begin"),
    "no list": (lambda: archive({}, nested(10)), "cannot be read"),
    "list of depth": (lambda: archive({}, nested()), "nested too deeply"),
    "list of NaN": (lambda: archive({}, b'{"format": NaN}'), "no finite number"),
    "list of another kind": (lambda: archive({}, b"[1]"), "cannot be read"),
    "format of the future": (lambda: archive(FILES, listed(FILES, format=2)), "of format 2"),
    "list of other files": (
        lambda: archive(FILES, listed({**FILES, "axes.npz": b""})),
        "other files",
    ),
    "list of fewer files": (lambda: archive(FILES, listed({})), "other files"),
    "other hash": (lambda: archive(FILES, listed({**FILES, "card.md": OTHER_CARD})), "SHA-256"),
    "version that is a page": (lambda: archive(FILES, listed(FILES, ich_tf="x" * 99)), "which ich"),
    "spec that is no JSON": (lambda: archive({**FILES, "model.json": b"{"}), "not JSON"),
    "spec of depth": (lambda: archive({**FILES, "model.json": nested()}), "nested too deeply"),
    "spec of another kind": (lambda: archive({**FILES, "model.json": b"[]"}), "describes no model"),
    "network outside": (lambda: archive(model(network_dirs=["../../runs/x"])), "does not hold"),
    "network at the root": (lambda: archive(model(network_dirs=["/runs/x"])), "does not hold"),
    "network of a number": (lambda: archive(model(network_dirs=[7])), "names no folder"),
    "networks of a number": (lambda: archive(model(network_dirs=7)), "describes no model"),
    "member outside": (lambda: archive(members(work_dir="../../run")), "does not hold"),
    "weights outside": (lambda: archive(members(weights="/etc/passwd")), "does not hold"),
    "members of a number": (
        lambda: archive({**FILES, "ensemble.json": b"[3]"}),
        "no list of",
    ),
}


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused(name: str, temporary: Path, tmp_path: Path) -> None:
    make, expected = HOSTILE[name]
    path = tmp_path / "model.zip"
    path.write_bytes(make())
    with pytest.raises(InputError, match=expected) as raised:
        model_folder(path)
    text = str(raised.value)
    assert str(path) in text and text.isprintable() and len(text) < 600
    assert not list(temporary.iterdir())


def test_a_sound_bundle_is_none_of_them(temporary: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    path.write_bytes(archive(FILES))
    folder = model_folder(path)
    assert {each.name for each in folder.iterdir()} == {"bundle.json", *FILES}


def test_a_json_file_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A billion laughs need room."""
    monkeypatch.setitem(bundle_format._OF_MODEL, "model.json", 100)
    path = tmp_path / "model.zip"
    path.write_bytes(archive({**FILES, "model.json": b'["' + b"lol" * 100 + b'"]'}))
    with pytest.raises(InputError, match="at most 100"):
        model_folder(path)


def test_a_pipe_and_a_folder_are_no_bundles(tmp_path: Path) -> None:
    pipe = tmp_path / "model.zip"
    os.mkfifo(pipe)
    pin = f"#sha256={'0' * 64}"
    for path in (str(pipe), f"{tmp_path}{pin}", "/dev/null"):
        with pytest.raises(InputError, match="no file, but a folder|is no bundle|no such work dir"):
            bundles.open_bundle(path)
    with pytest.raises(InputError, match="No such file"):
        model_folder(tmp_path / "none.zip")


def test_a_full_disk_is_told_before_unpacking(
    monkeypatch: pytest.MonkeyPatch, temporary: Path, tmp_path: Path
) -> None:
    path = write_bundle(tmp_path / "model.zip")
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr(bundles.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(InputError, match="set TMPDIR"):
        model_folder(path)
    assert not list(temporary.iterdir())


def test_any_changed_byte_is_found(temporary: Path, tmp_path: Path) -> None:
    for place in range(0, len(sound()), 11):
        data = bytearray(sound())
        data[place] ^= 0x41
        path = tmp_path / f"{place}.zip"
        path.write_bytes(data)
        with pytest.raises(InputError):
            model_folder(path)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("name", ["card.json", "run.json"])
def test_errors_of_its_descriptions_name_the_bundle(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They named the private folder that it was unpacked into."""
    monkeypatch.setattr(bundling, "load_predictor", lambda *args: None)
    monkeypatch.setattr(bundling, "_describe", lambda predictor: {})
    path = tmp_path / "model.zip"
    path.write_bytes(archive({**FILES, name: b"{}"}))
    with pytest.raises(InputError, match="not a card|not describe") as raised:
        bundling.check_bundle(BundleConfig(work_dir=str(path), check=True))
    assert str(raised.value).startswith(f"{path}/{name}: ")


def test_members_of_a_bundle_are_named_once(tmp_path: Path) -> None:
    """A list of 500 times the same member made hours of a file of 100 kB."""
    member = {"work_dir": ".", "weights": "best.weights.h5", "share": 1.0, "sha256": ""}
    content = json.dumps({"version": 1, "members": [member] * 2}).encode()
    path = tmp_path / "model.zip"
    path.write_bytes(archive({**FILES, "ensemble.json": content}))
    with pytest.raises(InputError, match="it names 'best.weights.h5' twice"):
        find_members(path)
