"""Tensors laid one behind the other in a vector, and taken out of it again."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def flatten(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Concatenates tensors of one type to a vector [k]; of none, to float32 [0]."""
    if not tensors:
        return tf.zeros([0])
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Sequence[tf.Variable]) -> list[tf.Tensor]:
    """Splits a vector [k] into tensors of the shapes of some variables, which have k values."""
    if not like:
        return []
    pieces = tf.split(vector, [variable.shape.num_elements() for variable in like])
    return [tf.reshape(piece, item.shape) for piece, item in zip(pieces, like, strict=True)]
