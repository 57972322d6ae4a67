"""Labels and probabilities -> scores with intervals, for things of one level."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ich_tf import metrics
from ich_tf.inference.postprocessing.aggregation import Scored
from ich_tf.labels import CLASSES
from ich_tf.metrics.log_loss import binary_log_loss


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, by resampling patients; None where it is not defined.

    Attributes:
      value: The number.
      low, high: The interval's ends.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    def text(self, digits: int = 3) -> str:
        """`0.912 [0.880, 0.938]`, or `undefined`."""
        if self.value is None:
            return "undefined"
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return f"{self.value:.{digits}f}{interval}"


@dataclasses.dataclass(frozen=True)
class PointScores:
    """Decisions at one threshold.

    Attributes:
      threshold: At or above it a probability is a decision for the class.
      true_positives, false_positives, false_negatives, true_negatives: Counts.
      sensitivity, specificity: Shares of the positives and of the negatives.
      ppv, npv: Predictive values at the evaluation's prevalence of the class.
    """

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """The scores of a class at one level.

    Attributes:
      positives: Of `number`.
      number: Slices, series or patients.
      prevalence: That predictive values are for.
      log_loss: Unweighted.
      constant_log_loss: Of a predictor that says the same of everything.
      roc_auc, average_precision, brier_score, calibration_error: As of `ich_tf.metrics`.
      points: Rule -> decisions at its threshold; rules without a threshold are missing.
    """

    positives: int
    number: int
    prevalence: float
    log_loss: Estimate
    constant_log_loss: float
    roc_auc: Estimate
    average_precision: Estimate
    brier_score: Estimate
    calibration_error: Estimate
    points: dict[str, PointScores]


@dataclasses.dataclass(frozen=True)
class LevelScores:
    """The scores of one level.

    Attributes:
      level: One of `levels.LEVELS`.
      number: Slices, series or patients.
      num_patients: Whose they are.
      weighted_log_loss: The challenge's.
      constant_loss: The same of a constant predictor.
      classes: Class -> its scores.
    """

    level: str
    number: int
    num_patients: int
    weighted_log_loss: Estimate
    constant_loss: float
    classes: dict[str, ClassScores]


def score_level(
    level: str,
    scored: Scored,
    *,
    constant: np.ndarray,
    thresholds: Mapping[str, Mapping[str, float | None]],
    prevalence: np.ndarray,
    num_resamples: int,
) -> LevelScores:
    """Scores things of one level.

    Args:
      level: One of `levels.LEVELS`.
      scored: The things.
      constant: float [6], what the constant predictor says.
      thresholds: Rule -> class -> threshold, or None.
      prevalence: float [6], of each class, that predictive values are for.
      num_resamples: Of the bootstrap; 0 leaves the intervals undefined.
    """
    labels, probabilities = scored.labels, scored.probabilities
    per_image = metrics.per_image_log_loss(labels, probabilities)
    classes = {}
    for i, name in enumerate(CLASSES):
        given = {rule: by_class.get(name) for rule, by_class in thresholds.items()}
        classes[name] = _score_class(
            labels[:, i],
            probabilities[:, i],
            scored.patients,
            {rule: value for rule, value in given.items() if value is not None},
            constant=float(constant[i]),
            prevalence=float(prevalence[i]),
            num_resamples=num_resamples,
        )
    return LevelScores(
        level=level,
        number=len(scored),
        num_patients=len(set(scored.patients)),
        weighted_log_loss=estimate(
            lambda weight: _mean(per_image, weight)[:, None], scored.patients, num_resamples
        )[0],
        constant_loss=metrics.weighted_log_loss(labels, np.broadcast_to(constant, labels.shape)),
        classes=classes,
    )


def _score_class(
    truth: np.ndarray,
    prob: np.ndarray,
    patients: np.ndarray,
    thresholds: Mapping[str, float],
    *,
    constant: float,
    prevalence: float,
    num_resamples: int,
) -> ClassScores:
    losses = binary_log_loss(truth, prob)

    def statistics(weight: np.ndarray) -> np.ndarray:
        columns = [
            _mean(losses, weight),
            metrics.roc_auc(truth, prob, weight),
            metrics.average_precision(truth, prob, weight),
            metrics.brier_score(truth, prob, weight),
            metrics.expected_calibration_error(truth, prob, weight),
        ]
        for threshold in thresholds.values():
            found = metrics.confusion(truth, prob, threshold, weight)
            columns += [found.sensitivity, found.specificity]
            columns += metrics.predictive_values(found.sensitivity, found.specificity, prevalence)
        return np.stack([np.asarray(column) for column in columns], axis=-1)

    log_loss, auc, precision, brier, ece, *rest = estimate(statistics, patients, num_resamples)
    points = {}
    for number, (rule, threshold) in enumerate(thresholds.items()):
        found = metrics.confusion(truth, prob, threshold)
        points[rule] = PointScores(
            threshold,
            int(found.true_positives),
            int(found.false_positives),
            int(found.false_negatives),
            int(found.true_negatives),
            *rest[4 * number : 4 * number + 4],
        )
    return ClassScores(
        positives=int(truth.sum()),
        number=len(truth),
        prevalence=prevalence,
        log_loss=log_loss,
        constant_log_loss=float(binary_log_loss(truth, np.full(len(truth), constant)).mean()),
        roc_auc=auc,
        average_precision=precision,
        brier_score=brier,
        calibration_error=ece,
        points=points,
    )


def estimate(statistics: Any, patients: np.ndarray, num_resamples: int) -> list[Estimate]:
    """Statistics and their intervals.

    Args:
      statistics: (weights [b, n]) -> [b, k].
      patients: [n].
      num_resamples: Of the bootstrap; 0 leaves the intervals undefined.
    """
    values = statistics(np.ones((1, len(patients))))[0]
    if not num_resamples:
        return [Estimate(defined(value)) for value in values]
    interval = metrics.bootstrap_interval(statistics, patients, num_resamples=num_resamples)
    return [
        Estimate(defined(value), defined(low), defined(high))
        for value, low, high in zip(values, interval.low, interval.high, strict=True)
    ]


def defined(value: float) -> float | None:
    """None in place of NaN, which JSON does not have."""
    return float(value) if math.isfinite(value) else None


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of [n], weighted by [b, n] -> [b]."""
    return np.asarray(weight @ values / weight.sum(axis=-1))
