"""Shards on disk: each file appears whole or not at all, and the sidecar last."""

import hashlib
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom.reasons import Rejection
from ich_tf.errors import DataError, InputError
from ich_tf.records import shards
from ich_tf.records.data_files import index_path, sidecar_path
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.mask_statistics import MaskStatistics
from ich_tf.records.shard_index import read_index
from ich_tf.records.shards import EncodedSlice, commit_shard, committed, remove_shard
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.records.statistics import SliceStatistics
from ich_tf.records.tfrecord import read_records

NO_PIXELS = Rejection("b.dcm", "execute", "NO_PIXELS", "no pixels.")
NO_MASK = Rejection("b.png", "mask", "MASK_SIZE", "another size.")
STATISTICS = SliceStatistics.of_slice(
    np.zeros((4, 4), np.uint16),
    labels=(0, 0, 0, 0, 1, 1),
    repairs=(),
    decoder="",
    transfer_syntax="",
    scanner="GE",
    row_spacing_mm=0.5,
    gantry_tilt_deg=0.0,
)
MASKS = MaskStatistics((1,) * 6, (0, 0, 0, 0, 1, 1), (0, 0, 0, 0, 9, 9))
EXAMS = ExamStatistics(1, (1,) * 6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test-00000-of-00001.tfrecord"


def slices_of(*payloads: bytes, **changes: object) -> list[EncodedSlice]:
    plain = [EncodedSlice(payload, STATISTICS, len(payload)) for payload in payloads]
    return [slice_._replace(**changes) for slice_ in plain]


def commit(path: Path, slices: list, **given: object) -> Sidecar:
    settings: dict = {"split": "test", "plan_sha256": "p", "sources_sha256": "s"}
    return commit_shard(path, slices, **{**settings, "versions": {"numpy": "1"}, **given})


def files_in(folder: Path) -> list[str]:
    return sorted(file.suffix for file in folder.iterdir())


def test_a_sidecar_tells_of_all_that_was_given(path: Path) -> None:
    sidecar = commit(path, [*slices_of(b"1", b"22"), NO_PIXELS, NO_MASK, *slices_of(b"333")])
    assert list(read_records(path)) == [b"1", b"22", b"333"]
    assert read_index(path) == [(0, 17), (17, 18), (35, 19)]
    assert (sidecar.name, sidecar.split) == (path.name, "test")
    assert (sidecar.plan_sha256, sidecar.sources_sha256) == ("p", "s")
    assert sidecar.versions == {"numpy": "1"}
    assert (sidecar.num_records, sidecar.num_bytes) == (3, path.stat().st_size)
    assert sidecar.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sidecar.statistics.label_counts == (0, 0, 0, 0, 3, 3)
    assert (sidecar.quarantine, sidecar.mask_quarantine) == ((NO_PIXELS,), (NO_MASK,))
    assert sidecar.pixel_hashes == "".join(f"{size:016x}" for size in (1, 2, 3))
    assert (sidecar.masks, sidecar.exams) == (None, None)
    assert read_sidecar(path).text() == sidecar.text()


def test_masks_and_exams_are_summed_up(path: Path) -> None:
    slices = [
        *slices_of(b"1", masks=MASKS, exams=EXAMS),
        *slices_of(b"2", masks=MASKS),
        *slices_of(b"3", exams=EXAMS),
    ]
    sidecar = commit(path, slices)
    assert sidecar.masks == MaskStatistics((2,) * 6, (0, 0, 0, 0, 2, 2), (0, 0, 0, 0, 18, 18))
    assert sidecar.exams == ExamStatistics(2, (2,) * 6)


def test_a_slice_may_lack_a_hash() -> None:
    assert EncodedSlice(b"", STATISTICS).pixel_hash == 0


def test_the_run_is_checked_before_each_file_appears(path: Path) -> None:
    present: list[list[str]] = []
    commit(
        path,
        slices_of(b"1"),
        check_run=lambda: present.append([s for s in files_in(path.parent) if "tmp" not in s]),
    )
    assert len(present) == 3
    assert [[suffix for suffix in found if suffix in (".tfrecord", ".idx", ".json")]
            for found in present] == [[], [".tfrecord"], [".idx", ".tfrecord"]]  # fmt: skip


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_run_that_has_ended_commits_nothing(path: Path, last: int) -> None:
    calls: list[int] = []

    def check_run() -> None:
        calls.append(1)
        if len(calls) == last:
            raise InputError("another run has the folder.")

    with pytest.raises(InputError, match="another run"):
        commit(path, slices_of(b"1"), check_run=check_run)
    assert files_in(path.parent) == [[], [".tfrecord"], [".idx", ".tfrecord"]][last - 1]
    assert committed(path, "p") is None


def test_other_bytes_than_were_written_are_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "file_crc32c", lambda path: 1)
    with pytest.raises(DataError, match=f"{path.name}: read back other bytes") as error:
        commit(path, slices_of(b"1"))
    assert "Check the disk" in str(error.value)
    assert files_in(path.parent) == []


