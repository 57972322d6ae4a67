"""Training batches of slabs: runs of consecutive slices, for end-to-end training."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ich_tf.records.input_pipeline import Augment
from ich_tf.records.manifest import Shard
from ich_tf.records.neighbours import decode_stack, slab_of
from ich_tf.records.record_streams import (
    SHUFFLE_BUFFER,
    THREADS,
    batched_options,
    epoch_order,
    parse_window,
    read_shards,
    shuffled,
)


def epoch_slabs(shards: Sequence[Shard], slices: int) -> int:
    """Smallest number of slabs that an epoch reads, wherever its first cut is.

    Args:
      shards: Shards to read.
      slices: Number of slices per slab.
    """
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
    """Reads one epoch of slabs, in random order.

    An epoch cuts the shards into slabs, each epoch from another record on. A slab that a cut lays
    across two series belongs to the series of its middle: slices near the ends of a series are read
    up to half as often as others.

    Args:
      shards: Shards to read.
      image_shape: Rows, columns and channels (H, W, C) of every stored image.
      batch_size: Number of slabs per batch of this worker; an incomplete last batch is dropped.
      slices: Number of slices per slab (k), odd.
      seed: Seed of the run.
      epoch: Number of the epoch, from 0.
      encoding: Image format of the records.
      augment: Augmentation as of `train_batches`; it changes all slices of a slab alike, and no
        labels.
      reverse: Whether half of the slabs are reversed.
      first_step: Number of batches to skip at the epoch's start.
      worker: Number of the worker, from 0; each worker has shards of its own.

    Returns:
      A dataset of ((images, places), labels): images uint8, for hu16 uint16,
      [batch_size, k, H, W, C]; places float32 [batch_size, k, 2], the position along the normal in
      mm and 1 for a slice or 0 for padding, which comes last; labels float32 [batch_size, k, 6].
    """
    order, shards, shuffle_seed = epoch_order(shards, seed, epoch, worker)
    phase = int(order.integers(slices))
    dataset = read_shards(shards, slices, every=slices, phase=phase)
    count = sum(len(range(phase, shard.num_records, slices)) for shard in shards)
    buffer = max(1, SHUFFLE_BUFFER // slices)
    dataset = shuffled(dataset, count, buffer, shuffle_seed).skip(first_step * batch_size)
    height, width, channels = image_shape

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return _decode_slab(serialized, encoding, image_shape)

    def finish(
        step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        images, places, labels = batch
        step_seed = tf.stack([tf.cast(shuffle_seed, tf.int64), step])
        if augment is not None:
            # Slices are channels here, as neighbours are: one change for all slices of a slab.
            images, _ = augment(images, labels[:, 0], step_seed)
        images = tf.reshape(images, [batch_size, height, width, slices, channels])
        images = tf.transpose(images, [0, 3, 1, 2, 4])
        if reverse:
            turned = tf.random.stateless_uniform([batch_size], step_seed + 1) < 0.5
            images, places, labels = _reversed(images, places, labels, turned)
        return (images, places), labels

    dataset = dataset.map(decode, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True).enumerate(start=first_step)
    dataset = dataset.map(finish, num_parallel_calls=THREADS, deterministic=True)
    return dataset.prefetch(2).with_options(batched_options())


def _decode_slab(
    serialized: tf.Tensor, encoding: str, image_shape: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A window of k records -> image [H, W, k * C], places [k, 2] and labels [k, 6]."""
    encoded, keys, fields = parse_window(serialized, ["labels", "z_mm"])
    chosen, is_slice = slab_of(keys)
    image = decode_stack(tf.gather(encoded, chosen), encoding, image_shape)
    z_mm = tf.gather(fields["z_mm"], chosen)
    places = tf.stack([z_mm - z_mm[0], tf.ones_like(z_mm)], axis=-1)
    mask = tf.cast(is_slice, tf.float32)[:, None]
    labels = tf.cast(tf.gather(fields["labels"], chosen), tf.float32)
    return image, places * mask, labels * mask


def _reversed(
    images: tf.Tensor, places: tf.Tensor, labels: tf.Tensor, turned: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Reverses the slabs where `turned`, bool [n], is true; positions still rise."""
    number = tf.cast(tf.reduce_sum(places[..., 1], axis=1), tf.int32)
    lengths = tf.where(turned, number, 0)
    images, labels = (tf.reverse_sequence(x, lengths, seq_axis=1) for x in (images, labels))
    z_mm, mask = places[..., 0], places[..., 1]
    back = tf.reverse_sequence(tf.reduce_max(z_mm, axis=1, keepdims=True) - z_mm, lengths, 1)
    z_mm = tf.where(turned[:, None], back * mask, z_mm)
    return images, tf.stack([z_mm, mask], axis=-1), labels
