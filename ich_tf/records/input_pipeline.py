"""Shards become batches of slices: training shuffles, evaluation keeps the order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.labels import ANY
from ich_tf.records.example import parse
from ich_tf.records.images import decode_image
from ich_tf.records.manifest import Shard, label_counts, num_records
from ich_tf.records.neighbours import decode_window
from ich_tf.records.record_streams import (
    SHUFFLE_BUFFER,
    THREADS,
    batched_options,
    epoch_order,
    parse_window,
    read_shards,
    shuffled,
)

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
    """Number of records that an epoch reads.

    Args:
      shards: Shards to read.
      negative_fraction: Share of the records without a hemorrhage that is read, in [0, 1].
    """
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
    """Reads one epoch of training batches; the order depends on seed, epoch and worker alone.

    Args:
      shards: Shards to read.
      image_shape: Rows, columns and channels (H, W, C) of every stored image.
      batch_size: Number of slices per batch of this worker. An incomplete last batch is dropped:
        replicas need equal parts for the mean loss to be exact.
      seed: Seed of the run.
      epoch: Number of the epoch, from 0.
      encoding: Image format of the records.
      neighbours: Number of slices per image, odd: each slice with its neighbours as channels.
      negative_fraction: Share of the records without a hemorrhage to read, in [0, 1], drawn anew
        in each epoch.
      augment: Function of images (uint8 [n, H, W, C]), labels (float32 [n, 6]) and a seed
        (int64 [2]) that returns images and labels; None for no augmentation.
      first_step: Number of batches to skip, undecoded, at the epoch's start.
      worker: Number of the worker, from 0; each worker has shards of its own.

    Returns:
      A dataset of (images, labels): uint8, for hu16 uint16, [batch_size, H, W, neighbours * C];
      float32 [batch_size, 6].

    Raises:
      DataError: If the shards hold less than one batch.

    Examples:
      manifest = Manifest.load("data/tfrecords")
      batches = train_batches(
          manifest.train_shards(0), manifest.image_shape, batch_size=32, seed=0, epoch=0
      )
    """
    count = epoch_records(shards, negative_fraction)
    if count < batch_size:
        raise DataError(
            f"the training split holds {count} records, less than one batch of {batch_size}. "
            "Lower --batch_size or convert more data."
        )
    order, shards, shuffle_seed = epoch_order(shards, seed, epoch, worker)
    dataset = read_shards(shards, neighbours)
    if negative_fraction < 1:
        negatives = num_records(shards) - int(label_counts(shards)[ANY])
        kept = np.zeros(negatives, bool)
        kept[: _negatives_read(negatives, negative_fraction)] = True
        dataset = _undersample(dataset, order.permutation(kept))
    dataset = shuffled(dataset, count, SHUFFLE_BUFFER, shuffle_seed).skip(first_step * batch_size)

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        fields = _parse(serialized, encoding, image_shape, ["labels"])
        return fields["image"], tf.cast(fields["labels"], tf.float32)

    dataset = dataset.map(decode, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    if augment is not None:
        dataset = _augmented(dataset, augment, shuffle_seed, first_step)
    return dataset.prefetch(2).with_options(batched_options())


def eval_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    encoding: str = "png",
    neighbours: int = 1,
) -> tf.data.Dataset:
    """Reads every record once, in the shards' order; the last batch is padded.

    Args:
      shards: Shards to read.
      image_shape: Rows, columns and channels (H, W, C) of every stored image.
      batch_size: Number of slices per batch (n), the padded last batch included.
      encoding: Image format of the records.
      neighbours: Number of slices per image, odd: each slice with its neighbours as channels.

    Returns:
      A dataset of dicts: `image` uint8, for hu16 uint16, [n, H, W, neighbours * C]; `labels`
      float32 [n, 6]; `mask` bool [n], False for padding; `label_present` bool [n]; `source_id`,
      `patient_key`, `series_key`, `scanner` string [n]; `slice_index` int64 [n]; `z_mm`,
      `gantry_tilt_deg` float32 [n]; `spacing_mm` float32 [n, 2].
    """
    dataset = read_shards([shard for shard in shards if shard.num_records], neighbours)
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

    dataset = dataset.map(decode, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size).map(pad)
    return dataset.prefetch(2).with_options(batched_options())


def read_batches(batches: Iterable[Any]) -> Iterator[Any]:
    """Iterates over batches; a damaged, cut or missing shard raises a `DataError`.

    Args:
      batches: Dataset of `train_batches`, `eval_batches` or `slab_batches`.

    Raises:
      DataError: If a record cannot be read, or there are fewer than the manifest lists.
    """
    try:
        yield from batches
    except tf.errors.OpError as error:
        raise DataError(
            f"a record cannot be read ({error.message}). Run python -m ich_tf.verify_tfrecords "
            "--full --repair on the data dir."
        ) from error


def _augmented(
    batches: tf.data.Dataset, augment: Augment, seed: int, first_step: int
) -> tf.data.Dataset:
    """Augments each batch under a seed of its own, numbered from `first_step` on."""

    def augment_step(
        step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return augment(*batch, tf.stack([tf.cast(seed, tf.int64), step]))

    batches = batches.enumerate(start=first_step)
    return batches.map(augment_step, num_parallel_calls=THREADS, deterministic=True)


def _parse(
    serialized: tf.Tensor, encoding: str, image_shape: tuple[int, int, int], fields: Sequence[str]
) -> dict[str, tf.Tensor]:
    """Parses a record or a window.

    Args:
      serialized: Element of `read_shards`, string [] or [neighbours].
      encoding: Image format of the records.
      image_shape: Rows, columns and channels of every stored image.
      fields: Names of fields of `SliceRecord`.

    Returns:
      `image`, with its neighbours as channels, and the fields of the record itself.
    """
    if not serialized.shape.rank:
        parsed = parse(serialized, ["encoded", *fields])
        image = decode_image(parsed.pop("encoded"), encoding, image_shape)
        return {"image": image, **parsed}
    encoded, keys, _ = parse_window(serialized, [])
    image = decode_window(encoded, keys, encoding, image_shape)
    return {"image": image, **parse(_record_itself(serialized), fields)}


def _record_itself(serialized: tf.Tensor) -> tf.Tensor:
    """The record, or the middle of a window of records."""
    return serialized if not serialized.shape.rank else serialized[serialized.shape[0] // 2]


def _negatives_read(negatives: int, fraction: float) -> int:
    return round(negatives * fraction)


def _undersample(records: tf.data.Dataset, kept: np.ndarray) -> tf.data.Dataset:
    """Keeps all records with a hemorrhage, and the i-th of the others if `kept[i]`.

    Args:
      records: Elements of `read_shards`.
      kept: bool [number of records without a hemorrhage].
    """
    keep = tf.constant(kept)

    def choose(seen: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
        negative = parse(_record_itself(record), ["labels"])["labels"][ANY] == 0
        # If the records had other labels than the manifest, the number of records would differ.
        known = tf.minimum(seen, len(kept) - 1)
        chosen = keep[known] if len(kept) else tf.constant(True)
        return seen + tf.cast(negative, tf.int64), (~negative | chosen, record)

    chosen = records.scan(tf.constant(0, tf.int64), choose)
    return chosen.filter(lambda keep, _: keep).map(lambda _, record: record)
