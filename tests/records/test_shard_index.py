"""The index of a shard: a line for each record, one after the other."""

from pathlib import Path

import pytest

from ich_tf.errors import DataError
from ich_tf.records.data_files import index_path
from ich_tf.records.shard_index import index_lines, read_index


def test_records_follow_each_other(tmp_path: Path) -> None:
    shard = tmp_path / "test-00000-of-00001.tfrecord"
    assert index_lines([17, 40, 5]) == "0 17\n17 40\n57 5\n"
    index_path(shard).write_text(index_lines([17, 40, 5]))
    assert read_index(shard) == [(0, 17), (17, 40), (57, 5)]
    index_path(shard).write_text(index_lines([]))
    assert read_index(shard) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"0 17\n18 5\n", r"\(line 2 is not where a record starts\)"),
        (b"17 5\n", r"\(line 1 is not where a record starts\)"),
        (b"0 17\n17 5 3\n", r"\(line 2 is not"),
        (b"0 17\nx 5\n", r"\(line 2 is not"),
        # What a decoder would quote is the file's.
        ("0 17\n\u00e9".encode(), r"\(UnicodeDecodeError\)"),
        (None, r"\(FileNotFoundError\)"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    shard = tmp_path / "test-00000-of-00001.tfrecord"
    if content is not None:
        index_path(shard).write_bytes(content)
    with pytest.raises(DataError, match=f"{index_path(shard)}: no index of a shard {reason}") as at:
        read_index(shard)
    assert f"--data_dir={tmp_path} --full --repair" in str(at.value)
