"""Operating points: choice of a threshold, and counts and rates of decisions at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ich_tf.metrics.binary import check_scores, ratio, scalar
from ich_tf.metrics.ranking import roc_curve

# 19 of 20 is not quite 0.95 in binary.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions, or sums of their weights: floats, or float64 [...].

    Attributes:
      true_positives: Positives with a positive decision.
      false_positives: Negatives with a positive decision.
      false_negatives: Positives with a negative decision.
      true_negatives: Negatives with a negative decision.
    """

    true_positives: np.ndarray | float
    false_positives: np.ndarray | float
    false_negatives: np.ndarray | float
    true_negatives: np.ndarray | float

    @property
    def sensitivity(self) -> np.ndarray | float:
        """Share of the positives with a positive decision; NaN without positives."""
        true_positives = np.asarray(self.true_positives)
        return scalar(ratio(true_positives, true_positives + self.false_negatives))

    @property
    def specificity(self) -> np.ndarray | float:
        """Share of the negatives with a negative decision; NaN without negatives."""
        true_negatives = np.asarray(self.true_negatives)
        return scalar(ratio(true_negatives, true_negatives + self.false_positives))


def confusion(
    y_true: ArrayLike,
    y_score: ArrayLike,
    threshold: float,
    sample_weight: ArrayLike | None = None,
) -> Confusion:
    """Counts decisions; a score at or above the threshold is a positive decision.

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n].
      threshold: Smallest score of a positive decision.
      sample_weight: Weights, 0 or more: [n], or [..., n] for counts [...]. None for equal weights.

    Raises:
      ValueError: If shapes differ, or a value is NaN or out of range.

    Examples:
      >>> counts = confusion([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], threshold=0.4)
      >>> counts.sensitivity, counts.specificity
      (0.5, 0.5)
    """
    truth, score, weight = check_scores(y_true, y_score, sample_weight)
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
    """Chooses a threshold for `confusion` among the scores.

    Without a target, the threshold maximises sensitivity + specificity - 1 (Youden 1950,
    doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3).

    Args:
      y_true: Labels [n], 0 or 1.
      y_score: Scores [n].
      sensitivity: Target in (0, 1]: the greatest threshold that reaches it is chosen, which has the
        best specificity. None for no target.
      specificity: Target in (0, 1]: the least threshold that reaches it is chosen, or infinity if
        no score does. None for no target.

    Returns:
      The threshold; NaN if there are no positives or no negatives.

    Raises:
      ValueError: If both targets are given or one is out of (0, 1]; or if shapes differ, or a value
        is NaN or out of range.

    Examples:
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
    """Computes positive and negative predictive value at a prevalence of the disease.

    Args:
      sensitivity: Sensitivity [...], in [0, 1] or NaN.
      specificity: Specificity [...], in [0, 1] or NaN.
      prevalence: Share of the patients with the disease, in [0, 1].

    Returns:
      Positive and negative predictive value, each a float, or float64 [...]; NaN if no decision
      would be positive, or negative.

    Raises:
      ValueError: If the prevalence is out of range.

    Examples:
      >>> ppv, npv = predictive_values(0.9, 0.8, prevalence=0.1)
      >>> round(ppv, 4), round(npv, 4)
      (0.3333, 0.9863)
    """
    if not 0 <= prevalence <= 1:
        raise ValueError(f"prevalence is {prevalence}; it must be in [0, 1].")
    tpr, tnr = np.asarray(sensitivity, np.float64), np.asarray(specificity, np.float64)
    true_positives, false_negatives = tpr * prevalence, (1 - tpr) * prevalence
    false_positives, true_negatives = (1 - tnr) * (1 - prevalence), tnr * (1 - prevalence)
    return (
        scalar(ratio(true_positives, true_positives + false_positives)),
        scalar(ratio(true_negatives, true_negatives + false_negatives)),
    )