def test_a_shard_is_the_same_in_parts_of_any_size(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = [bytes([i]) * (i + 1) for i in range(20)]
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd)))
    sizes = [16 + len(payload) for payload in payloads]
    hashes = set()
    for part_bytes in (17, 67, 75, 1 << 20):
        monkeypatch.setattr(shards, "_PART_BYTES", part_bytes)
        synced.clear()
        hashes.add(commit(path, slices_of(*payloads)).sha256)
        assert list(read_records(path)) == payloads
        # A part is on the disk as soon as it has so many bytes.
        ends, part = [], 0
        for number, size in enumerate(sizes, 1):
            part += size
            if part >= part_bytes:
                ends.append(sum(sizes[:number]))
                part = 0
        assert synced[: len(ends) + 1] == [*ends, sum(sizes)]
    assert len(hashes) == 1


def test_the_folder_is_synchronized_once_and_last(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present: list[list[str]] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            present.append(files_in(path.parent))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    commit(path, slices_of(b"1"))
    assert present == [[".idx", ".json", ".tfrecord"]]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_full_disk_ends_the_shard(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards, "_PART_BYTES", 1)
    monkeypatch.setattr(os, "fsync", fsync)
    before = threading.active_count()
    taken: list[int] = []

    def slices() -> object:
        for i in range(6):
            taken.append(i)
            yield slices_of(b"1")[0]

    with pytest.raises(InputError, match="No space left"):
        commit(path, slices())
    assert files_in(path.parent) == []
    # The writer hears of it no later than with the second part after.
    assert len(taken) <= failing + 1
    assert threading.active_count() == before


def test_only_a_whole_shard_of_the_plan_is_committed(path: Path) -> None:
    assert committed(path, "p") is None
    commit(path, slices_of(b"1"))
    found = committed(path, "p")
    assert found is not None and found.text() == read_sidecar(path).text()
    assert committed(path, "another") is None
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert committed(path, "p") is None
    path.write_bytes(data + b"x")
    assert committed(path, "p") is None
    path.write_bytes(data)
    assert committed(path, "p") is not None
    index = index_path(path).read_bytes()
    index_path(path).unlink()
    assert committed(path, "p") is None
    index_path(path).write_bytes(index)
    path.unlink()
    assert committed(path, "p") is None
    path.mkdir()
    assert committed(path, "p") is None


def test_the_commit_mark_goes_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(path, slices_of(b"1"))
    removed: list[str] = []
    real = Path.unlink

    def unlink(file: Path, missing_ok: bool = False) -> None:
        removed.append(file.suffix)
        real(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    remove_shard(path)
    assert removed == [".json", ".idx", ".tfrecord"] and files_in(path.parent) == []
    remove_shard(path)  # of which nothing is left


def test_sidecar_and_index_lie_beside_the_shard(path: Path) -> None:
    commit(path, slices_of(b"1"))
    assert sidecar_path(path).is_file() and index_path(path).is_file()
