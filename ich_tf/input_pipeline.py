"""Shards -> batches. One function a purpose: training shuffles, evaluation keeps the order.

Parallel reads have fixed cycle and block lengths: without them the order of records differs
between machines with other numbers of cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.records import decode_image, parse
from ich_tf.shards import DataError, Shard, num_records

_CYCLE_LENGTH = 8
_BLOCK_LENGTH = 16
# Serialized records, some 45 KiB each: they are shuffled before they are decoded.
_SHUFFLE_BUFFER = 4096
_THREADS = os.cpu_count() or 1

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def train_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    encoding: str = "png",
    augment: Augment | None = None,
) -> tf.data.Dataset:
    """One epoch of training batches; their order depends on seed and epoch alone.

    Args:
      shards: What to read.
      image_shape: Rows, columns, channels of every stored image.
      batch_size: Global. The last batch is dropped if it is not full: replicas need equal
        parts for the mean loss to be exact.
      seed: Of the run.
      epoch: Counted from 0.
      encoding: The records' image format.
      augment: (uint8 [n, H, W, C], int64 [2] seed) -> uint8 [n, H, W, C], or None.

    Returns:
      A dataset of (uint8 [batch_size, H, W, C], float32 [batch_size, 6]).

    Raises:
      DataError: If the shards hold less than one batch.
    """
    count = num_records(shards)
    steps = count // batch_size
    if not steps:
        raise DataError(
            f"the training split holds {count} records, less than one batch of {batch_size}. "
            "Lower --batch_size or convert more data."
        )
    order = np.random.default_rng([seed, epoch])
    paths = [str(shard.path) for shard in shards if shard.num_records]
    order.shuffle(paths)
    shuffle_seed = int(order.integers(2**31))

    dataset = _records(paths, count)
    dataset = dataset.shuffle(_SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=False)

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        fields = parse(serialized)
        image = decode_image(fields["encoded"], encoding, image_shape)
        return image, tf.cast(fields["labels"], tf.float32)

    dataset = dataset.map(decode, num_parallel_calls=_THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    if augment is not None:

        def augment_step(
            step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
        ) -> tuple[tf.Tensor, tf.Tensor]:
            images, labels = batch
            return augment(images, tf.stack([tf.cast(shuffle_seed, tf.int64), step])), labels

        dataset = dataset.enumerate()
        dataset = dataset.map(augment_step, num_parallel_calls=_THREADS, deterministic=True)
    return dataset.prefetch(2).with_options(_options())


def eval_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    encoding: str = "png",
) -> tf.data.Dataset:
    """Every record once, in the shards' order; the last batch is padded.

    Args:
      shards: What to read.
      image_shape: Rows, columns, channels of every stored image.
      batch_size: Of every batch, the last included.
      encoding: The records' image format.

    Returns:
      A dataset of dicts: `image` uint8 [n, H, W, C], `labels` float32 [n, 6], `mask` bool [n]
      (False for padding), `label_present` bool [n]; `source_id`, `patient_key`, `series_key`
      string [n]; `slice_index` int64 [n].
    """
    count = num_records(shards)
    dataset = _records([str(shard.path) for shard in shards if shard.num_records], count)

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        fields = parse(serialized)
        return {
            "image": decode_image(fields["encoded"], encoding, image_shape),
            "labels": tf.cast(fields["labels"], tf.float32),
            "mask": tf.constant(True),
            "label_present": fields["label_present"] > 0,
            "source_id": fields["source_id"],
            "patient_key": fields["patient_key"],
            "series_key": fields["series_key"],
            "slice_index": fields["slice_index"],
        }

    def pad(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        missing = batch_size - tf.shape(batch["mask"])[0]
        padded = {}
        for name, value in batch.items():
            widths = tf.concat([[[0, missing]], tf.zeros([value.shape.rank - 1, 2], tf.int32)], 0)
            empty = {tf.bool: False, tf.string: ""}.get(value.dtype, 0)
            padded[name] = tf.ensure_shape(
                tf.pad(value, widths, constant_values=tf.constant(empty, value.dtype)),
                [batch_size, *value.shape[1:]],
            )
        return padded

    dataset = dataset.map(decode, num_parallel_calls=_THREADS, deterministic=True)
    dataset = dataset.batch(batch_size).map(pad)
    return dataset.prefetch(2).with_options(_options())


def read_batches(batches: Iterable[Any]) -> Iterator[Any]:
    """Iterates over batches; a damaged, cut or missing shard becomes a `DataError`.

    Args:
      batches: A dataset of this module.

    Raises:
      DataError: If a record cannot be read, or there are fewer than the manifest says.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
        raise DataError(
            f"a record cannot be read ({error.message}). Run python -m tools.verify_tfrecords "
            "--full --repair on the data dir."
        ) from error


def _records(paths: Sequence[str], count: int) -> tf.data.Dataset:
    """The serialized records of some files, in an order that only the paths determine."""
    dataset = tf.data.Dataset.from_tensor_slices(list(paths))
    dataset = dataset.interleave(
        tf.data.TFRecordDataset,
        cycle_length=_CYCLE_LENGTH,
        block_length=_BLOCK_LENGTH,
        num_parallel_calls=min(_THREADS, _CYCLE_LENGTH),
        deterministic=True,
    )
    # A file cut on a record's boundary reads without an error: count.
    return dataset.apply(tf.data.experimental.assert_cardinality(count))


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # One thread a core for decoding is all that there is to tune.
    options.autotune.enabled = False
    return options
