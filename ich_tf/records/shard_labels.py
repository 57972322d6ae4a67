"""Labels of a shard's records: those of the slices and those of their exams, NaN where unknown.

A manifest counts labels and does not tell where they are. A run whose slices may be unlabelled, or
that learns from exams, reads its shards once before it begins.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.example import parse
from ich_tf.records.known_labels import KNOWN_FIELDS, known_labels_graph
from ich_tf.records.manifest import Shard, repair_advice
from ich_tf.records.record_streams import unreadable
from ich_tf.records.schema import EXAM_SCHEMA_VERSION

_FIELDS = (*KNOWN_FIELDS, "exam_labels", "schema_version", "series_key")
_BATCH = 256


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
    dataset = tf.data.TFRecordDataset(str(shard.path)).batch(_BATCH)

    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        fields = parse(serialized, _FIELDS)
        has_exam = fields["schema_version"] >= EXAM_SCHEMA_VERSION
        return known_labels_graph(fields), fields["series_key"], fields["exam_labels"], has_exam

    try:
        parts = list(dataset.map(read).as_numpy_iterator())
    except tf.errors.OpError as error:
        raise unreadable(error) from error
    number = sum(len(part[0]) for part in parts)
    if number != shard.num_records:
        raise DataError(
            f"{shard.path}: holds {number} records; the manifest lists {shard.num_records}. "
            f"{repair_advice(shard.path.parent)}"
        )
    if not parts:
        empty, none = np.zeros((0, len(CLASSES)), np.float32), np.zeros(0, np.int64)
        return ShardLabels(empty, none, none, empty)
    labels, keys, exams, has_exam = map(np.concatenate, zip(*parts, strict=True))
    is_first = np.concatenate([[True], keys[1:] != keys[:-1]])
    first = np.flatnonzero(is_first)
    # The labels of an exam stand in all of its records. Those of an older version have none.
    exams = exams[first].copy()
    for exam in np.flatnonzero(~has_exam[first]):
        end = first[exam + 1] if exam + 1 < len(first) else number
        exams[exam] = exam_of_slices(labels[first[exam] : end])
    return ShardLabels(labels, first, np.diff(first, append=number), exams)
