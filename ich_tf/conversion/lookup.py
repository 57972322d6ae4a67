"""From a planned slice to its record: shard, number, offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_tf import errors
from ich_tf.conversion.plan import PlannedShard, PlannedSlice
from ich_tf.records import data_files, manifest, tfrecord
from ich_tf.records.example import decode
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.records.shards import read_index
from ich_tf.records.sidecar import Sidecar, read_sidecar


@dataclass(frozen=True)
class StoredRecord:
    """Where the record of a planned slice lies.

    Attributes:
      shard: The TFRecord file.
      planned: What the plan says of the slice.
      number: Of the record within the shard, from 0.
      offset, size: Of the record, bytes, framing included.
    """

    shard: Path
    planned: PlannedSlice
    number: int
    offset: int
    size: int

    def read(self) -> SliceRecord:
        """The record, by one seek.

        Raises:
          DataError: If it is damaged.
        """
        try:
            return decode(tfrecord.read_record(self.shard, self.offset))
        except (tfrecord.CorruptShardError, CorruptRecordError) as error:
            raise errors.DataError(
                f"{self.shard}: record {self.number} is damaged ({error}) "
                f"{manifest.repair_advice(self.shard.parent)}"
            ) from error


def written_slices(shard: PlannedShard, sidecar: Sidecar) -> list[PlannedSlice]:
    """The slices of a shard that have a record, in its order: all but the quarantined."""
    left_out = {rejection.path for rejection in sidecar.quarantine}
    return [one for one in shard.slices() if one.path not in left_out]


def stored_records(folder: Path, shard: PlannedShard) -> Sequence[StoredRecord]:
    """Where each record of a committed shard lies, in its order.

    Raises:
      DataError: If sidecar or index is missing, or they are not of one shard.
    """
    path = folder / shard.name
    written = written_slices(shard, read_sidecar(path))
    places = read_index(path)
    if len(places) != len(written):
        raise errors.DataError(
            f"{data_files.index_path(path)}: has {len(places)} records; the plan and the sidecar "
            f"say {len(written)}. {manifest.repair_advice(folder)}"
        )
    return [
        StoredRecord(path, planned, number, offset, size)
        for number, (planned, (offset, size)) in enumerate(zip(written, places, strict=True))
    ]
