"""The weighted multi-label log loss on logits, as training minimizes it."""

from __future__ import annotations

import tensorflow as tf

from ich_tf.labels import ANY, WEIGHTS

__all__ = [
    "series_loss",
    "training_loss",
    "weighted_binary_crossentropy",
]


def weighted_binary_crossentropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """sum_c w_c * crossentropy_c / sum_c w_c for each example, with w = `labels.WEIGHTS`.

    Works on logits: it and its gradient stay finite and exact where a probability in
    float32 would round to 0 or 1. `metrics.weighted_log_loss` is its mean over examples,
    but for that metric's clip.

    Args:
      labels: [n, 6] in [0, 1], columns in the order of `labels.CLASSES`.
      logits: [n, 6], any float type.

    Returns:
      float32 [n], in nats. Not reduced: the caller knows the global batch and the mask.

    Example:
      >>> loss = weighted_binary_crossentropy([[0, 1, 0, 0, 0, 1]], [[0.0] * 6])
      >>> round(float(loss[0]), 4)
      0.6931
    """
    logits = tf.cast(logits, tf.float32)
    crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(labels, tf.float32), logits=logits
    )
    weights = tf.constant(WEIGHTS, tf.float32) / sum(WEIGHTS)
    return tf.linalg.matvec(crossentropy, weights)


def series_loss(labels: tf.Tensor, logits: tf.Tensor, *, label_smoothing: float = 0.0) -> tf.Tensor:
    """`training_loss` summed over the rows of series, each row with its weight.

    Args:
      labels: [n, r, 7], of each row the labels and, last, its weight; 0 for empty slots.
      logits: [n, r, 6].
      label_smoothing: As of `training_loss`.

    Returns:
      float32 [n].
    """
    rows, weights = labels[..., :-1], tf.cast(labels[..., -1], tf.float32)
    shape = tf.shape(weights)
    losses = training_loss(
        tf.reshape(rows, [-1, len(WEIGHTS)]),
        tf.reshape(logits, [-1, len(WEIGHTS)]),
        label_smoothing=label_smoothing,
    )
    return tf.reduce_sum(tf.reshape(losses, shape) * weights, axis=1)


def training_loss(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    label_smoothing: float = 0.0,
    negative_weight: float = 1.0,
) -> tf.Tensor:
    """`weighted_binary_crossentropy` as a run may change it.

    Args:
      labels: As there; mixtures of labels are welcome.
      logits: As there.
      label_smoothing: s; a label y counts as y * (1 - s) + s / 2.
      negative_weight: Of an example without a bleed; one with a bleed has the weight 1.

    Returns:
      float32 [n].
    """
    labels = tf.cast(labels, tf.float32)
    smooth = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = weighted_binary_crossentropy(smooth, logits)
    if negative_weight == 1:
        return losses
    return losses * (negative_weight + (1 - negative_weight) * labels[:, ANY])
