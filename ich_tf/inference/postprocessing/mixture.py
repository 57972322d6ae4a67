"""How much to listen to each of several models: shares fitted on patients that none had seen."""

from __future__ import annotations

import numpy as np

from ich_tf.labels import WEIGHTS
from ich_tf.metrics import EPSILON

_MOST_STEPS = 2000
_SETTLED = 1e-9


def fit_shares(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The shares of a mean of probabilities that has the least weighted log loss.

    A mean of probabilities is a mixture, whose likelihood has a single maximum: expectation
    maximisation climbs to it, and never leaves the simplex.

    Args:
      labels: [n, 6], 0 or 1.
      probabilities: [m, n, 6], of m models.

    Returns:
      float64 [m], 0 or more, of sum 1.
    """
    prob = np.clip(np.asarray(probabilities, np.float64), EPSILON, 1 - EPSILON)
    likelihood = np.where(np.asarray(labels) > 0, prob, 1 - prob).reshape(len(prob), -1)
    weight = np.tile(WEIGHTS, len(labels)) / (sum(WEIGHTS) * len(labels))
    shares = np.full(len(prob), 1 / len(prob))
    for _ in range(_MOST_STEPS):
        mixed = shares @ likelihood
        better = shares * (likelihood @ (weight / mixed))
        done = np.abs(better - shares).max() < _SETTLED
        shares = better / better.sum()
        if done:
            break
    return shares


def mix(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The mean of m models' probabilities, [m, n, 6] -> float64 [n, 6]."""
    return np.asarray(np.tensordot(shares, np.asarray(probabilities, np.float64), axes=1))
