"""Location of a planned slice's record: shard, number, offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich_tf import errors
from ich_tf.conversion.plan import PlannedShard, PlannedSlice
from ich_tf.records import data_files, manifest, tfrecord
from ich_tf.records.example import decode
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.records.shard_index import read_index
from ich_tf.records.sidecar import Sidecar, read_sidecar


@dataclass(frozen=True)
class RecordLocation:
    """Location of the record of a planned slice.

    Attributes:
      shard: Path of the TFRecord file.
      planned: Planned slice.
      number: Number of the record within the shard, from 0.
      offset: Offset of the record within the file, bytes.
      size: Size of the record with its framing, bytes.
    """

    shard: Path
    planned: PlannedSlice
    number: int
    offset: int
    size: int

    def read(self) -> SliceRecord:
        """Reads the record, with one seek.

        Raises:
          DataError: If the record is damaged.
        """
        try:
            return decode(tfrecord.read_record(self.shard, self.offset))
        except (tfrecord.CorruptShardError, CorruptRecordError) as error:
            raise errors.DataError(
                f"{self.shard}: record {self.number} is damaged ({error}) "
                f"{manifest.repair_advice(self.shard.parent)}"
            ) from error


def written_slices(shard: PlannedShard, sidecar: Sidecar) -> list[PlannedSlice]:
    """Slices of a shard that have a record, in order: all of which a file is not in quarantine.

    Args:
      shard: Planned shard.
      sidecar: Sidecar of the committed shard.
    """
    left_out = {rejection.path for rejection in sidecar.quarantine}
    return [planned for planned in shard.slices() if not left_out.issuperset(planned.paths)]


def record_locations(folder: Path, shard: PlannedShard) -> Sequence[RecordLocation]:
    """Location of each record of a committed shard, in order.

    Args:
      folder: Folder of the shards.
      shard: Planned shard.

    Raises:
      DataError: If sidecar or index is missing, or the two belong to different shards.
    """
    path = folder / shard.name
    written = written_slices(shard, read_sidecar(path))
    extents = read_index(path)
    if len(extents) != len(written):
        raise errors.DataError(
            f"{data_files.index_path(path)}: has {len(extents)} records; the plan and the sidecar "
            f"list {len(written)}. {manifest.repair_advice(folder)}"
        )
    return [
        RecordLocation(path, planned, number, offset, size)
        for number, (planned, (offset, size)) in enumerate(zip(written, extents, strict=True))
    ]
