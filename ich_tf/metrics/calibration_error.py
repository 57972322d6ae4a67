"""Calibration of probabilities: Brier score, reliability curve, expected calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import check_probabilities, ratio, scalar


def brier_score(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    soft: bool = False,
) -> np.ndarray | float:
    """Computes the mean squared difference of probability and label (Brier 1950).

    Args:
      y_true: Labels [n], 0 or 1.
      y_prob: Probabilities [n], in [0, 1].
      sample_weight: Weights, 0 or more: [n], or [..., n] for a score of each row. None for equal
        weights.
      soft: Whether labels may be shares of readers, in [0, 1].

    Returns:
      A float, or float64 [...]; NaN if all weights are 0.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> brier_score([0, 1], [0.25, 0.5])
      0.15625
    """
    truth, prob, weight = check_probabilities(y_true, y_prob, sample_weight, soft=soft)
    return scalar(ratio(weight @ (prob - truth) ** 2, weight.sum(axis=-1)))


def reliability_curve(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    sample_weight: ArrayLike | None = None,
    num_bins: int = 15,
    *,
    soft: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compares probabilities with shares of positives, in bins of equal width.

    The bins are [0, 1/k), ..., [1-1/k, 1].

    Args:
      y_true: Labels [n], 0 or 1.
      y_prob: Probabilities [n], in [0, 1].
      sample_weight: Weights, 0 or more: [n], or [..., n] for a curve of each row. None for equal
        weights.
      num_bins: Number of bins, 1 or more.
      soft: Whether labels may be shares of readers, in [0, 1].

    Returns:
      Mean probability, share of positives and total weight of each bin, float64 [..., num_bins];
      the first two are NaN in an empty bin.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> mean, share, weight = reliability_curve([0, 1, 1], [0.2, 0.3, 0.9], num_bins=2)
      >>> mean.tolist(), share.tolist(), weight.tolist()
      ([0.25, 0.9], [0.5, 1.0], [2.0, 1.0])
    """
    truth, prob, weight = check_probabilities(y_true, y_prob, sample_weight, soft=soft)
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}; it must be 1 or more.")
    bins = np.minimum((prob * num_bins).astype(np.int64), num_bins - 1)
    member = (bins[:, None] == np.arange(num_bins)).astype(np.float64)
    total = weight @ member
    return (
        ratio(weight @ (member * prob[:, None]), total),
        ratio(weight @ (member * truth[:, None]), total),
        total,
    )


def expected_calibration_error(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    sample_weight: ArrayLike | None = None,
    num_bins: int = 15,
    *,
    soft: bool = False,
) -> np.ndarray | float:
    """Computes the mean distance of probability and share of positives over bins (ECE).

    The error is biased upwards in small samples, in whose bins the shares scatter.

    Args:
      y_true: Labels [n], 0 or 1.
      y_prob: Probabilities [n], in [0, 1].
      sample_weight: Weights, 0 or more: [n], or [..., n] for an error of each row. None for equal
        weights.
      num_bins: Number of bins of `reliability_curve`, 1 or more.
      soft: Whether labels may be shares of readers, in [0, 1].

    Returns:
      A float, or float64 [...]; NaN if all weights are 0.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> expected_calibration_error([0, 1, 1, 1], [0.25, 0.25, 0.75, 0.75], num_bins=2)
      0.25
    """
    mean, share, weight = reliability_curve(y_true, y_prob, sample_weight, num_bins, soft=soft)
    distance = np.where(weight > 0, np.abs(mean - share), 0.0)
    return scalar(ratio((distance * weight).sum(axis=-1), weight.sum(axis=-1)))
