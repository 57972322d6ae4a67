"""Whether probabilities mean what they say: reliability, ECE, Brier."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import checked_probabilities, ratio, scalar


def brier_score(
    y_true: ArrayLike, y_prob: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """The mean squared distance of probability and label (Brier 1950).

    Args:
      y_true: [n], 0 or 1.
      y_prob: [n], in [0, 1].
      sample_weight: [n], or [..., n] for a score of each row, 0 or more.

    Returns:
      A float, or float64 [...]; NaN if all weights are 0.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Example:
      >>> brier_score([0, 1], [0.25, 0.5])
      0.15625
    """
    truth, prob, weight = checked_probabilities(y_true, y_prob, sample_weight)
    return scalar(ratio(weight @ (prob - truth) ** 2, weight.sum(axis=-1)))


def reliability_curve(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    sample_weight: ArrayLike | None = None,
    num_bins: int = 15,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability and share of positives in bins of equal width, [0, 1/k), ..., [1-1/k, 1].

    Arguments and errors as `brier_score`.

    Returns:
      Mean probability, share of positives (NaN in an empty bin) and weight, float64
      [..., num_bins].

    Example:
      >>> mean, share, weight = reliability_curve([0, 1, 1], [0.2, 0.3, 0.9], num_bins=2)
      >>> mean.tolist(), share.tolist(), weight.tolist()
      ([0.25, 0.9], [0.5, 1.0], [2.0, 1.0])
    """
    truth, prob, weight = checked_probabilities(y_true, y_prob, sample_weight)
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
) -> np.ndarray | float:
    """ECE: how far probability and share of positives are apart, over `reliability_curve`'s bins.

    It is biased upward in small samples, whose bins' shares scatter.

    Arguments and errors as `reliability_curve`.

    Returns:
      A float, or float64 [...]; NaN if all weights are 0.

    Example:
      >>> expected_calibration_error([0, 1, 1, 1], [0.25, 0.25, 0.75, 0.75], num_bins=2)
      0.25
    """
    mean, share, weight = reliability_curve(y_true, y_prob, sample_weight, num_bins)
    apart = np.where(weight > 0, np.abs(mean - share), 0.0)
    return scalar(ratio((apart * weight).sum(axis=-1), weight.sum(axis=-1)))
