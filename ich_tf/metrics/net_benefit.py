"""Net benefit of decisions by a probability threshold: what decision curves show.

Whoever acts from a probability of 5 % on takes 19 false alarms for one hit. Net benefit counts hits
and subtracts false alarms at that rate (Vickers and Elkin 2006, doi:10.1177/0272989X06295361).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import check_probabilities, check_scores, scalar


def net_benefit(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    thresholds: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> np.ndarray | float:
    """Computes the net benefit of acting at or above a probability.

    It is the share of true positives among all, minus the share of false positives times the odds
    of the threshold: true positives that would be worth as much if there were no false alarms.

    Args:
      y_true: Labels [n], 0 or 1.
      y_prob: Probabilities [n].
      thresholds: Probabilities t in [0, 1) from which one acts: a number, or [t].
      sample_weight: Weights, 0 or more: [n], or [..., n] for values of each row. None for equal
        weights.

    Returns:
      A float, or float64 [...] for one threshold; [..., t] for several. NaN for weights whose sum
      is 0.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> net_benefit([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.2)
      0.4375
    """
    truth, prob, weight = check_probabilities(y_true, y_prob, sample_weight)
    odds, points = _odds(thresholds)
    # Sorted once for all samples: what is acted on at a threshold is the end of the order.
    order = np.argsort(prob, kind="stable")
    first = np.searchsorted(prob[order], points)
    true = _sums_from(weight[..., order] * truth[order], first)
    false = _sums_from(weight[..., order] * ~truth[order], first)
    return _benefit(true, false, weight, odds, np.ndim(thresholds) == 0)


def net_benefit_of_all(
    y_true: ArrayLike, thresholds: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """Computes the net benefit of acting on everyone; that of acting on nobody is 0.

    Args:
      y_true: Labels [n], 0 or 1.
      thresholds: As of `net_benefit`.
      sample_weight: As of `net_benefit`.

    Returns:
      As `net_benefit`.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> net_benefit_of_all([0, 0, 1, 1], 0.2)
      0.375
    """
    truth, _, weight = check_scores(y_true, np.zeros(np.shape(y_true)), sample_weight)
    odds, points = _odds(thresholds)
    positives = np.asarray(weight @ truth.astype(np.float64))[..., None]
    negatives = np.asarray(weight @ (~truth).astype(np.float64))[..., None]
    shape = (*weight.shape[:-1], len(points))
    true, false = np.broadcast_to(positives, shape), np.broadcast_to(negatives, shape)
    return _benefit(true, false, weight, odds, np.ndim(thresholds) == 0)


def _odds(thresholds: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Odds and thresholds, each float64 [t]."""
    points = np.atleast_1d(np.asarray(thresholds, np.float64))
    if points.ndim != 1 or not ((points >= 0) & (points < 1)).all():
        raise ValueError("thresholds must be probabilities in [0, 1), a number or of shape (t,).")
    return points / (1 - points), points


def _sums_from(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sums of values [..., n] from each of t places to the end, [..., t]."""
    zero = np.zeros((*values.shape[:-1], 1))
    upward = np.concatenate([zero, np.cumsum(values[..., ::-1], axis=-1)], axis=-1)
    return np.asarray(upward[..., values.shape[-1] - first])


def _benefit(
    true: np.ndarray, false: np.ndarray, weight: np.ndarray, odds: np.ndarray, is_single: bool
) -> np.ndarray | float:
    total = weight.sum(axis=-1)[..., None]
    safe = np.where(total > 0, total, np.nan)
    values = true / safe - false / safe * odds
    return scalar(values[..., 0]) if is_single else values
