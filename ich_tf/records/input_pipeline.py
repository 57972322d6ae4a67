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

from ich_tf.errors import DataError
from ich_tf.labels import ANY
from ich_tf.records.example import parse
from ich_tf.records.images import decode_image
from ich_tf.records.manifest import Shard, label_counts, num_records
from ich_tf.records.neighbours import decode_stack, decode_window, slab_of, with_neighbours

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
    order, shards, shuffle_seed = _epoch_order(shards, seed, epoch, worker)
    dataset = _records(shards, neighbours)
    if negative_fraction < 1:
        negatives = num_records(shards) - int(label_counts(shards)[ANY])
        kept = np.zeros(negatives, bool)
        kept[: _negatives_read(negatives, negative_fraction)] = True
        dataset = _undersample(dataset, order.permutation(kept))
    dataset = _shuffled(dataset, count, _SHUFFLE_BUFFER, shuffle_seed).skip(first_step * batch_size)

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


def epoch_slabs(shards: Sequence[Shard], slices: int) -> int:
    """Slabs that an epoch reads of some shards at least, wherever it begins."""
    return sum(shard.num_records // slices for shard in shards)


def slab_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    slices: int,
    seed: int,
    epoch: int,
    encoding: str = "png",
    augment: Augment | None = None,
    reverse: bool = False,
    first_step: int = 0,
    worker: int = 0,
) -> tf.data.Dataset:
    """One epoch of slabs: consecutive slices of a series, in random order of the slabs.

    An epoch cuts the shards into slabs, from another record on each time. Where a cut spans two
    series, its slab is of the one that holds its middle: slices near the ends come up to half as
    often as others.

    Args:
      shards: What to read.
      image_shape: H, W, C of every stored image.
      batch_size: Slabs, of this worker; the last batch is dropped if it is not full.
      slices: k, of a slab; odd.
      seed: Of the run.
      epoch: Counted from 0.
      encoding: The records' image format.
      augment: As of `train_batches`; it changes all slices of a slab alike, and no labels.
      reverse: Whether half of the slabs come from their other end.
      first_step: Where to begin within the epoch.
      worker: Of several, each with shards of its own, from 0.

    Returns:
      A dataset of ((images, places), labels): uint8, for hu16 uint16, [batch_size, k, H, W, C];
      float32 [batch_size, k, 2], the place along the normal in mm, and 1 for a slice or 0 for
      none, which come last; float32 [batch_size, k, 6].
    """
    order, shards, shuffle_seed = _epoch_order(shards, seed, epoch, worker)
    phase = int(order.integers(slices))
    dataset = _records(shards, slices, every=slices, phase=phase)
    count = sum(len(range(phase, shard.num_records, slices)) for shard in shards)
    buffer = max(1, _SHUFFLE_BUFFER // slices)
    dataset = _shuffled(dataset, count, buffer, shuffle_seed).skip(first_step * batch_size)
    height, width, channels = image_shape

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        window, keys, fields = _parse_window(serialized, ["labels", "z_mm"])
        chosen, there = slab_of(keys)
        image = decode_stack(tf.gather(window, chosen), encoding, image_shape)
        z_mm = tf.gather(fields["z_mm"], chosen)
        places = tf.stack([z_mm - z_mm[0], tf.ones_like(z_mm)], axis=-1)
        present = tf.cast(there, tf.float32)[:, None]
        labels = tf.cast(tf.gather(fields["labels"], chosen), tf.float32)
        return image, places * present, labels * present

    def finish(
        step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        images, places, labels = batch
        own_seed = tf.stack([tf.cast(shuffle_seed, tf.int64), step])
        if augment is not None:
            # As channels, as neighbours are: one change for all slices of a slab.
            images, _ = augment(images, labels[:, 0], own_seed)
        images = tf.reshape(images, [batch_size, height, width, slices, channels])
        images = tf.transpose(images, [0, 3, 1, 2, 4])
        if reverse:
            turned = tf.random.stateless_uniform([batch_size], own_seed + 1) < 0.5
            images, places, labels = _turned(images, places, labels, turned)
        return (images, places), labels

    dataset = dataset.map(decode, num_parallel_calls=_THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True).enumerate(start=first_step)
    dataset = dataset.map(finish, num_parallel_calls=_THREADS, deterministic=True)
    return dataset.prefetch(2).with_options(_options())


def _turned(
    images: tf.Tensor, places: tf.Tensor, labels: tf.Tensor, turned: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Slabs, those of `turned`, bool [n], from their other end; places still rise."""
    number = tf.cast(tf.reduce_sum(places[..., 1], axis=1), tf.int32)
    lengths = tf.where(turned, number, 0)
    images, labels = (tf.reverse_sequence(x, lengths, seq_axis=1) for x in (images, labels))
    z_mm, mask = places[..., 0], places[..., 1]
    back = tf.reverse_sequence(tf.reduce_max(z_mm, axis=1, keepdims=True) - z_mm, lengths, 1)
    z_mm = tf.where(turned[:, None], back * mask, z_mm)
    return images, tf.stack([z_mm, mask], axis=-1), labels


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
            f"a record cannot be read ({error.message}). Run python -m ich_tf.verify_tfrecords "
            "--full --repair on the data dir."
        ) from error


def _epoch_order(
    shards: Sequence[Shard], seed: int, epoch: int, worker: int
) -> tuple[np.random.Generator, list[Shard], int]:
    """What an epoch draws from, its shards in their order, and the seed of its records' order."""
    order = np.random.default_rng([seed, epoch, worker])
    filled = [shard for shard in shards if shard.num_records]
    order.shuffle(filled)  # type: ignore[arg-type]
    return order, filled, int(order.integers(2**31))


def _shuffled(dataset: tf.data.Dataset, count: int, buffer: int, seed: int) -> tf.data.Dataset:
    # A file cut on a record's boundary reads without an error: count.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)


def _records(
    shards: Sequence[Shard], neighbours: int, *, every: int = 1, phase: int = 0
) -> tf.data.Dataset:
    """The serialized records of some shards, in an order that only the shards determine.

    Args:
      shards: What to read.
      neighbours: In a window.
      every: Of each shard's windows, those of this distance.
      phase: The first of them.

    Returns:
      string [], or with neighbours string [neighbours], the record itself in the middle.
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
    encoded, keys, _ = _parse_window(serialized, [])
    image = decode_window(encoded, keys, encoding, image_shape)
    return {"image": image, **parse(serialized[serialized.shape[0] // 2], fields)}


def _parse_window(
    serialized: tf.Tensor, fields: Sequence[str]
) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
    """Of each record of a window its encoded image, its series, and fields."""
    middle = serialized[serialized.shape[0] // 2]
    window = tf.where(serialized == "", middle, serialized)
    parsed = parse(window, ["encoded", "series_key", *fields])
    # Beyond the shard's ends: of no series.
    keys = tf.where(serialized == "", "", parsed.pop("series_key"))
    return parsed.pop("encoded"), keys, parsed


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
