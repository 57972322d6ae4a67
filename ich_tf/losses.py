"""The losses on logits that training minimizes: of slices, of series, of exams, and of masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import ANY, CLASSES, WEIGHTS

__all__ = [
    "exam_loss",
    "known_crossentropy",
    "known_training_loss",
    "mask_loss",
    "segmentation_loss",
    "self_training_loss",
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


def known_crossentropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """`weighted_binary_crossentropy` over the classes whose labels are known.

    The loss of an example is sum_c w_c * crossentropy_c / sum_c w_c, both over its known classes.
    Unknown classes have no gradient.

    Args:
      labels: Labels in [0, 1], or NaN where unknown, [n, 6].
      logits: Logits [n, 6], any float dtype.

    Returns:
      Loss of each example in nats, float32 [n]; 0 where no class is known.

    Examples:
      >>> nan = float("nan")
      >>> losses = known_crossentropy([[nan, 1, nan, nan, nan, nan], [nan] * 6], [[0.0] * 6] * 2)
      >>> [round(float(loss), 4) for loss in losses]
      [0.6931, 0.0]
    """
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    is_known = ~tf.math.is_nan(labels)
    # Replaced before the cross-entropy: the gradient of a NaN is NaN, whatever it is multiplied by.
    crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.where(is_known, labels, 0.0), logits=logits
    )
    weights = tf.where(is_known, tf.constant(WEIGHTS, tf.float32), 0.0)
    total = tf.reduce_sum(crossentropy * weights, axis=-1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights, axis=-1))


def known_training_loss(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    label_smoothing: float = 0.0,
    negative_weight: float = 1.0,
) -> tf.Tensor:
    """`training_loss` over the classes whose labels are known (`known_crossentropy`).

    Args:
      labels: Labels in [0, 1], or NaN where unknown, [n, 6].
      logits: Logits [n, 6], any float dtype.
      label_smoothing: Smoothing of the known labels, as in `training_loss`.
      negative_weight: Weight of an example that is known to show no hemorrhage; one whose `any` is
        unknown has weight 1.

    Returns:
      Loss of each example in nats, float32 [n]; 0 where no class is known.
    """
    labels = tf.cast(labels, tf.float32)
    smooth = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = known_crossentropy(smooth, logits)
    if negative_weight == 1:
        return losses
    bleeds = labels[:, ANY]
    bleeds = tf.where(tf.math.is_nan(bleeds), 1.0, bleeds)
    return losses * (negative_weight + (1 - negative_weight) * bleeds)


def exam_loss(
    labels: tf.Tensor, logits: tf.Tensor, *, exam_weight: float, label_smoothing: float = 0.0
) -> tf.Tensor:
    """Loss of exams and of those of their slices that are labelled.

    Args:
      labels: Labels of the exam (row 0) and of its slices, in [0, 1], or NaN where unknown, as they
        are in rows that pad an exam, [b, 1 + k, 6].
      logits: Logits of the same rows, [b, 1 + k, 6].
      exam_weight: Factor of the exam's row.
      label_smoothing: Smoothing of the known labels, as in `training_loss`.

    Returns:
      Mean of `known_crossentropy` over the slices of which any class is known, 0 if there are none,
      plus `exam_weight` times that of the exam, in nats, float32 [b].

    Examples:
      >>> nan = float("nan")
      >>> labels = [[[1.0] * 6, [nan] * 6, [1.0] * 6]]
      >>> round(float(exam_loss(labels, [[[0.0] * 6] * 3], exam_weight=0.5)[0]), 4)
      1.0397
    """
    labels = tf.cast(labels, tf.float32)
    smooth = labels * (1 - label_smoothing) + label_smoothing / 2
    losses = known_crossentropy(smooth, logits)
    has_label = tf.cast(tf.reduce_any(~tf.math.is_nan(labels[:, 1:]), axis=-1), tf.float32)
    # Slices without labels have a loss of 0 already.
    of_slices = tf.math.divide_no_nan(
        tf.reduce_sum(losses[:, 1:], axis=1), tf.reduce_sum(has_label, axis=1)
    )
    return of_slices + exam_weight * losses[:, 0]


def segmentation_loss(
    labels: tuple[Any, ...],
    outputs: tuple[Any, Any],
    *,
    mask_weight: float = 1.0,
    self_training: float = 0.0,
    slice_loss: Callable[[Any, Any], Any] = training_loss,
) -> tf.Tensor:
    """Loss of slices plus the `mask_loss` of those that have masks, and a teacher's of the others.

    Args:
      labels: Labels [n, 6], masks and annotated classes (`records.masked_labels.MaskedLabels`);
        with self-training a teacher's heat maps behind them, [n, S, S, 6].
      outputs: Logits [n, 6] and logits of pixels [n, S, S, 6].
      mask_weight: Factor of `mask_loss`.
      self_training: Factor of `self_training_loss`.
      slice_loss: Loss of labels and logits [n, 6].

    Returns:
      Loss of each example, float32 [n].
    """
    slice_labels, mask, annotated, *taught = labels
    logits, mask_logits = outputs
    losses: tf.Tensor = slice_loss(slice_labels, logits)
    if mask_weight:
        losses += mask_weight * mask_loss(mask, annotated, mask_logits)
    if self_training:
        losses += self_training * self_training_loss(
            slice_labels, annotated, taught[0], mask_logits
        )
    return losses


def mask_loss(mask: tf.Tensor, annotated: tf.Tensor, mask_logits: tf.Tensor) -> tf.Tensor:
    """Weighted mean over the annotated classes of binary cross-entropy plus soft Dice loss.

    Of a class, the cross-entropy is the mean over the pixels, and the Dice loss is
    1 - 2 * sum(p * y) / (sum(p) + sum(y)) with p the sigmoid of the logits and y the mask. An empty
    mask has no Dice, and the cross-entropy alone. The weights are `labels.WEIGHTS`.

    Args:
      mask: Masks, bit k marks class k, uint8 [n, H, W]. `any` is marked where a class is.
      annotated: Bit k is set where the mask tells of class k, int32 [n].
      mask_logits: Logits [n, S, S, 6], any float dtype. A mask of another size counts for each of
        these pixels the share that it marks.

    Returns:
      Loss of each example in nats, float32 [n]; 0 where no class is annotated.

    Examples:
      >>> mask, logits = tf.ones([1, 2, 2], tf.uint8), tf.zeros([1, 2, 2, 6])
      >>> round(float(mask_loss(mask, [0b000001], logits)[0]), 4)  # log 2, and 1 - 4 / 6
      1.0265
      >>> mask_loss(mask, [0], logits).numpy().tolist()
      [0.0]
    """
    logits = tf.cast(mask_logits, tf.float32)
    marked = _marked(mask)
    for equation, size, new_size in zip(
        ("ih,nhwc->niwc", "jw,niwc->nijc"), marked.shape[1:3], logits.shape[1:3], strict=True
    ):
        if size != new_size:
            marked = tf.einsum(equation, _overlaps(size, new_size), marked)
    crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=marked, logits=logits)
    predicted = tf.sigmoid(logits)
    common, both, area = (
        tf.reduce_sum(values, axis=(1, 2))
        for values in (predicted * marked, predicted + marked, marked)
    )
    dice = tf.where(area > 0, 1 - tf.math.divide_no_nan(2 * common, both), 0.0)
    losses = tf.reduce_mean(crossentropy, axis=(1, 2)) + dice
    known = tf.bitwise.bitwise_and(tf.cast(annotated, tf.int32)[:, None], _BITS) > 0
    weights = tf.where(known, tf.constant(WEIGHTS, tf.float32), 0.0)
    # An infinite loss of a class that is not annotated is none.
    total = tf.reduce_sum(tf.math.multiply_no_nan(losses, weights), axis=1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(weights, axis=1))


def self_training_loss(
    labels: tf.Tensor, annotated: tf.Tensor, heat: tf.Tensor, mask_logits: tf.Tensor
) -> tf.Tensor:
    """Weighted mean over the classes of the `mask_loss` of the pixels that heat maps are sure of.

    A class has a loss where the slice is labelled positive, no mask tells of the class, and there
    is a map of it. Pixels of at least 0.4 are marked, those of at most 0.1 are not. What lies
    between is left out of cross-entropy and Dice.

    Args:
      labels: Labels in [0, 1], [n, 6]; those of 0.5 and more are positive.
      annotated: Bit k is set where a mask tells of class k, int32 [n].
      heat: Heat maps of the classes, 0 to 1, [n, S, S, 6]; zeros where there is none. No gradient
        passes through them.
      mask_logits: Logits [n, S, S, 6], any float dtype.

    Returns:
      Loss of each example in nats, float32 [n]; 0 where no class has one.

    Examples:
      >>> heat = tf.reshape([1.0, 0.0, 0.2, 0.2], [1, 2, 2, 1]) * tf.ones([6])
      >>> logits = tf.reshape([0.0, 0.0, 5.0, 5.0], [1, 2, 2, 1]) * tf.ones([6])
      >>> labels = [[0, 1, 0, 0, 0, 1]]
      >>> round(float(self_training_loss(labels, [0], heat, logits)[0]), 4)  # log 2, and 1 - 1/2
      1.1931
      >>> self_training_loss(labels, [0b100010], heat, logits).numpy().tolist()
      [0.0]
    """
    logits, heat = tf.cast(mask_logits, tf.float32), tf.stop_gradient(heat)
    marked = tf.cast(heat >= _HOT, tf.float32)
    sure = marked + tf.cast(heat <= _COLD, tf.float32)
    crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=marked, logits=logits)
    predicted = tf.sigmoid(logits)
    total, count, common, both, area = (
        tf.reduce_sum(sure * values, axis=(1, 2))
        for values in (
            crossentropy,
            tf.ones_like(sure),
            predicted * marked,
            predicted + marked,
            marked,
        )
    )
    losses = tf.math.divide_no_nan(total, count) + 1 - tf.math.divide_no_nan(2 * common, both)
    unknown = tf.bitwise.bitwise_and(tf.cast(annotated, tf.int32)[:, None], _BITS) == 0
    has_loss = unknown & (tf.cast(labels, tf.float32) >= 0.5) & (area > 0)
    weights = tf.where(has_loss, tf.constant(WEIGHTS, tf.float32), 0.0)
    weighted = tf.reduce_sum(losses * weights, axis=1)
    return tf.math.divide_no_nan(weighted, tf.reduce_sum(weights, axis=1))


# Shares of a heat map's greatest value from which, and up to which, a pixel is sure.
_HOT, _COLD = 0.4, 0.1
_BITS = np.array([1 << k for k in range(len(CLASSES))], np.int32)


def _marked(mask: tf.Tensor) -> tf.Tensor:
    """Masks of the classes, 0 or 1, float32 [n, H, W, 6], from bits uint8 [n, H, W]."""
    bits = tf.where(mask > 0, tf.bitwise.bitwise_or(mask, np.uint8(1 << ANY)), mask)
    marked = tf.bitwise.bitwise_and(bits[..., None], _BITS.astype(np.uint8)) > 0
    return tf.cast(marked, tf.float32)


def _overlaps(size: int, new_size: int) -> np.ndarray:
    """Share of each new pixel that lies in each old one, along an axis, float32 [new, old]."""
    edges = np.arange(new_size + 1) * (size / new_size)
    low = np.maximum(edges[:-1, None], np.arange(size))
    high = np.minimum(edges[1:, None], np.arange(size) + 1)
    shares: np.ndarray = np.maximum(high - low, 0) * (new_size / size)
    return shares.astype(np.float32)
