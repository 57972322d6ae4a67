"""Streams of serialized records: shards are read in an order that no machine changes.

Parallel reads have fixed cycle and block lengths: without them the order of records would differ
between machines with other numbers of cores.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ich_tf.records.example import parse
from ich_tf.records.manifest import Shard
from ich_tf.records.neighbours import with_neighbours

THREADS = os.cpu_count() or 1
# Serialized records, some 45 KiB each: they are shuffled before they are decoded.
SHUFFLE_BUFFER = 4096
_CYCLE_LENGTH = 8
_BLOCK_LENGTH = 16


def epoch_order(
    shards: Sequence[Shard], seed: int, epoch: int, worker: int
) -> tuple[np.random.Generator, list[Shard], int]:
    """Draws the order of an epoch.

    Args:
      shards: Shards to read.
      seed: Seed of the run.
      epoch: Number of the epoch, from 0.
      worker: Number of the worker, from 0.

    Returns:
      Generator of the epoch's other random choices, the shards with records in the epoch's order,
      and the seed for shuffling the records.
    """
    order = np.random.default_rng([seed, epoch, worker])
    filled = [shard for shard in shards if shard.num_records]
    order.shuffle(filled)  # type: ignore[arg-type]
    return order, filled, int(order.integers(2**31))


def read_shards(
    shards: Sequence[Shard], neighbours: int, *, every: int = 1, phase: int = 0
) -> tf.data.Dataset:
    """Reads serialized records in an order that only the shards determine.

    Args:
      shards: Shards to read.
      neighbours: Number of records per window, odd; 1 for records without windows.
      every: Distance between the windows of a shard, in records.
      phase: Number of the first window of a shard, from 0.

    Returns:
      A dataset of string [], or with neighbours of string [neighbours] with the record itself in
      the middle.
    """

    def read(path: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(path)
        windows = records if neighbours == 1 else with_neighbours(records, neighbours)
        return windows if every == 1 else windows.shard(every, phase)

    dataset = tf.data.Dataset.from_tensor_slices([str(shard.path) for shard in shards])
    return dataset.interleave(
        read,
        cycle_length=_CYCLE_LENGTH,
        block_length=_BLOCK_LENGTH,
        num_parallel_calls=min(THREADS, _CYCLE_LENGTH),
        deterministic=True,
    )


def shuffled(dataset: tf.data.Dataset, count: int, buffer: int, seed: int) -> tf.data.Dataset:
    """Shuffles a stream, and checks the number of its elements.

    Args:
      dataset: Stream of records or windows.
      count: Number of elements that the stream must have.
      buffer: Number of elements to shuffle among.
      seed: Seed of the order.
    """
    # A file cut on a record's boundary reads without an error: the count reveals it.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)


def parse_window(
    serialized: tf.Tensor, fields: Sequence[str]
) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
    """Parses a window of records.

    Args:
      serialized: string [count], empty beyond the shard's ends.
      fields: Names of further fields of `SliceRecord`.

    Returns:
      Encoded images, string [count]; series keys, string [count], empty beyond the shard's ends;
      and the fields by name, [count, ...].
    """
    middle = serialized[serialized.shape[0] // 2]
    window = tf.where(serialized == "", middle, serialized)
    parsed = parse(window, ["encoded", "series_key", *fields])
    # Beyond the shard's ends there is no series.
    keys = tf.where(serialized == "", "", parsed.pop("series_key"))
    return parsed.pop("encoded"), keys, parsed


def batched_options() -> tf.data.Options:
    """Options of every dataset of batches: a fixed order, and no tuning."""
    options = tf.data.Options()
    options.deterministic = True
    # One thread per core for decoding is all that could be tuned.
    options.autotune.enabled = False
    return options
