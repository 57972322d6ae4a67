"""The slices of a split by number, in NumPy: for PyTorch and other readers without TensorFlow."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ich_tf.errors import DataError, UsageError
from ich_tf.records import tfrecord
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.manifest import Manifest, Shard, repair_advice
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.records.shard_index import read_index


class LabelledSlice(NamedTuple):
    """A slice as a network is trained on it.

    Attributes:
      image: uint8 [H, W, C], or for records of encoding hu16 uint16 [H, W, 1].
      labels: 0 or 1 for each class, float32 [6]; zeros if the slice has no labels.
      source_id: RSNA's image id, or the keyed hash of the SOP instance UID.
    """

    image: np.ndarray
    labels: np.ndarray
    source_id: str


class SliceDataset:
    """The slices of some splits as a sequence; a map-style dataset for PyTorch's DataLoader.

    A slice is read from its place in its shard, without those before it; no file stays open, so
    that the dataset can be sent to other processes.

    Attributes:
      manifest: Manifest of the data.

    Examples:
      dataset = SliceDataset("data/tfrecords", "fold-0", "fold-1")
      image, labels, source_id = dataset[0]
    """

    def __init__(self, data_dir: str | Path, *splits: str) -> None:
        """Reads the indices of the shards.

        Args:
          data_dir: Folder that ich_tf.make_tfrecords wrote.
          *splits: Splits to read: `fold-0` ..., `test` or `unlabelled`; all if none is given.

        Raises:
          DataError: If the folder is no finished conversion, or an index is missing or damaged.
          UsageError: If there is no such split.
        """
        self.manifest = Manifest.load(data_dir)
        known = sorted({shard.split for shard in self.manifest.shards})
        for split in splits:
            if split not in known:
                raise UsageError(f"{data_dir}: has no split {split!r}; it has {', '.join(known)}.")
        self._shards = [s for s in self.manifest.shards if not splits or s.split in splits]
        self._offsets = [_offsets(shard) for shard in self._shards]
        # Number of the first slice of each shard, and of all slices.
        self._starts = np.cumsum([0, *map(len, self._offsets)])
        self._numbers: dict[str, int] | None = None

    def __len__(self) -> int:
        """Number of slices."""
        return int(self._starts[-1])

    def __getitem__(self, number: int) -> LabelledSlice:
        """Reads a slice.

        Args:
          number: Number of the slice, from 0, in the order of the shards, in which a series is
            contiguous; from the end if it is negative.

        Raises:
          IndexError: If there are fewer slices.
          TypeError: If the number is no whole one.
          DataError: If the shard is damaged; the message names it.
        """
        record, place = self._read(number)
        try:
            image = read_image(record)
        except CorruptRecordError as error:
            raise _damaged(f"{place} {error}", self.manifest.data_dir) from error
        # A copy: an array over the record's bytes cannot be written to.
        return LabelledSlice(
            np.array(image), np.asarray(record.labels, np.float32), record.source_id
        )

    def __iter__(self) -> Iterator[LabelledSlice]:
        """Reads all slices in their order."""
        return (self[number] for number in range(len(self)))

    def record(self, number: int) -> SliceRecord:
        """Reads the whole record of a slice: patient, series, place; the image is still encoded.

        Args:
          number: Number of the slice, as for `dataset[number]`.
        """
        return self._read(number)[0]

    def number_of(self, source_id: str) -> int:
        """Number of the slice with an id; the first call reads all records.

        Raises:
          KeyError: If there is no such slice.
        """
        if self._numbers is None:
            self._numbers = {self.record(i).source_id: i for i in range(len(self))}
        return self._numbers[source_id]

    def _read(self, number: int) -> tuple[SliceRecord, str]:
        """A slice's record, and a description of its place for errors."""
        number = operator.index(number)
        if not -len(self) <= number < len(self):
            raise IndexError(f"slice {number} of {len(self)}")
        number %= len(self)
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        path = self._shards[shard].path
        offset = int(self._offsets[shard][number - self._starts[shard]])
        place = f"{path}: the record at byte {offset}"
        try:
            return decode(tfrecord.read_record(path, offset)), place
        except CorruptRecordError as error:
            raise _damaged(f"{place} {error}", self.manifest.data_dir) from error
        except (OSError, tfrecord.CorruptShardError) as error:
            raise _damaged(str(error), self.manifest.data_dir) from error

    def __getstate__(self) -> dict[str, Any]:
        """State for other processes, without the ids."""
        return {**self.__dict__, "_numbers": None}


def _offsets(shard: Shard) -> np.ndarray:
    """Offset of each record of a shard, bytes, int64 [n]."""
    index = read_index(shard.path)
    if len(index) != shard.num_records:
        raise _damaged(
            f"{shard.path}: its index lists {len(index)} records; the manifest lists "
            f"{shard.num_records}.",
            shard.path.parent,
        )
    return np.array([offset for offset, _ in index], np.int64)


def _damaged(problem: str, data_dir: Path) -> DataError:
    return DataError(f"{problem} {repair_advice(data_dir)}")
