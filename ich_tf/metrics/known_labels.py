"""Log losses of labels that may be unknown (NaN), or shares of readers (soft labels), in float64.

Where all labels are 0 or 1 the results are those of `log_loss`, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.labels import WEIGHTS
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.metrics.binary import check_no_nan, check_range, check_weights, ratio, scalar
from ich_tf.metrics.log_loss import (
    EPSILON,
    check_six,
    per_class_log_loss,
    per_image_log_loss,
    weighted_log_loss,
)


def all_hard(labels: ArrayLike) -> bool:
    """Whether all labels are known and either 0 or 1."""
    return bool(np.isin(np.asarray(labels), (0.0, 1.0)).all())


def hard_labels(labels: ArrayLike) -> np.ndarray:
    """Labels as yes or no, 1 from a share of 0.5 on, else 0; NaN where unknown.

    Labels that are hard and known are returned as they are.

    Examples:
      >>> hard_labels([0.25, 0.5, 1.0]).tolist()
      [0.0, 1.0, 1.0]
    """
    labels = np.asarray(labels)
    if all_hard(labels):
        return labels
    return np.where(np.isnan(labels), np.nan, (labels >= POSITIVE_SHARE).astype(np.float64))


def soft_log_loss(labels: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """The log loss of each probability, in nats; NaN where the label is unknown.

    Args:
      labels: Labels of any shape, in [0, 1], or NaN.
      y_prob: Probabilities of the same shape, in [0, 1]; clipped to [1e-15, 1 - 1e-15]. The loss of
        NaN is NaN.

    Raises:
      ValueError: If shapes differ, or a value is out of range.
    """
    truth, prob = np.asarray(labels, np.float64), np.asarray(y_prob, np.float64)
    if truth.shape != prob.shape:
        raise ValueError(f"y_prob has shape {prob.shape}; labels have {truth.shape}.")
    if ((truth < 0) | (truth > 1)).any():
        raise ValueError("labels have values outside of [0, 1].")
    check_range(prob)
    prob = np.clip(prob, EPSILON, 1 - EPSILON)
    # Where a label is 0 or 1 the other term is an exact 0.
    return np.asarray(-(truth * np.log(prob) + (1 - truth) * np.log(1 - prob)))


def known_per_class_log_loss(labels: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """The mean log loss of each class over the examples of which it is known.

    Args:
      labels: [n, 6], in [0, 1], or NaN where unknown.
      y_prob: Probabilities [n, 6].

    Returns:
      Loss in nats, float64 [6]; NaN for a class that is known of no example.

    Raises:
      ValueError: If shapes differ, there is no example, or a value is out of range, or a NaN
        probability where the label is known.
    """
    if all_hard(labels):
        return per_class_log_loss(labels, y_prob)
    losses = _losses(labels, y_prob)
    return np.asarray(_means(losses, np.ones((1, len(losses))))[0])


def _losses(labels: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """`soft_log_loss` of six classes, NaN where the label is unknown and nowhere else."""
    check_six(labels, "labels")
    losses = soft_log_loss(labels, y_prob)
    check_no_nan(np.asarray(y_prob)[~np.isnan(labels)])
    return losses


def _means(losses: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Means of what is known, by class: losses [n, 6] and weights [b, n] -> [b, 6]."""
    known = ~np.isnan(losses)
    return ratio(weight @ np.where(known, losses, 0.0), weight @ known.astype(np.float64))


def known_log_loss(
    labels: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """The challenge's loss where labels may be unknown or soft.

    It is the mean over the known examples of each class, then the weighted mean over the classes
    that have any.

    Args:
      labels: [n, 6], in [0, 1], or NaN where unknown.
      y_prob: Probabilities [n, 6]; clipped to [1e-15, 1 - 1e-15].
      sample_weight: Weights, 0 or more: [n], or [b, n] for a loss of each row. None for equal
        weights.

    Returns:
      Loss in nats, a float, or float64 [b]; NaN where nothing is known.

    Raises:
      ValueError: If shapes differ, there is no example, or a value is out of range, or NaN: a
        weight, or a probability where the label is known.

    Examples:
      >>> nan = float("nan")
      >>> labels = [[nan, nan, nan, nan, nan, 0.5], [nan, nan, nan, nan, nan, 1]]
      >>> round(known_log_loss(labels, [[0.5] * 6] * 2), 4)
      0.6931
    """
    if all_hard(labels) and sample_weight is None:
        return weighted_log_loss(labels, y_prob)
    loss_of, number = known_loss_of(labels, y_prob), len(np.asarray(labels))
    weight = check_weights(sample_weight, number)
    loss = loss_of(weight.reshape(-1, number))
    return scalar(loss.reshape(weight.shape[:-1]))


def known_loss_of(labels: ArrayLike, y_prob: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
    """`known_log_loss` as a function of weights, for the many samples of a bootstrap.

    Args:
      labels: [n, 6], in [0, 1], or NaN where unknown.
      y_prob: Probabilities [n, 6].

    Returns:
      Function of weights, [b, n] -> losses, float64 [b].

    Raises:
      ValueError: As of `known_log_loss`.
    """
    if all_hard(labels):
        per_image = per_image_log_loss(labels, y_prob)
        return lambda weight: ratio(weight @ per_image, weight.sum(axis=-1))
    losses = _losses(labels, y_prob)
    by_weight = np.asarray(WEIGHTS)

    def loss(weight: np.ndarray) -> np.ndarray:
        by_class = _means(losses, weight)
        defined = ~np.isnan(by_class)
        total = np.where(defined, by_class, 0.0) @ by_weight
        return ratio(total, defined.astype(np.float64) @ by_weight)

    return loss


def known_shares(labels: ArrayLike) -> np.ndarray:
    """Share of positives of each class among the examples of which it is known.

    Args:
      labels: [n, 6], in [0, 1], or NaN where unknown.

    Returns:
      [6]; the mean of shares where labels are soft; NaN for a class that is known of no example.
    """
    labels = np.asarray(labels)
    known = ~np.isnan(labels)
    return ratio(np.where(known, labels, 0.0).sum(axis=0), known.sum(axis=0))
