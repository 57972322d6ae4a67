"""Labels of a shard's records: those of the slices and those of their exams, NaN where unknown.

A manifest counts labels and does not tell where they are. A run whose slices may be unlabelled, or
that learns from exams, reads its shards once before it begins, without TensorFlow: devices can
still be chosen then.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.example import decode
from ich_tf.records.known_labels import known_labels
from ich_tf.records.manifest import Shard, repair_advice
from ich_tf.records.schema import CorruptRecordError
from ich_tf.records.tfrecord import CorruptShardError, read_records


@dataclass(frozen=True, eq=False)
class ShardLabels:
    """Labels of the n records of a shard, which hold s exams, one after the other.

    Attributes:
      labels: Labels of each slice, 0 or 1, or NaN where unknown, float32 [n, 6].
      first: Number of each exam's first record, rising, int64 [s].
      count: Number of each exam's records, int64 [s].
      exams: Labels of each exam in [0, 1], or NaN where unknown, float32 [s, 6].
    """

    labels: np.ndarray
    first: np.ndarray
    count: np.ndarray
    exams: np.ndarray


@dataclass(frozen=True, eq=False)
class KnownShares:
    """Shares of positives among the known labels of each class.

    Attributes:
      slices: Share of the slices, float64 [6]; NaN for a class that no slice's label tells of.
      exams: Mean label of the exams, float64 [6]; NaN for a class that no exam's label tells of.
      num_slices: Number of slices of which a class is known.
      num_exams: Number of exams of which a class is known.
    """

    slices: np.ndarray
    exams: np.ndarray
    num_slices: int
    num_exams: int

    @classmethod
    def count(cls, slices: np.ndarray, exams: np.ndarray) -> KnownShares:
        """Counts labels.

        Args:
          slices: Labels of slices, 0 or 1, or NaN where unknown, [n, 6].
          exams: Labels of exams, in [0, 1], or NaN where unknown, [m, 6].
        """
        return cls(
            known_mean(slices),
            known_mean(exams),
            int(has_label(slices).sum()),
            int(has_label(exams).sum()),
        )

    @property
    def of_slices(self) -> np.ndarray:
        """Shares for a network over slices: of an exam, then one half, where a slice's is unknown.

        An exam shows a class where a slice does: its share is too high for a slice, and no better
        one is known.
        """
        shares = np.where(np.isnan(self.slices), self.exams, self.slices)
        return np.where(np.isnan(shares), 0.5, shares)

    @property
    def of_exams(self) -> np.ndarray:
        """Shares for exams: one half where they are unknown."""
        return np.where(np.isnan(self.exams), 0.5, self.exams)


def known_shares(shards: Sequence[Shard]) -> KnownShares:
    """Computes the shares of positives of some shards, which are read once for it.

    Raises:
      DataError: If a shard is damaged or missing.
    """
    labels = [read_shard_labels(shard) for shard in shards]
    slices = np.concatenate([shard.labels for shard in labels])
    return KnownShares.count(slices, np.concatenate([shard.exams for shard in labels]))


def has_label(labels: np.ndarray) -> np.ndarray:
    """Whether any class of each row is known: labels [n, 6] with NaN -> bool [n]."""
    known: np.ndarray = (~np.isnan(labels)).any(axis=1)
    return known


def known_mean(labels: np.ndarray) -> np.ndarray:
    """Mean of the known labels of each class.

    Args:
      labels: Labels in [0, 1], or NaN where unknown, [n, 6].

    Returns:
      float64 [6], NaN for a class without any.

    Examples:
      >>> known_mean(np.array([[1.0, np.nan], [0.0, np.nan]])).tolist()
      [0.5, nan]
    """
    known = ~np.isnan(labels)
    total = np.where(known, labels, 0).sum(axis=0, dtype=np.float64)
    number = known.sum(axis=0)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


@functools.lru_cache(4096)
def read_shard_labels(shard: Shard) -> ShardLabels:
    """Reads the labels of a shard, once in a process.

    Raises:
      DataError: If the shard is damaged or missing, or holds another number of records than the
        manifest lists.
    """
    try:
        records = [
            (known_labels(record), record.series_key, record.exam_labels)
            for record in map(decode, read_records(shard.path))
        ]
    except (OSError, CorruptShardError, CorruptRecordError) as error:
        raise DataError(f"{error} {repair_advice(shard.path.parent)}") from error
    if len(records) != shard.num_records:
        raise DataError(
            f"{shard.path}: holds {len(records)} records; the manifest lists {shard.num_records}. "
            f"{repair_advice(shard.path.parent)}"
        )
    labels = np.array([label for label, _, _ in records], np.float32).reshape(-1, len(CLASSES))
    keys = [key for _, key, _ in records]
    first = np.array([i for i, key in enumerate(keys) if not i or key != keys[i - 1]], np.int64)
    count = np.diff(first, append=len(records))
    # The labels of an exam stand in all of its records. Those of an older version have none.
    exams = [
        records[start][2] or exam_of_slices(labels[start : start + number])
        for start, number in zip(first.tolist(), count.tolist(), strict=True)
    ]
    exam_labels = np.array(exams, np.float32).reshape(-1, len(CLASSES))
    return ShardLabels(labels, first, count, exam_labels)
