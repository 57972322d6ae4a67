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

from ich_tf.labels import ANY
from ich_tf.neighbours import decode_window, with_neighbours
from ich_tf.records import decode_image, parse
from ich_tf.shards import DataError, Shard, label_counts, num_records

_CYCLE_LENGTH = 8
_BLOCK_LENGTH = 16
# Serialized records, some 45 KiB each: they are shuffled before they are decoded.
_SHUFFLE_BUFFER = 4096
_THREADS = os.cpu_count() or 1
_EVAL_FIELDS = (
    "labels",
    "label_present",
    "source_id",
    "patient_key",
    "series_key",
    "slice_index",
    "z_mm",
    "spacing_mm",
    "gantry_tilt_deg",
    "scanner",
)

Augment = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def epoch_records(shards: Sequence[Shard], negative_fraction: float = 1.0) -> int:
    """Records that an epoch reads of some shards."""
    positives = int(label_counts(shards)[ANY])
    return positives + _negatives_read(num_records(shards) - positives, negative_fraction)


def train_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    encoding: str = "png",
    neighbours: int = 1,
    negative_fraction: float = 1.0,
    augment: Augment | None = None,
    first_step: int = 0,
    worker: int = 0,
) -> tf.data.Dataset:
    """One epoch of training batches; their order depends on seed, epoch and worker alone.

    Args:
      shards: What to read.
      image_shape: H, W, C of every stored image.
      batch_size: Of this worker. The last batch is dropped if it is not full: replicas need equal
        parts for the mean loss to be exact.
      seed: Of the run.
      epoch: Counted from 0.
      encoding: The records' image format.
      neighbours: Slices as channels: each image with those beside it in its series.
      negative_fraction: Of the records without a bleed, so many are read, drawn anew each epoch.
      augment: (uint8 [n, H, W, C], float32 [n, 6], int64 [2] seed) -> the same two, or None.
      first_step: Where to begin within the epoch: batches before it are skipped undecoded.
      worker: Of several, each with shards of its own, from 0.

    Returns:
      A dataset of (uint8, for hu16 uint16, [batch_size, H, W, neighbours * C], float32
      [batch_size, 6]).

    Raises:
      DataError: If the shards hold less than one batch.
    """
    count = epoch_records(shards, negative_fraction)
    steps = count // batch_size
    if not steps:
        raise DataError(
            f"the training split holds {count} records, less than one batch of {batch_size}. "
            "Lower --batch_size or convert more data."
        )
    order = np.random.default_rng([seed, epoch, worker])
    shards = [shard for shard in shards if shard.num_records]
    order.shuffle(shards)  # type: ignore[arg-type]
    shuffle_seed = int(order.integers(2**31))

    dataset = _records(shards, neighbours)
    if negative_fraction < 1:
        negatives = num_records(shards) - int(label_counts(shards)[ANY])
        kept = np.zeros(negatives, bool)
        kept[: _negatives_read(negatives, negative_fraction)] = True
        dataset = _undersample(dataset, order.permutation(kept))
    # A file cut on a record's boundary reads without an error: count.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    dataset = dataset.shuffle(_SHUFFLE_BUFFER, seed=shuffle_seed, reshuffle_each_iteration=False)
    dataset = dataset.skip(first_step * batch_size)

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        fields = _parse(serialized, encoding, image_shape, ["labels"])
        return fields["image"], tf.cast(fields["labels"], tf.float32)

    dataset = dataset.map(decode, num_parallel_calls=_THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    if augment is not None:

        def augment_step(
            step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
        ) -> tuple[tf.Tensor, tf.Tensor]:
            return augment(*batch, tf.stack([tf.cast(shuffle_seed, tf.int64), step]))

        dataset = dataset.enumerate(start=first_step)
        dataset = dataset.map(augment_step, num_parallel_calls=_THREADS, deterministic=True)
    return dataset.prefetch(2).with_options(_options())


def eval_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    encoding: str = "png",
    neighbours: int = 1,
) -> tf.data.Dataset:
    """Every record once, in the shards' order; the last batch is padded.

    Args:
      shards: What to read.
      image_shape: H, W, C of every stored image.
      batch_size: Of every batch, the last included.
      encoding: The records' image format.
      neighbours: Slices as channels: each image with those beside it in its series.

    Returns:
      A dataset of dicts: `image` uint8, for hu16 uint16, [n, H, W, neighbours * C], `labels`
      float32 [n, 6], `mask` bool [n] (False for padding), `label_present` bool [n]; `source_id`,
      `patient_key`, `series_key`, `scanner` string [n]; `slice_index` int64 [n]; `z_mm`,
      `gantry_tilt_deg` float32 [n], `spacing_mm` float32 [n, 2].
    """
    dataset = _records([shard for shard in shards if shard.num_records], neighbours)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_records(shards)))

    def decode(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        fields = _parse(serialized, encoding, image_shape, _EVAL_FIELDS)
        fields["labels"] = tf.cast(fields["labels"], tf.float32)
        fields["label_present"] = fields["label_present"] > 0
        return {**fields, "mask": tf.constant(True)}

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


def _records(shards: Sequence[Shard], neighbours: int) -> tf.data.Dataset:
    """The serialized records of some shards, in an order that only the shards determine.

    Returns:
      string [], or with neighbours string [neighbours], the record itself in the middle.
    """

    def read(path: tf.Tensor) -> tf.data.Dataset:
        records = tf.data.TFRecordDataset(path)
        return records if neighbours == 1 else with_neighbours(records, neighbours)

    dataset = tf.data.Dataset.from_tensor_slices([str(shard.path) for shard in shards])
    return dataset.interleave(
        read,
        cycle_length=_CYCLE_LENGTH,
        block_length=_BLOCK_LENGTH,
        num_parallel_calls=min(_THREADS, _CYCLE_LENGTH),
        deterministic=True,
    )


def _parse(
    serialized: tf.Tensor, encoding: str, image_shape: tuple[int, int, int], fields: Sequence[str]
) -> dict[str, tf.Tensor]:
    """`image`, and the fields of the record itself.

    Args:
      serialized: As `_records` gives it.
      encoding: The records' image format.
      image_shape: H, W, C of a stored image.
      fields: By `SliceRecord`'s names.
    """
    if not serialized.shape.rank:
        parsed = parse(serialized, ["encoded", *fields])
        image = decode_image(parsed.pop("encoded"), encoding, image_shape)
        return {"image": image, **parsed}
    middle = serialized.shape[0] // 2
    window = tf.where(serialized == "", serialized[middle], serialized)
    beside = parse(window, ["encoded", "series_key"])
    # Beyond the shard's ends: of no series.
    keys = tf.where(serialized == "", "", beside["series_key"])
    image = decode_window(beside["encoded"], keys, encoding, image_shape)
    return {"image": image, **parse(serialized[middle], fields)}


def _negatives_read(negatives: int, fraction: float) -> int:
    return round(negatives * fraction)


def _undersample(records: tf.data.Dataset, kept: np.ndarray) -> tf.data.Dataset:
    """Keeps each record with a bleed, and the i-th without where `kept[i]`, bool [negatives]."""
    keep = tf.constant(kept)

    def choose(seen: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        own = record if not record.shape.rank else record[record.shape[0] // 2]
        negative = parse(own, ["labels"])["labels"][ANY] == 0
        # Of another set of labels than the manifest's, the count of records would tell.
        known = tf.minimum(seen, len(kept) - 1)
        chosen = keep[known] if len(kept) else tf.constant(True)
        return seen + tf.cast(negative, tf.int64), (~negative | chosen, record)

    chosen = records.scan(tf.constant(0, tf.int64), choose)
    return chosen.filter(lambda keep, _: keep).map(lambda _, record: record)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    # One thread a core for decoding is all that there is to tune.
    options.autotune.enabled = False
    return options
