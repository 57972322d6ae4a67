"""Training batches of slabs: runs of consecutive slices, for end-to-end training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ich_tf.records.images import decode_images
from ich_tf.records.manifest import Shard
from ich_tf.records.neighbours import slab_of
from ich_tf.records.record_streams import (
    THREADS,
    batched_options,
    epoch_generator,
    parse_window,
    read_chunks,
)


def epoch_slabs(shards: Sequence[Shard], slices: int) -> int:
    """Smallest number of slabs that an epoch reads, wherever its first cut is.

    Args:
      shards: Shards to read.
      slices: Number of slices per slab.
    """
    return sum(shard.num_records // slices for shard in shards)


def slab_middles(shards: Sequence[Shard], slices: int, *, phase: int) -> np.ndarray:
    """Cuts shards into slabs.

    Args:
      shards: Shards to cut.
      slices: Number of slices per slab.
      phase: Number of the record in the middle of each shard's first slab, from 0.

    Returns:
      Number of the shard and of the record in the middle of each slab, int64 [m, 2].
    """
    return np.array(
        [
            (number, middle)
            for number, shard in enumerate(shards)
            for middle in range(phase, shard.num_records, slices)
        ],
        np.int64,
    ).reshape(-1, 2)


def read_slabs(shards: Sequence[Shard], slices: int, middles: np.ndarray) -> tf.data.Dataset:
    """Reads the records about each middle.

    Args:
      shards: Shards to read.
      slices: Number of slices per slab, odd.
      middles: Result of `slab_middles`, or a part of it in any order.

    Returns:
      A dataset of string [slices], empty beyond the shard's ends.
    """
    shard, middle = middles.T
    sizes = np.array([shard.num_records for shard in shards], np.int64)
    first = np.maximum(middle - slices // 2, 0)
    stop = np.minimum(middle + slices // 2 + 1, sizes[shard])
    chunks = read_chunks(shards, np.stack([shard, first, stop - first], axis=1))
    missing = tf.data.Dataset.from_tensor_slices(first - (middle - slices // 2))

    def pad(serialized: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        behind = slices - before - tf.size(serialized, tf.int64)
        window = tf.concat([tf.fill([before], ""), serialized, tf.fill([behind], "")], axis=0)
        return tf.ensure_shape(window, [slices])

    return tf.data.Dataset.zip((chunks, missing)).map(pad)


def slab_batches(
    shards: Sequence[Shard],
    image_shape: tuple[int, int, int],
    *,
    batch_size: int,
    slices: int,
    seed: int,
    epoch: int,
    encoding: str = "png",
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
      reverse: Whether half of the slabs are reversed.
      first_step: Number of batches to skip, unread, at the epoch's start.
      worker: Number of the worker, from 0; each worker has shards of its own.

    Returns:
      A dataset of ((images, places), labels): images uint8, for hu16 uint16,
      [batch_size, k, H, W, C]; places float32 [batch_size, k, 2], the position along the normal in
      mm and 1 for a slice or 0 for padding, which comes last; labels float32 [batch_size, k, 6].
    """
    rng, shards = epoch_generator(shards, seed, epoch, worker)
    middles = rng.permutation(slab_middles(shards, slices, phase=int(rng.integers(slices))))
    turn_seed = tf.constant(rng.integers(1 << 62), tf.int64)

    def decode(window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return _decode_slab(window, encoding, image_shape)

    def finish(
        step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        images, places, labels = batch
        if reverse:
            seed = tf.stack([turn_seed, step])
            turned = tf.random.stateless_uniform([batch_size], seed) < 0.5
            images, places, labels = turned_slabs(images, places, labels, turned)
        return (images, places), labels

    dataset = read_slabs(shards, slices, middles[first_step * batch_size :])
    dataset = dataset.map(decode, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True).enumerate(start=first_step)
    dataset = dataset.map(finish, num_parallel_calls=THREADS, deterministic=True)
    return dataset.prefetch(2).with_options(batched_options())


def _decode_slab(
    serialized: tf.Tensor, encoding: str, image_shape: tuple[int, int, int]
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A window of k records -> images [k, H, W, C], places [k, 2] and labels [k, 6]."""
    encoded, keys, fields = parse_window(serialized, ["labels", "z_mm"])
    chosen, is_slice = slab_of(keys)
    images = decode_images(tf.gather(encoded, chosen), encoding, image_shape)
    z_mm = tf.gather(fields["z_mm"], chosen)
    places = tf.stack([z_mm - z_mm[0], tf.ones_like(z_mm)], axis=-1)
    mask = tf.cast(is_slice, tf.float32)[:, None]
    labels = tf.cast(tf.gather(fields["labels"], chosen), tf.float32)
    return images, places * mask, labels * mask


def turned_slabs(
    images: tf.Tensor, places: tf.Tensor, labels: tf.Tensor, turned: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Turns some slabs upside down; positions still rise from 0.

    Args:
      images: [b, k, H, W, C].
      places: Position along the normal, mm, and 1 for a slice or 0 for padding, which comes last,
        float32 [b, k, 2].
      labels: float32 [b, k, 6].
      turned: Whether to turn each slab, bool [b].
    """
    number = tf.cast(tf.reduce_sum(places[..., 1], axis=1), tf.int32)
    lengths = tf.where(turned, number, 0)
    images, labels = (tf.reverse_sequence(x, lengths, seq_axis=1) for x in (images, labels))
    z_mm, mask = places[..., 0], places[..., 1]
    back = tf.reverse_sequence(tf.reduce_max(z_mm, axis=1, keepdims=True) - z_mm, lengths, 1)
    z_mm = tf.where(turned[:, None], back * mask, z_mm)
    return images, tf.stack([z_mm, mask], axis=-1), labels
