"""How well scores rank positives above negatives: ROC and precision-recall, with ties.

Each function takes the weights of one sample, [n], or of many at once, [..., n]: the scores are
sorted once for all the resamples of a bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import checked, ratio, scalar


def roc_curve(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False and true positive rates as the threshold falls.

    Args:
      y_true: [n], 0 or 1.
      y_score: [n]; greater means positive.
      sample_weight: [n] or [..., n], 0 or more.

    Returns:
      False positive rate and true positive rate, float64 [..., k + 1] from 0 to 1, NaN without
      negatives or positives; and the thresholds, [k + 1]: infinity, then the distinct scores
      from the greatest down. A score at or above the threshold counts as positive.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Example:
      >>> fpr, tpr, thresholds = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
      >>> fpr.tolist(), tpr.tolist(), thresholds.tolist()
      ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0], [inf, 0.8, 0.4, 0.35, 0.1])
    """
    true, false, thresholds = cumulative_counts(y_true, y_score, sample_weight)
    return ratio(false, false[..., -1:]), ratio(true, true[..., -1:]), thresholds


def roc_auc(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """The area under the ROC curve: how often a positive scores above a negative, ties half.

    Arguments and errors as `roc_curve`.

    Returns:
      A float, or float64 [...]; NaN without positives or negatives.

    Example:
      >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
      0.75
    """
    fpr, tpr, _ = roc_curve(y_true, y_score, sample_weight)
    steps = np.diff(fpr, axis=-1) * (tpr[..., 1:] + tpr[..., :-1])
    return scalar(steps.sum(axis=-1) / 2)


def precision_recall_curve(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall as the threshold falls.

    Arguments and errors as `roc_curve`.

    Returns:
      Precision and recall, float64 [..., k + 1], beginning at precision 1 and recall 0; NaN
      without positives; and the thresholds as of `roc_curve`.
    """
    true, false, thresholds = cumulative_counts(y_true, y_score, sample_weight)
    precision = ratio(true, true + false)
    # Above a sample's greatest score nothing is positive yet: the curve begins at 1.
    precision = np.where((true + false == 0) & (true[..., -1:] > 0), 1.0, precision)
    precision = np.where(true[..., -1:] > 0, precision, np.nan)
    return precision, ratio(true, true[..., -1:]), thresholds


def average_precision(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """The precision at each threshold, weighted by the recall that it adds; no interpolation.

    Arguments and errors as `roc_curve`.

    Returns:
      A float, or float64 [...]; NaN without positives.

    Example:
      >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
      0.8333
    """
    precision, recall, _ = precision_recall_curve(y_true, y_score, sample_weight)
    return scalar((np.diff(recall, axis=-1) * precision[..., 1:]).sum(axis=-1))


def cumulative_counts(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives, [..., k + 1], at `roc_curve`'s thresholds, [k + 1]."""
    truth, score, weight = checked(y_true, y_score, sample_weight)
    order = np.argsort(-score, kind="stable")
    score, truth, weight = score[order], truth[order], weight[..., order]
    last_of_ties = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    zero = np.zeros((*weight.shape[:-1], 1))
    true = np.cumsum(weight * truth, axis=-1)[..., last_of_ties]
    false = np.cumsum(weight * ~truth, axis=-1)[..., last_of_ties]
    return (
        np.concatenate([zero, true], axis=-1),
        np.concatenate([zero, false], axis=-1),
        np.concatenate([[np.inf], score[last_of_ties]]),
    )
