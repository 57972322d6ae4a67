"""Ranking of positives above negatives: ROC and precision-recall curves, and their areas.

Each function takes the weights of one sample, [n], or of many at once, [..., n]: the scores are
sorted once for all samples of a bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import check_scores, ratio, scalar


def roc_curve(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes false and true positive rates at falling thresholds.

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n]; greater means positive.
      sample_weight: Weights, 0 or more: [n], or [..., n] for a curve of each row. None for equal
        weights.

    Returns:
      False positive rate and true positive rate, float64 [..., k + 1] from 0 to 1, NaN without
      negatives or positives; and the thresholds, [k + 1]: infinity, then the distinct scores from
      the greatest down. A score at or above the threshold is a positive decision.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> fpr, tpr, thresholds = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
      >>> fpr.tolist(), tpr.tolist(), thresholds.tolist()
      ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0], [inf, 0.8, 0.4, 0.35, 0.1])
    """
    true, false, thresholds = cumulative_counts(y_true, y_score, sample_weight)
    return ratio(false, false[..., -1:]), ratio(true, true[..., -1:]), thresholds


def roc_auc(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """Computes the area under the ROC curve.

    The area is the share of (positive, negative) pairs in which the positive has the greater score;
    ties count half.

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n]; greater means positive.
      sample_weight: Weights, 0 or more: [n], or [..., n] for a value of each row. None for equal
        weights.

    Returns:
      A float, or float64 [...]; NaN without positives or negatives.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
      0.75
    """
    fpr, tpr, _ = roc_curve(y_true, y_score, sample_weight)
    steps = np.diff(fpr) * (tpr[..., 1:] + tpr[..., :-1])
    return scalar(steps.sum(axis=-1) / 2)


def precision_recall_curve(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes precision and recall at falling thresholds.

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n]; greater means positive.
      sample_weight: Weights, 0 or more: [n], or [..., n] for a curve of each row. None for equal
        weights.

    Returns:
      Precision and recall, float64 [..., k + 1], from precision 1 and recall 0; NaN without
      positives; and the thresholds, [k + 1]: infinity, then the distinct scores from the greatest
      down.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> precision, recall, _ = precision_recall_curve([0, 1, 1], [0.1, 0.4, 0.8])
      >>> recall.tolist()
      [0.0, 0.5, 1.0, 1.0]
    """
    true, false, thresholds = cumulative_counts(y_true, y_score, sample_weight)
    precision = ratio(true, true + false)
    # Above a sample's greatest score no decision is positive: the curve begins at 1.
    precision = np.where(true + false == 0, 1.0, precision)
    precision = np.where(true[..., -1:] > 0, precision, np.nan)
    return precision, ratio(true, true[..., -1:]), thresholds


def average_precision(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None = None
) -> np.ndarray | float:
    """Computes the mean precision over thresholds, weighted by the increase of recall.

    There is no interpolation between thresholds.

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n]; greater means positive.
      sample_weight: Weights, 0 or more: [n], or [..., n] for a value of each row. None for equal
        weights.

    Returns:
      A float, or float64 [...]; NaN without positives.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> round(average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
      0.8333
    """
    precision, recall, _ = precision_recall_curve(y_true, y_score, sample_weight)
    return scalar((np.diff(recall) * precision[..., 1:]).sum(axis=-1))


def cumulative_counts(
    y_true: ArrayLike, y_score: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives, each [..., k + 1], and `roc_curve`'s thresholds, [k + 1]."""
    truth, score, weight = check_scores(y_true, y_score, sample_weight)
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
