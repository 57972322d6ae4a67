"""The metrics of a comparison: functions of weights, for labels of which some are unknown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ich_tf import metrics
from ich_tf.labels import CLASSES, WEIGHTS
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.metrics.log_loss import EPSILON

WEIGHTED_LOG_LOSS, SENSITIVITY, SPECIFICITY = "weighted_log_loss", "sensitivity", "specificity"
# Metric -> whether more is better.
MEASURES = {
    WEIGHTED_LOG_LOSS: False,
    "log_loss": False,
    "roc_auc": True,
    "average_precision": True,
    "brier_score": False,
    SENSITIVITY: True,
    SPECIFICITY: True,
}
# Metrics of decisions, which need a threshold.
OF_DECISIONS = (SENSITIVITY, SPECIFICITY)
ALL_CLASSES = "all"

# Weights, float64 [b, n] -> metric of each sample, float64 [b].
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Measure:
    """A metric of a class.

    Attributes:
      metric: One of `MEASURES`.
      class_name: Class; `ALL_CLASSES` for the weighted log loss.
    """

    metric: str
    class_name: str

    @property
    def title(self) -> str:
        """Words for a table, such as `ROC AUC of any`."""
        words = self.metric.replace("_", " ").replace("roc auc", "ROC AUC")
        words = words.replace("brier", "Brier")
        return words if self.class_name == ALL_CLASSES else f"{words} of {self.class_name}"


def statistic(
    measure: Measure,
    labels: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Mapping[str, float],
) -> Statistic:
    """Makes the function that scores samples of the examples.

    Log losses and Brier scores take labels as they are, shares of readers included; where a yes or
    no is needed, a label counts as positive from 0.5 on.

    Args:
      measure: Metric and class.
      labels: float64 [n, 6], in [0, 1]; NaN where unknown.
      probabilities: float64 [n, 6], in [0, 1].
      thresholds: Class -> least probability of a positive decision.

    Returns:
      Function of weights; what it returns is NaN where the metric is not defined.
    """
    if measure.metric == WEIGHTED_LOG_LOSS:
        return _weighted_log_loss(labels, probabilities)
    column = CLASSES.index(measure.class_name)
    known = ~np.isnan(labels[:, column])
    share, prob = labels[known, column], probabilities[known, column]
    if not known.any():
        return lambda weight: np.full(len(weight), np.nan)
    truth = share >= POSITIVE_SHARE
    if measure.metric in ("log_loss", "brier_score"):
        is_loss = measure.metric == "log_loss"
        values = _log_loss(share, prob) if is_loss else np.square(prob - share)
        return lambda weight: _mean(values, weight[:, known])
    if measure.metric in OF_DECISIONS:
        threshold = thresholds[measure.class_name]
        # The rate of right decisions, of the positives or of the negatives.
        counted = truth if measure.metric == SENSITIVITY else ~truth
        right = (prob >= threshold) == truth
        return lambda weight: _mean(right.astype(np.float64), weight[:, known] * counted)
    function = metrics.roc_auc if measure.metric == "roc_auc" else metrics.average_precision
    return lambda weight: np.asarray(function(truth, prob, weight[:, known]))


def count_patients(measure: Measure, labels: np.ndarray, patients: np.ndarray) -> int:
    """Number of patients that a metric rests on.

    Those with the class for a sensitivity, those without for a specificity, and the fewer of both
    for what ranks one above the other.
    """
    if measure.metric == WEIGHTED_LOG_LOSS:
        return len(set(patients[~np.isnan(labels).all(axis=1)]))
    labels = labels[:, CLASSES.index(measure.class_name)]
    positive = len(set(patients[labels >= POSITIVE_SHARE]))
    negative = len(set(patients[labels < POSITIVE_SHARE]))
    return {
        SENSITIVITY: positive,
        SPECIFICITY: negative,
        "roc_auc": min(positive, negative),
        "average_precision": min(positive, negative),
    }.get(measure.metric, len(set(patients[~np.isnan(labels)])))


def _weighted_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> Statistic:
    """The mean over the classes that are known, weighted, of each one's mean over its examples."""
    known = ~np.isnan(labels)
    losses = _log_loss(np.where(known, labels, 0), probabilities) * known
    class_weights = np.asarray(WEIGHTS, np.float64)

    def score(weight: np.ndarray) -> np.ndarray:
        numbers = weight @ known
        means = np.divide(weight @ losses, numbers, out=np.zeros_like(numbers), where=numbers > 0)
        counted = (numbers > 0) * class_weights
        total = counted.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray((means * counted).sum(axis=1) / total)

    return score


def _log_loss(share: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """Log loss against shares of readers, in nats; that of `metrics` where they are 0 or 1."""
    prob = np.clip(prob, EPSILON, 1 - EPSILON)
    return np.asarray(-(share * np.log(prob) + (1 - share) * np.log(1 - prob)))


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Means of values [n] with the weights [b, n]: [b]; NaN where all weights are 0."""
    total = weight.sum(axis=1)
    mean = np.full(len(weight), np.nan)
    return np.asarray(np.divide(weight @ values, total, out=mean, where=total > 0))
