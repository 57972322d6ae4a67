"""Streams of serialized records: in the shards' order, and in chunks, in an order that is drawn.

Parallel reads have fixed cycle and block lengths: without them the order of records would differ
between machines with other numbers of cores.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.records.data_files import index_path
from ich_tf.records.example import parse
from ich_tf.records.manifest import Shard, repair_advice
from ich_tf.records.neighbours import with_neighbours
from ich_tf.records.shard_index import read_index

THREADS = os.cpu_count() or 1
_CYCLE_LENGTH = 8
_BLOCK_LENGTH = 16


def epoch_generator(
    shards: Sequence[Shard], seed: int, epoch: int, worker: int
) -> tuple[np.random.Generator, list[Shard]]:
    """Makes the generator of an epoch's order.

    Args:
      shards: Shards to read.
      seed: Seed of the run.
      epoch: Number of the epoch, from 0.
      worker: Number of the worker, from 0.

    Returns:
      The generator, and the shards that hold records.
    """
    filled = [shard for shard in shards if shard.num_records]
    return np.random.default_rng([seed, epoch, worker]), filled


def read_shards(shards: Sequence[Shard], neighbours: int) -> tf.data.Dataset:
    """Reads serialized records in an order that only the shards determine.

    Args:
      shards: Shards to read.
      neighbours: Number of records per window, odd; 1 for records without windows.

    Returns:
      A dataset of string [], or with neighbours of string [neighbours] with the record itself in
      the middle.
    """

    def read(path: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(path)
        return records if neighbours == 1 else with_neighbours(records, neighbours)

    dataset = tf.data.Dataset.from_tensor_slices([str(shard.path) for shard in shards])
    return dataset.interleave(
        read,
        cycle_length=_CYCLE_LENGTH,
        block_length=_BLOCK_LENGTH,
        num_parallel_calls=min(THREADS, _CYCLE_LENGTH),
        deterministic=True,
    )


def read_chunks(shards: Sequence[Shard], chunks: np.ndarray) -> tf.data.Dataset:
    """Reads runs of consecutive records, each from its place in its shard.

    Args:
      shards: Shards to read from.
      chunks: Number of the shard, first record and number of records of each chunk, int64 [c, 3].

    Returns:
      A dataset of serialized records, string [number of records], in the order of the chunks.

    Raises:
      DataError: If the index of a shard is missing or damaged.
    """
    ends = [_record_ends(shard) for shard in shards]
    shard, first, count = chunks.T
    offsets = np.array([ends[s][i] for s, i in zip(shard, first, strict=True)], np.int64)
    stops = [ends[s][i] for s, i in zip(shard, first + count, strict=True)]
    sizes = np.array(stops, np.int64) - offsets
    paths = np.array([str(shard.path) for shard in shards], object)[shard].astype(str)

    def read(path: tf.Tensor, offset: tf.Tensor, size: tf.Tensor, count: tf.Tensor) -> Any:
        # What TFRecordDataset is made of, which lets nobody say where to begin.
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=size, byte_offsets=[offset]
        )
        spec = tf.TensorSpec([], tf.string)
        return tf.data.experimental.from_variant(records, spec).take(count).batch(count)

    dataset = tf.data.Dataset.from_tensor_slices((paths, offsets, sizes, count))
    dataset = dataset.interleave(
        read,
        cycle_length=_CYCLE_LENGTH,
        num_parallel_calls=min(THREADS, _CYCLE_LENGTH),
        deterministic=True,
    )
    # A file that is cut on a record's boundary reads without an error: the counts reveal it.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(chunks)))
    return tf.data.Dataset.zip((dataset, tf.data.Dataset.from_tensor_slices(count))).map(_whole)


def _whole(records: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    message = "a shard holds fewer records than its index lists"
    with tf.control_dependencies(
        [tf.debugging.assert_equal(tf.size(records, tf.int64), count, message)]
    ):
        return tf.identity(records)


@functools.lru_cache(4096)
def _record_ends(shard: Shard) -> np.ndarray:
    """Offset of each record of a shard, and of its end, bytes, int64 [number of records + 1]."""
    index = read_index(shard.path)
    if len(index) != shard.num_records:
        raise DataError(
            f"{index_path(shard.path)}: lists {len(index)} records; the manifest lists "
            f"{shard.num_records}. {repair_advice(shard.path.parent)}"
        )
    return np.array([*(offset for offset, _ in index), sum(index[-1])], np.int64)


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
