"""Batch normalisation over the batch of all replicas, in training."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ich_tf.models.slice_model import batch_normalizations
from ich_tf.runtime.keras2 import keras


def synchronize(model: keras.Model) -> None:
    """Makes the batch normalisation of a model see the batch of all replicas in training.

    N replicas then compute what one device computes on the whole batch, moving statistics included.
    Each layer sums over the replicas, forward and backward: its output is the next layer's input,
    so that the step's one sum would come too late. Weights, names and everything but training stay
    as they are. Keras's own `synchronized=True` takes the mean square less the squared mean, which
    is less than 0 where a channel hardly varies.

    Args:
      model: Model of replicas that run outside of compiled functions.
    """
    for layer in batch_normalizations(model):
        layer.call = functools.partial(_call, layer, layer.call)


def _call(
    layer: keras.layers.Layer,
    own_call: Callable[..., tf.Tensor],
    inputs: tf.Tensor,
    training: bool | None = None,
    **kwargs: Any,
) -> tf.Tensor:
    replica = tf.distribute.get_replica_context()
    is_alone = replica is None or replica.num_replicas_in_sync == 1
    if is_alone or not training or not layer.trainable:
        return own_call(inputs, training=training, **kwargs)
    x = tf.cast(inputs, tf.float32)
    mean, variance, count = _moments_of_all(x, replica)
    # TensorFlow's fused kernels, which images go through, track the unbiased variance.
    unbiased = variance * (count / (count - 1)) if x.shape.rank == 4 else variance
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, unbiased)):
        moving.assign_sub((moving.read_value() - value) * (1 - layer.momentum))
    normalized = tf.nn.batch_normalization(
        x, mean, variance, layer.beta, layer.gamma, layer.epsilon
    )
    return tf.cast(normalized, inputs.dtype)


def _moments_of_all(
    x: tf.Tensor, replica: tf.distribute.ReplicaContext
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and variance over the equal batches of all replicas.

    Args:
      x: This replica's batch, float32 [n, ..., C].
      replica: Context of this replica.

    Returns:
      Mean, float32 [C]; variance, float32 [C]; number of values of each channel, float32 [].
    """
    moments = tf.stack(tf.nn.moments(x, list(range(x.shape.rank - 1))))
    replicas = replica.num_replicas_in_sync
    # Every replica adds a row of its own to zeros: a sum that gathers.
    place = tf.one_hot(replica.replica_id_in_sync_group, replicas)
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, place[:, None, None] * moments)
    means, variances = rows[:, 0], rows[:, 1]
    mean = tf.reduce_mean(means, axis=0)
    variance = tf.reduce_mean(variances + tf.square(means - mean), axis=0)
    count = tf.size(x) // x.shape[-1] * replicas
    return mean, variance, tf.cast(count, tf.float32)
