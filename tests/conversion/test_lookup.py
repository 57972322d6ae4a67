"""Every planned slice is found by one seek."""

from pathlib import Path

import pytest

from ich_tf import errors
from ich_tf.conversion.lookup import record_locations
from ich_tf.conversion.plan import load_plan
from ich_tf.records import data_files, tfrecord
from ich_tf.records.example import decode


def test_every_record_of_a_conversion(data_dir: Path) -> None:
    plan, _ = load_plan(data_dir)
    for shard in plan.shards:
        found = record_locations(data_dir, shard)
        payloads = list(tfrecord.read_records(data_dir / shard.name))
        assert [one.read() for one in found] == [decode(payload) for payload in payloads]
        assert [one.planned.source_id for one in found] == [
            decode(payload).source_id for payload in payloads
        ]


def test_a_damaged_record_or_index_is_named(data_copy: Path) -> None:
    plan, _ = load_plan(data_copy)
    shard = plan.shards[0]
    third = record_locations(data_copy, shard)[2]
    data = bytearray(third.shard.read_bytes())
    data[third.offset + third.size // 2] ^= 1
    third.shard.write_bytes(data)
    with pytest.raises(errors.DataError, match=r"record 2 is damaged.*--full --repair"):
        third.read()
    index = data_files.index_path(third.shard)
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(errors.DataError, match="the plan and the sidecar list"):
        record_locations(data_copy, shard)
    index.write_text("0 x\n")
    with pytest.raises(errors.DataError, match="no index of a shard"):
        record_locations(data_copy, shard)
