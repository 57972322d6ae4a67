"""Single slices read from shards as model input, without TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ich_tf.dicom.crop import Box
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
      record: Record of the slice.
      image: Model input, uint8 or for hu16 uint16 [H, W, neighbours * C], as in
        `input_pipeline.eval_batches`.
    """

    record: SliceRecord
    image: np.ndarray

    def grey(self, windows: Sequence[str]) -> np.ndarray:
        """The slice in its first window.

        Args:
          windows: Names of the conversion's window presets.

        Returns:
          uint8 [H, W].
        """
        image = read_image(self.record)
        if self.record.format == "hu16":
            return apply_windows(image[..., 0], preset_windows(windows[:1]))[..., 0]
        return image[..., 0]


def read_stored(
    shards: Sequence[Shard], wanted: Collection[str], neighbours: int = 1
) -> dict[str, StoredSlice]:
    """Reads slices by their ids.

    Args:
      shards: Shards to search; they are read completely.
      wanted: `source_id` of each slice.
      neighbours: Number of slices per image, odd: each slice with its neighbours as channels.

    Returns:
      Slices by id; ids that are not in the shards are missing.

    Raises:
      DataError: If a shard is damaged.
    """
    slices: dict[str, StoredSlice] = {}
    for shard in shards:
        for _, group in groupby(_records(shard), key=lambda record: record.series_key):
            series = list(group)
            places_of = neighbour_places(len(series), neighbours)
            for record, places in zip(series, places_of, strict=True):
                if record.source_id in wanted:
                    images = [read_image(series[place]) for place in places]
                    image = np.concatenate(images, axis=-1)
                    slices[record.source_id] = StoredSlice(record, image)
    return slices


def read_crops(shards: Sequence[Shard]) -> dict[str, Box]:
    """Reads the part of its original image that each slice shows, by `source_id`.

    Args:
      shards: Shards to read; they are read completely.

    Returns:
      Top, left, rows and columns, px; empty for the whole image.

    Raises:
      DataError: If a shard is damaged.
    """
    return {record.source_id: record.crop for shard in shards for record in _records(shard)}


def _records(shard: Shard) -> Iterator[SliceRecord]:
    """Records of a shard, in order."""
    try:
        for payload in tfrecord.read_records(shard.path):
            yield decode(payload)
    except (OSError, tfrecord.CorruptShardError, CorruptRecordError) as error:
        raise DataError(f"{error} {repair_advice(shard.path.parent)}") from error
