"""The pool of chunks from which the slices of an epoch are drawn, within a tf.data pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.records.epoch_order import EpochOrder


def draw_from_pool(chunks: tf.data.Dataset, order: EpochOrder) -> tf.data.Dataset:
    """Draws slices in their turn; a chunk is held from when it is read until its place is taken.

    Tensors are handed on, never copied: an element holds its whole chunk.

    Args:
      chunks: Tuples of tensors whose first dimension is the record, in the order of
        `order.chunks`.
      order: Order of the epoch.

    Returns:
      A dataset of the tensors of a slice's chunk, and the slice's number in it, int64 [].
    """
    specs = chunks.element_spec
    nothing = tuple(tf.zeros([0, *spec.shape[1:]], spec.dtype) for spec in specs)
    nothing = tf.data.Dataset.from_tensors(nothing).repeat()
    # With the shapes of chunks, which are not 0 records long.
    nothing = tf.data.experimental.from_variant(tf.data.experimental.to_variant(nothing), specs)
    place, number, is_new = order.turns.T
    # A chunk for a turn that has one read, nothing for the others: that goes to a place of its own,
    # which costs less than a condition.
    arrivals = tf.data.Dataset.choose_from_datasets(
        [chunks, nothing], tf.data.Dataset.from_tensor_slices(1 - is_new)
    )
    spare = order.pool_chunks
    target = np.where(is_new == 1, place, spare)
    places = np.stack([target, place], axis=1).astype(np.int32)
    turns = tf.data.Dataset.from_tensor_slices((places, number))

    def take_turn(pool: tuple[Any, ...], element: Any) -> tuple[Any, Any]:
        arrival, (places, number) = element
        pool = tuple(
            tf.raw_ops.TensorListSetItem(input_handle=held, index=places[0], item=tensor)
            for held, tensor in zip(pool, arrival, strict=True)
        )
        return pool, (*map(_get, pool, [places[1]] * len(pool), specs), number)

    pool = tuple(
        tf.raw_ops.TensorListReserve(
            element_shape=_shape(spec), num_elements=spare + 1, element_dtype=spec.dtype
        )
        for spec in specs
    )
    drawn = tf.data.Dataset.zip((arrivals, turns)).scan(pool, take_turn)
    return drawn.apply(tf.data.experimental.assert_cardinality(len(order.turns)))


def _get(pool: tf.Tensor, place: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    tensor = tf.raw_ops.TensorListGetItem(
        input_handle=pool, index=place, element_shape=_shape(spec), element_dtype=spec.dtype
    )
    return tf.ensure_shape(tensor, spec.shape)


def _shape(spec: tf.TensorSpec) -> tf.Tensor:
    # -1 for the number of records, which differs near the ends of a shard.
    return tf.constant([-1, *spec.shape[1:]], tf.int32)
