"""Log losses of labels that may be unknown (NaN), or shares of readers (soft labels), in float64.

Where all labels are 0 or 1 the results are those of `log_loss`, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.labels import WEIGHTS
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.metrics.binary import ratio, scalar
from ich_tf.metrics.log_loss import (
    EPSILON,
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
      y_prob: Probabilities of the same shape; clipped to [1e-15, 1 - 1e-15].
    """
    truth = np.asarray(labels, np.float64)
    prob = np.clip(np.asarray(y_prob, np.float64), EPSILON, 1 - EPSILON)
    # Where a label is 0 or 1 the other term is an exact 0.
    return np.asarray(-(truth * np.log(prob) + (1 - truth) * np.log(1 - prob)))


def known_per_class_log_loss(labels: ArrayLike, y_prob: ArrayLike) -> np.ndarray:
    """The mean log loss of each class over the examples of which it is known.

    Args:
      labels: [n, 6], in [0, 1], or NaN where unknown.
      y_prob: Probabilities [n, 6].

    Returns:
      Loss in nats, float64 [6]; NaN for a class that is known of no example.
    """
    if all_hard(labels):
        return per_class_log_loss(labels, y_prob)
    ones = np.ones((1, len(np.asarray(labels))))
    return np.asarray(_means(soft_log_loss(labels, y_prob), ones)[0])


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

    Examples:
      >>> nan = float("nan")
      >>> labels = [[nan, nan, nan, nan, nan, 0.5], [nan, nan, nan, nan, nan, 1]]
      >>> round(known_log_loss(labels, [[0.5] * 6] * 2), 4)
      0.6931
    """
    if all_hard(labels) and sample_weight is None:
        return weighted_log_loss(labels, y_prob)
    number = len(np.asarray(labels))
    weight = np.ones(number) if sample_weight is None else np.asarray(sample_weight, np.float64)
    loss = known_loss_of(labels, y_prob)(weight.reshape(-1, number))
    return scalar(loss.reshape(weight.shape[:-1]))


def known_loss_of(labels: ArrayLike, y_prob: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
    """`known_log_loss` as a function of weights, for the many samples of a bootstrap.

    Args:
      labels: [n, 6], in [0, 1], or NaN where unknown.
      y_prob: Probabilities [n, 6].

    Returns:
      Function of weights, [b, n] -> losses, float64 [b].
    """
    if all_hard(labels):
        per_image = per_image_log_loss(labels, y_prob)
        return lambda weight: np.asarray(weight @ per_image / weight.sum(axis=-1))
    losses = soft_log_loss(labels, y_prob)
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
