"""Validation losses where labels may be unknown, or shares of readers."""

from __future__ import annotations

import numpy as np

from ich_tf.labels import CLASSES, WEIGHTS
from ich_tf.metrics.known_labels import soft_log_loss

_SUMS = (3, len(CLASSES))


def known_sums(labels: np.ndarray, probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Sums over the known labels of each class.

    Args:
      labels: Labels in [0, 1], or NaN where unknown, [n, 6].
      probabilities: Probabilities of a model, [n, 6].
      prior: Constant prediction, [6].

    Returns:
      float64 [18]: of each class the model's log loss, the prior's, and the number of labels. They
      may be added up over workers.
    """
    known = ~np.isnan(labels)
    losses = [
        np.where(known, soft_log_loss(labels, prediction), 0).sum(axis=0)
        for prediction in (probabilities, np.broadcast_to(prior, labels.shape))
    ]
    return np.asarray(np.concatenate([*losses, known.sum(axis=0)]), np.float64)


def known_losses(sums: np.ndarray) -> tuple[float, list[float], float]:
    """Weighted mean over the classes of the mean loss of their known labels.

    Args:
      sums: Result of `known_sums`, of which a class has labels.

    Returns:
      Weighted log loss, log loss of each class, NaN where none is known, and weighted log loss of
      the prior.

    Examples:
      >>> labels, half = np.array([[np.nan] * 5 + [1.0], [np.nan] * 5 + [0.0]]), np.full(6, 0.5)
      >>> loss, per_class, _ = known_losses(known_sums(labels, np.stack([half, half]), half))
      >>> round(loss, 4), round(per_class[5], 4)
      (0.6931, 0.6931)
    """
    model, prior, count = sums.reshape(_SUMS)
    has_labels = count > 0
    weights = np.where(has_labels, WEIGHTS, 0.0)
    divisor = np.maximum(count, 1)
    per_class = np.where(has_labels, model / divisor, np.nan)
    loss, constant_loss = (
        float(weights @ (values / divisor) / weights.sum()) for values in (model, prior)
    )
    return loss, per_class.tolist(), constant_loss
