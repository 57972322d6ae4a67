"""The weighted multi-label log loss on logits, which training minimizes."""

from __future__ import annotations

import tensorflow as tf

from ich_tf.labels import ANY, WEIGHTS

__all__ = [
    "series_loss",
    "training_loss",
    "weighted_binary_crossentropy",
]


def weighted_binary_crossentropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Weighted mean over the classes of the binary cross-entropy of each example.

    The loss of an example is sum_c w_c * crossentropy_c / sum_c w_c, with w = `labels.WEIGHTS`.
    On logits, loss and gradient are finite and exact even where a float32 probability rounds to
    0 or 1. `metrics.weighted_log_loss` is the mean over examples, apart from its clipping.

    Args:
      labels: Labels in [0, 1], [n, 6], columns in the order of `labels.CLASSES`.
      logits: Logits [n, 6], any float dtype.

    Returns:
      Loss of each example in nats, float32 [n]. It is not reduced, since the caller knows the
      global batch size and the mask.

    Examples:
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
    """Weighted sum of `training_loss` over the rows of each series.

    Args:
      labels: Labels of each row in [0, 1] and, as last column, the weight of the row, [n, r, 7].
        Rows that pad a series have weight 0.
      logits: Logits [n, r, 6].
      label_smoothing: Label smoothing in [0, 1), as in `training_loss`.

    Returns:
      Loss of each series in nats, float32 [n].

    Examples:
      >>> labels = tf.constant([[[0, 0, 0, 0, 0, 0, 0.5], [0, 0, 0, 0, 0, 0, 0]]])
      >>> round(float(series_loss(labels, [[[0.0] * 6] * 2])[0]), 4)
      0.3466
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
    """`weighted_binary_crossentropy` with label smoothing and a weight for negative examples.

    Args:
      labels: Labels in [0, 1], [n, 6]; mixup gives values between 0 and 1.
      logits: Logits [n, 6], any float dtype.
      label_smoothing: Smoothing s in [0, 1): a label y becomes y * (1 - s) + s / 2.
      negative_weight: Weight in (0, 1] of an example without hemorrhage; an example with
        hemorrhage has weight 1.

    Returns:
      Loss of each example in nats, float32 [n].

    Examples:
      >>> loss = training_loss([[0] * 6], [[0.0] * 6], negative_weight=0.5)
      >>> round(float(loss[0]), 4)
      0.3466
    """
    labels = tf.cast(labels, tf.float32)
    smooth = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = weighted_binary_crossentropy(smooth, logits)
    if negative_weight == 1:
        return losses
    return losses * (negative_weight + (1 - negative_weight) * labels[:, ANY])
