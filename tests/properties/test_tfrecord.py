"""TFRecord files and their indices: what is read is what was written, or an error."""

import struct
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.errors import DataError
from ich_tf.records.data_files import index_path
from ich_tf.records.shard_index import index_lines, read_index
from ich_tf.records.tfrecord import OVERHEAD, CorruptShardError, frame, read_record, read_records
from tests.support.strategies import damaged, file_texts, refused_in_a_paragraph

payloads = st.lists(st.binary(max_size=60), max_size=5)


def starts(records: list[bytes]) -> list[int]:
    """Where each record starts, and the file's end."""
    places = [0]
    for record in records:
        places.append(places[-1] + OVERHEAD + len(record))
    return places


@given(payloads)
def test_records_come_back(folder: Path, records: list[bytes]) -> None:
    path = folder / "shard.tfrecord"
    path.write_bytes(b"".join(map(frame, records)))
    assert list(read_records(path)) == records
    assert [read_record(path, at) for at in starts(records)[:-1]] == records


@given(st.data())
def test_damage_is_never_read_as_a_record(folder: Path, data: st.DataObject) -> None:
    records = data.draw(payloads)
    whole = b"".join(map(frame, records))
    path = folder / "shard.tfrecord"
    path.write_bytes(data.draw(damaged(whole)))
    read: list[bytes] = []
    with refused_in_a_paragraph(path):
        read.extend(read_records(path))
    # A repetition or a loss of whole records passes here; counts and hashes of sidecars do not.
    assert set(read) <= set(records), "bytes that nobody wrote"


@given(st.data())
def test_a_cut_loses_whole_records_or_is_told(folder: Path, data: st.DataObject) -> None:
    records = data.draw(payloads)
    whole = b"".join(map(frame, records))
    length = data.draw(st.integers(0, len(whole)))
    path = folder / "shard.tfrecord"
    path.write_bytes(whole[:length])
    places = starts(records)
    if length in places:
        assert list(read_records(path)) == records[: places.index(length)]
    else:
        with pytest.raises(CorruptShardError, match="cut"):
            list(read_records(path))


@given(st.binary(max_size=80))
def test_any_bytes_are_records_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "shard.tfrecord"
    path.write_bytes(content)
    with refused_in_a_paragraph(path):
        assert b"".join(map(frame, read_records(path))) == content


def masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


@given(st.integers(0, 2**64 - 1), st.integers(0, 40))
@example(2**64 - 1, 0)
@example(2**62, 0)
@example(2**40, 12)
def test_a_length_that_lies_takes_no_memory(folder: Path, length: int, behind: int) -> None:
    head = struct.pack("<Q", length)
    path = folder / "shard.tfrecord"
    path.write_bytes(head + masked_crc(head) + bytes(behind))
    with refused_in_a_paragraph(path):
        assert sum(map(len, read_records(path))) <= behind
    with refused_in_a_paragraph(path):
        assert len(read_record(path, 0)) <= behind


@given(st.lists(st.integers(1, 2**40), max_size=6))
def test_an_index_comes_back(folder: Path, sizes: list[int]) -> None:
    shard = folder / "shard.tfrecord"
    index_path(shard).write_text(index_lines(sizes))
    places = read_index(shard)
    assert [size for _, size in places] == sizes
    assert [at for at, _ in places] == [sum(sizes[:i]) for i in range(len(sizes))]


@given(st.data())
def test_a_damaged_index_is_another_index_or_refused(folder: Path, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(OVERHEAD, 10**6), min_size=1, max_size=6))
    shard = folder / "shard.tfrecord"
    index_path(shard).write_bytes(data.draw(damaged(index_lines(sizes).encode())))
    with refused_in_a_paragraph(index_path(shard)):
        check_index(read_index(shard))


@given(file_texts())
@example("0 1_6\n")
@example("0 \u0661\u0666\n")
@example("0 -16\n")
@example("0 16\n0 16\n")
@example("5 16\n")
@example("0 " + "9" * 5000 + "\n")
def test_any_text_is_an_index_or_refused(folder: Path, text: str) -> None:
    shard = folder / "shard.tfrecord"
    index_path(shard).write_text(text, "utf-8", newline="")
    with refused_in_a_paragraph(index_path(shard)):
        check_index(read_index(shard))


def check_index(places: list[tuple[int, int]]) -> None:
    """An index tells of records that follow each other from the file's start."""
    at = 0
    for offset, size in places:
        assert (offset, size > 0) == (at, True)
        at += size


def test_an_index_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shard.tfrecord.idx").mkdir()
    with pytest.raises(DataError, match="idx: no index"):
        read_index(tmp_path / "shard.tfrecord")
