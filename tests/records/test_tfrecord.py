from pathlib import Path

import pytest
import tensorflow as tf

from ich_tf.records.tfrecord import CorruptShardError, frame, read_record, read_records

PAYLOADS = [b"", b"a", b"\x00" * 1000, bytes(range(256)) * 40]


def write(path: Path) -> bytes:
    data = b"".join(map(frame, PAYLOADS))
    path.write_bytes(data)
    return data


def test_tensorflow_writes_the_same_bytes_and_reads_them(tmp_path: Path) -> None:
    data = write(tmp_path / "own")
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert (tmp_path / "theirs").read_bytes() == data
    assert list(tf.data.TFRecordDataset(str(tmp_path / "own")).as_numpy_iterator()) == PAYLOADS
    assert list(read_records(tmp_path / "theirs")) == PAYLOADS


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    data = write(tmp_path / "good")
    path = tmp_path / "bad"
    for at in [*range(40), len(data) // 2, len(data) - 1]:
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CorruptShardError, match="record"):
            list(read_records(path))


def test_a_cut_is_found_unless_on_a_boundary(tmp_path: Path) -> None:
    data = write(tmp_path / "good")
    path = tmp_path / "cut"
    boundaries = {0, 16, 33, 33 + 1016}
    for length in range(0, 1100, 7):
        path.write_bytes(data[:length])
        if length in boundaries:
            list(read_records(path))
        else:
            with pytest.raises(CorruptShardError, match="cut"):
                list(read_records(path))


def test_one_record_by_its_offset(tmp_path: Path) -> None:
    data = write(tmp_path / "good")
    assert [read_record(tmp_path / "good", at) for at in (0, 16, 33, 33 + 1016)] == PAYLOADS
    with pytest.raises(CorruptShardError, match="byte 17"):
        read_record(tmp_path / "good", 17)
    with pytest.raises(CorruptShardError, match="behind the file's end"):
        read_record(tmp_path / "good", len(data))
