"""Single slices out of shards, as a model sees them, without TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ich_tf.errors import DataError
from ich_tf.records import tfrecord
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.manifest import Shard, repair_advice
from ich_tf.records.neighbours import neighbour_places
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.windows import apply_windows, preset_windows


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """A slice of a shard.

    Attributes:
      record: Its own.
      image: What the model sees, [H, W, neighbours * C], as of `input_pipeline.eval_batches`.
    """

    record: SliceRecord
    image: np.ndarray

    def grey(self, windows: Sequence[str]) -> np.ndarray:
        """The slice in the first of its windows, uint8 [H, W]."""
        own = read_image(self.record)
        if self.record.format == "hu16":
            return apply_windows(own[..., 0], preset_windows(windows[:1]))[..., 0]
        return own[..., 0]


def read_stored(
    shards: Sequence[Shard], wanted: Collection[str], neighbours: int = 1
) -> dict[str, StoredSlice]:
    """Reads the slices with these ids.

    Args:
      shards: Where they may be; they are read whole.
      wanted: `source_id`s.
      neighbours: As of `input_pipeline.eval_batches`.

    Returns:
      Id -> slice, of those that are there.

    Raises:
      DataError: If a shard is damaged.
    """
    found: dict[str, StoredSlice] = {}
    for shard in shards:
        for _, group in groupby(_records(shard), key=lambda record: record.series_key):
            series = list(group)
            windows = neighbour_places(len(series), neighbours)
            for record, places in zip(series, windows, strict=True):
                if record.source_id in wanted:
                    images = [read_image(series[place]) for place in places]
                    image = np.concatenate(images, axis=-1)
                    found[record.source_id] = StoredSlice(record, image)
    return found


def _records(shard: Shard) -> Iterator[SliceRecord]:
    try:
        for payload in tfrecord.read_records(shard.path):
            yield decode(payload)
    except (OSError, tfrecord.CorruptShardError, CorruptRecordError) as error:
        raise DataError(f"{error} {repair_advice(shard.path.parent)}") from error
