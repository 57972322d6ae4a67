"""Mixture of several models: fitted shares, and the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ich_tf.labels import WEIGHTS
from ich_tf.metrics import EPSILON, logit, sigmoid
from ich_tf.metrics.known_labels import all_hard

if TYPE_CHECKING:
    import tensorflow as tf

_MAX_STEPS = 2000
_TOLERANCE = 1e-9


def fit_shares(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Fits the shares of a mean of probabilities with the least weighted log loss.

    A mean of probabilities is a mixture, whose likelihood has a single maximum: expectation
    maximisation climbs to it, and never leaves the simplex.

    Args:
      labels: Labels of slices or exams that no model was trained on, [n, 6], 0 or 1; a share of
        readers counts as so much of a positive and of a negative example, and NaN as none.
      probabilities: Probabilities of m models, [m, n, 6].

    Returns:
      float64 [m], each 0 or more, of sum 1.
    """
    prob = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    weight = np.tile(WEIGHTS, len(labels)) / (sum(WEIGHTS) * len(labels))
    if all_hard(labels):
        likelihood = np.where(np.asarray(labels) > 0, prob, 1 - prob).reshape(len(prob), -1)
    else:
        share = np.asarray(labels, np.float64).ravel()
        flat = prob.reshape(len(prob), -1)[:, ~np.isnan(share)]
        weight, share = weight[~np.isnan(share)], share[~np.isnan(share)]
        likelihood = np.concatenate([flat, 1 - flat], axis=1)
        weight = np.concatenate([weight * share, weight * (1 - share)])
    shares = np.full(len(prob), 1 / len(prob))
    for _ in range(_MAX_STEPS):
        mixed = shares @ likelihood
        better = shares * (likelihood @ (weight / mixed))
        converged = np.abs(better - shares).max() < _TOLERANCE
        shares = better / better.sum()
        if converged:
            break
    return shares


def mix(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Averages the probabilities of m models.

    Args:
      probabilities: [m, n, 6].
      shares: [m], of sum 1.

    Returns:
      float64 [n, 6].
    """
    return np.asarray(np.tensordot(shares, np.asarray(probabilities, np.float64), axes=1))


def mix_logits(logits: Sequence[np.ndarray], shares: np.ndarray) -> np.ndarray:
    """Averages the probabilities of m models, given and returned as logits.

    Args:
      logits: One array [n, 6] for each model; a single one is returned as it is.
      shares: [m], of sum 1.

    Returns:
      float64 [n, 6].
    """
    if len(logits) == 1:
        return np.asarray(logits[0], np.float64)
    return logit(mix(np.stack([sigmoid(member) for member in logits]), shares))


def mix_logits_graph(logits: Sequence[tf.Tensor], shares: Sequence[float]) -> tf.Tensor:
    """`mix_logits` in a graph: m tensors, float64 [n, 6] -> float64 [n, 6]."""
    import tensorflow as tf

    if len(logits) == 1:
        return logits[0]
    terms = [share * tf.sigmoid(member) for share, member in zip(shares, logits, strict=True)]
    return logit_graph(tf.add_n(terms))


def logit_graph(probabilities: tf.Tensor) -> tf.Tensor:
    """`metrics.logit` in a graph, float64."""
    import tensorflow as tf

    clipped = tf.clip_by_value(probabilities, EPSILON, 1 - EPSILON)
    return tf.math.log(clipped) - tf.math.log1p(-clipped)
