"""Probabilities -> decisions: thresholds, and what they lead to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import checked, ratio, scalar
from ich_tf.metrics.ranking import roc_curve


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions, or sums of their weights: floats, or float64 [...].

    Attributes:
      true_positives, false_positives, false_negatives, true_negatives: By truth and decision.
    """

    true_positives: np.ndarray | float
    false_positives: np.ndarray | float
    false_negatives: np.ndarray | float
    true_negatives: np.ndarray | float

    @property
    def sensitivity(self) -> np.ndarray | float:
        """Share of the positives that are found; NaN without any."""
        found = np.asarray(self.true_positives)
        return scalar(ratio(found, found + self.false_negatives))

    @property
    def specificity(self) -> np.ndarray | float:
        """Share of the negatives that are left alone; NaN without any."""
        left = np.asarray(self.true_negatives)
        return scalar(ratio(left, left + self.false_positives))


def confusion(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: float,
    sample_weight: ArrayLike | None = None,
) -> Confusion:
    """Counts decisions; a score at or above the threshold is one for positive.

    Args:
      y_true: [n], 0 or 1.
      y_score: [n].
      threshold: Of the scores.
      sample_weight: [n], or [..., n] for counts [...], 0 or more.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Example:
      >>> found = confusion([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], threshold=0.4)
      >>> found.sensitivity, found.specificity
      (0.5, 0.5)
    """
    truth, score, weight = checked(y_true, y_score, sample_weight)
    positive = score >= threshold
    masks = (truth & positive, ~truth & positive, truth & ~positive, ~truth & ~positive)
    return Confusion(*(scalar(weight @ mask.astype(np.float64)) for mask in masks))


def choose_threshold(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
) -> float:
    """A threshold for `confusion`, chosen among the scores.

    With neither target the one that maximises sensitivity + specificity - 1 (Youden 1950,
    doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3).

    Args:
      y_true: [n], 0 or 1.
      y_score: [n].
      sensitivity: The greatest threshold that reaches it is chosen, hence the best specificity.
      specificity: The least threshold that reaches it is chosen; infinity where none does.

    Returns:
      The threshold; NaN if there are no positives or no negatives.

    Raises:
      ValueError: If both targets are given or one is out of (0, 1], and as `roc_curve`.

    Example:
      >>> y_true, y_score = [0, 0, 1, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.7, 0.8, 0.9]
      >>> choose_threshold(y_true, y_score)
      0.7
      >>> choose_threshold(y_true, y_score, sensitivity=0.95)
      0.3
      >>> choose_threshold(y_true, y_score, specificity=0.95)
      0.7
    """
    if sensitivity is not None and specificity is not None:
        raise ValueError("sensitivity and specificity are both given; a threshold meets one.")
    for target in (sensitivity, specificity):
        if target is not None and not 0 < target <= 1:
            raise ValueError(f"the target is {target}; it must be in (0, 1].")
    fpr, tpr, thresholds = roc_curve(y_true, y_score)
    if np.isnan(fpr).any() or np.isnan(tpr).any():
        return float("nan")
    if sensitivity is not None:
        return float(thresholds[np.argmax(tpr >= sensitivity - _ROUNDING)])
    if specificity is not None:
        return float(thresholds[np.flatnonzero(1 - fpr >= specificity - _ROUNDING)[-1]])
    return float(thresholds[np.argmax(tpr - fpr)])


def predictive_values(
    sensitivity: ArrayLike, specificity: ArrayLike, prevalence: float
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """Positive and negative predictive value where the disease has that prevalence.

    Args:
      sensitivity: [...], in [0, 1] or NaN.
      specificity: Likewise.
      prevalence: In [0, 1].

    Returns:
      Both [...]; NaN where no decision would be positive, or negative.

    Raises:
      ValueError: If the prevalence is out of range.

    Example:
      >>> ppv, npv = predictive_values(0.9, 0.8, prevalence=0.1)
      >>> round(ppv, 4), round(npv, 4)
      (0.3333, 0.9863)
    """
    if not 0 <= prevalence <= 1:
        raise ValueError(f"prevalence is {prevalence}; it must be in [0, 1].")
    found, left = np.asarray(sensitivity, np.float64), np.asarray(specificity, np.float64)
    true, missed = found * prevalence, (1 - found) * prevalence
    alarms, quiet = (1 - left) * (1 - prevalence), left * (1 - prevalence)
    return scalar(ratio(true, true + alarms)), scalar(ratio(quiet, quiet + missed))


# 19 of 20 is not quite 0.95 in binary.
_ROUNDING = 1e-12
