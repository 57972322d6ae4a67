"""Decision curves: what acting on a model's probabilities gains over acting on all or nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.scores import IntervalEstimate, count_patients, estimate
from ich_tf.inference.postprocessing.aggregation import Scored
from ich_tf.inference.postprocessing.exam_level import exam_level, known_examples
from ich_tf.labels import CLASSES

# Probabilities from which one acts. Those of tables are a few that a reader may have in mind.
THRESHOLDS = np.arange(1, 100) / 100
SHOWN = (0.02, 0.05, 0.1, 0.2, 0.5)


@dataclasses.dataclass(frozen=True)
class Gain:
    """Net benefit at one threshold.

    Attributes:
      threshold: Probability from which one acts.
      net_benefit: Of acting on the model's probabilities.
      of_all: Net benefit of acting on every exam.
      gain: The model's net benefit minus that of acting on every exam or on none, whichever is the
        greater: less than 0 if the model is worse than no model.
    """

    threshold: float
    net_benefit: IntervalEstimate
    of_all: float
    gain: IntervalEstimate


@dataclasses.dataclass(frozen=True)
class DecisionCurve:
    """Net benefit of a class's probabilities over thresholds, with pointwise 95 % intervals.

    Attributes:
      level: Level of the exams (`aggregation.LEVELS`).
      name: Class.
      number, positives, num_patients: Numbers of exams with a known label, of those that show the
        class, and of their patients.
      thresholds: Probabilities from which one acts.
      net_benefit, low, high: Net benefit of the model and the ends of its interval, by threshold;
        None where there is no interval.
      of_all: Net benefit of acting on every exam; that of acting on none is 0.
      gains: Values of the thresholds `SHOWN`.
    """

    level: str
    name: str
    number: int
    positives: int
    num_patients: int
    thresholds: list[float]
    net_benefit: list[float | None]
    low: list[float | None]
    high: list[float | None]
    of_all: list[float]
    gains: list[Gain]


def decision_curves(levels: Mapping[str, Scored], num_resamples: int) -> list[DecisionCurve]:
    """Computes the decision curve of each class that some exam shows.

    The share of exams with a bleed is that of the split; the curves hold for such patients.

    Args:
      levels: Level -> labels and probabilities, as `aggregation.at_levels` returns them.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.
    """
    level = exam_level(levels)
    curves: list[DecisionCurve] = []
    if level not in levels:
        return curves
    for column, name in enumerate(CLASSES):
        truth, prob, patients = known_examples(levels[level], column)
        if truth.any():
            curves.append(_curve(level, name, truth, prob, patients, num_resamples))
    return curves


def _curve(
    level: str,
    name: str,
    truth: np.ndarray,
    prob: np.ndarray,
    patients: np.ndarray,
    num_resamples: int,
) -> DecisionCurve:
    def statistics(weight: np.ndarray) -> np.ndarray:
        of_model = np.asarray(metrics.net_benefit(truth, prob, THRESHOLDS, weight))
        of_all = np.asarray(metrics.net_benefit_of_all(truth, THRESHOLDS, weight))
        return np.concatenate([of_model, of_model - np.maximum(of_all, 0)], axis=-1)

    estimates = estimate(statistics, patients, num_resamples)
    of_model, gains = estimates[: len(THRESHOLDS)], estimates[len(THRESHOLDS) :]
    of_all = np.asarray(metrics.net_benefit_of_all(truth, THRESHOLDS)).tolist()
    shown = [int(np.argmin(abs(THRESHOLDS - threshold))) for threshold in SHOWN]
    return DecisionCurve(
        level=level,
        name=name,
        number=len(truth),
        positives=int(truth.sum()),
        num_patients=count_patients(patients, truth)[0],
        thresholds=THRESHOLDS.tolist(),
        net_benefit=[value.value for value in of_model],
        low=[value.low for value in of_model],
        high=[value.high for value in of_model],
        of_all=of_all,
        gains=[Gain(float(THRESHOLDS[at]), of_model[at], of_all[at], gains[at]) for at in shown],
    )
