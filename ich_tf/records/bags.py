"""Training batches of bags: the slices of an exam, with its labels and theirs.

A bag holds all slices of a series, or a number of them that lie evenly along it; an epoch takes
others than the one before, so that each is seen in time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.records.example import parse
from ich_tf.records.images import decode_images
from ich_tf.records.known_labels import KNOWN_FIELDS, known_labels_graph
from ich_tf.records.manifest import Shard
from ich_tf.records.record_streams import THREADS, batched_options, epoch_generator, read_chunks
from ich_tf.records.shard_labels import has_label, read_shard_labels
from ich_tf.records.slabs import turned_slabs


def epoch_bags(shards: Sequence[Shard]) -> int:
    """Number of bags that an epoch reads: of exams of which any label is known.

    Args:
      shards: Shards to read.

    Raises:
      DataError: If a shard is damaged or missing.
    """
    return sum(len(find_bags([shard])) for shard in shards)


def longest_bag(shards: Sequence[Shard]) -> int:
    """Number of slices of the longest series among the bags of some shards, 0 without any.

    Raises:
      DataError: If a shard is damaged or missing.
    """
    return max((int(find_bags([shard])[:, 2].max(initial=0)) for shard in shards), default=0)


def find_bags(shards: Sequence[Shard]) -> np.ndarray:
    """Finds the series of which any label is known, of the exam or of a slice.

    Args:
      shards: Shards to read.

    Returns:
      Number of the shard, first record and number of records of each, int64 [m, 3].

    Raises:
      DataError: If a shard is damaged or missing.
    """
    bags = [np.zeros((0, 3), np.int64)]
    for number, shard in enumerate(shards):
        labels = read_shard_labels(shard)
        slices = np.zeros(len(labels.first), np.int64)
        if len(slices):
            slices = np.add.reduceat((~np.isnan(labels.labels)).sum(axis=1), labels.first)
        known = (slices > 0) | has_label(labels.exams)
        bag = np.stack([np.full(len(known), number), labels.first, labels.count], axis=1)
        bags.append(bag[known])
    return np.concatenate(bags)


def spread_places(num_slices: int, slices: int, epoch: int) -> np.ndarray:
    """Places in a series of the slices that an epoch takes.

    The series is cut into `slices` parts of equal length, give or take one slice, and the epoch
    takes one slice of each: epoch after epoch the next one. So every slice comes once in as many
    epochs as a part is long.

    Args:
      num_slices: Number of slices of the series, 1 or more.
      slices: Number of slices to take; a shorter series is taken whole.
      epoch: Number of the epoch, from 0.

    Returns:
      int64 [min(num_slices, slices)], rising.

    Examples:
      >>> [spread_places(7, 3, epoch).tolist() for epoch in range(3)]
      [[0, 2, 4], [1, 3, 5], [0, 2, 6]]
    """
    edges = np.arange(min(slices, num_slices) + 1) * num_slices // min(slices, num_slices)
    return edges[:-1] + epoch % np.diff(edges)


def bag_batches(
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
    """Reads one epoch of bags, each exam once, in random order.

    Args:
      shards: Shards to read; their labels are read first, once in a process.
      image_shape: Rows, columns and channels (H, W, C) of every stored image.
      batch_size: Number of bags per batch of this worker (b); an incomplete last batch is dropped.
      slices: Number of slices per bag (k), of which `spread_places` chooses those of an epoch; 0
        takes the whole series, and k is the number of slices of the longest.
      seed: Seed of the run.
      epoch: Number of the epoch, from 0.
      encoding: Image format of the records.
      reverse: Whether half of the bags are reversed.
      first_step: Number of batches to skip, unread, at the epoch's start.
      worker: Number of the worker, from 0; each worker has shards of its own.

    Returns:
      A dataset of ((images, places), labels): images uint8, for hu16 uint16, [b, k, H, W, C], in
      padding a slice of the series again; places float32 [b, k, 2], the position along the normal
      in mm from the bag's first slice and 1 for a slice, both 0 in padding, which comes last;
      labels float32 [b, 1 + k, 6]: of the exam, in [0, 1], then of its slices, 0 or 1, and
      NaN where they are unknown and in padding.

    Raises:
      DataError: If a shard is damaged or missing.

    Examples:
      shards = Manifest.load("data/tfrecords").train_shards(0)
      batches = bag_batches(shards, (256, 256, 3), batch_size=4, slices=16, seed=0, epoch=0)
      (images, places), labels = next(iter(batches))  # exams: labels[:, 0], slices: labels[:, 1:]
    """
    rng, shards = epoch_generator(shards, seed, epoch, worker)
    bags = rng.permutation(find_bags(shards))
    turn_seed = tf.constant(rng.integers(1 << 62), tf.int64)
    number = slices or longest_bag(shards)
    bags = bags[first_step * batch_size :]
    chosen = tf.RaggedTensor.from_row_lengths(
        np.concatenate(
            [np.zeros(0, np.int64), *(spread_places(n, number, epoch) for n in bags[:, 2].tolist())]
        ),
        np.minimum(bags[:, 2], number),
    )

    exams = [read_shard_labels(shard) for shard in shards]
    exam_labels = np.zeros((0, len(CLASSES)), np.float32)
    if len(bags):
        exam_labels = np.stack(
            [exams[s].exams[np.searchsorted(exams[s].first, first)] for s, first, _ in bags]
        )

    def decode(
        serialized: tf.Tensor, places: tf.Tensor, exam: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        fields = parse(tf.gather(serialized, places), ["encoded", "z_mm", *KNOWN_FIELDS])
        images = decode_images(fields["encoded"], encoding, image_shape)
        z_mm, labels = fields["z_mm"] - fields["z_mm"][0], known_labels_graph(fields)
        count = tf.size(z_mm)
        padding = number - count
        # Like padded slabs: batch normalisation sees no black images.
        images = tf.gather(images, tf.minimum(tf.range(number), count - 1))
        stacked = tf.pad(tf.stack([z_mm, tf.ones_like(z_mm)], axis=-1), [[0, padding], [0, 0]])
        nothing = tf.fill([padding, len(CLASSES)], np.float32(np.nan))
        labels = tf.concat([exam[None], labels, nothing], axis=0)
        return (
            tf.ensure_shape(images, (number, *image_shape)),
            tf.ensure_shape(stacked, (number, 2)),
            tf.ensure_shape(labels, (1 + number, len(CLASSES))),
        )

    def finish(
        step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        images, places, labels = batch
        if reverse:
            turned = tf.random.stateless_uniform([batch_size], tf.stack([turn_seed, step])) < 0.5
            images, places, rows = turned_slabs(images, places, labels[:, 1:], turned)
            labels = tf.concat([labels[:, :1], rows], axis=1)
        return (images, places), labels

    # A series is read whole, and what is chosen of it is decoded: one run of records is read faster
    # than many short ones.
    dataset = tf.data.Dataset.zip(
        (
            read_chunks(shards, bags),
            tf.data.Dataset.from_tensor_slices(chosen),
            tf.data.Dataset.from_tensor_slices(exam_labels),
        )
    )
    dataset = dataset.map(decode, num_parallel_calls=THREADS, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=True).enumerate(start=first_step)
    dataset = dataset.map(finish, num_parallel_calls=THREADS, deterministic=True)
    return dataset.prefetch(2).with_options(batched_options())


def exam_of_slices_graph(labels: tf.Tensor) -> tf.Tensor:
    """`exam_labels.exam_of_slices` in a graph: float32 [..., n, 6] -> float32 [..., 6]."""
    present = tf.reduce_any(labels == 1, axis=-2)
    absent = tf.reduce_all(labels == 0, axis=-2)
    return tf.where(present, 1.0, tf.where(absent, 0.0, np.float32(np.nan)))
