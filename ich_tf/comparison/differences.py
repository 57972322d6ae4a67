"""Differences between a model and the reference: intervals, and what they show at a margin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf import metrics
from ich_tf.comparison.measures import (
    MEASURES,
    OF_DECISIONS,
    Measure,
    Statistic,
    count_patients,
    statistic,
)
from ich_tf.comparison.pairing import Paired
from ich_tf.evaluation.scores import FEW_PATIENTS, LEAST_PATIENTS, defined

_LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """A metric of a model and of the reference, and their difference.

    Attributes:
      model, reference: Names of the models.
      metric: Metric, one of `measures.MEASURES`.
      class_name: Class, or `all`.
      model_value, reference_value: Metric of each; None where it is not defined.
      difference: That of the model minus that of the reference.
      low, high: Ends of the 95 % interval; None if there is none.
      num_patients: Number of patients that the interval rests on.
      margin: Largest loss that still counts as non-inferior, 0 or more; None without one.
      verdict: What the interval shows.
    """

    model: str
    reference: str
    metric: str
    class_name: str
    model_value: float | None
    reference_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    num_patients: int
    margin: float | None
    verdict: str

    def text(self, digits: int = 4) -> str:
        """The difference with its interval, such as `+0.0120 [-0.0040, +0.0280]`."""
        if self.difference is None:
            return "undefined"
        few = f"; {self.num_patients} patients" if self.num_patients < FEW_PATIENTS else ""
        interval = "no interval"
        if self.low is not None and self.high is not None:
            interval = f"{self.low:+.{digits}f}, {self.high:+.{digits}f}"
        return f"{self.difference:+.{digits}f} [{interval}{few}]"


def compare_pair(
    paired: Paired,
    model: str,
    reference: str,
    measures: Sequence[Measure],
    *,
    thresholds: Mapping[str, Mapping[str, float]],
    margins: Mapping[str, float],
    num_resamples: int,
    seed: int,
) -> list[Difference]:
    """Compares a model with the reference by each metric, on the same resampled patients.

    Args:
      paired: Predictions of all models.
      model: Name of the model.
      reference: Name of the reference.
      measures: Metrics and classes.
      thresholds: Name of a model -> class -> threshold.
      margins: Metric -> margin.
      num_resamples: Number of resamples of the patients.
      seed: Seed of the resampling.
    """
    if not measures:
        return []
    numbers = [count_patients(each, paired.labels, paired.patients) for each in measures]

    def scores(name: str) -> Statistic:
        functions = [
            statistic(each, paired.labels, paired.probabilities[name], thresholds.get(name, {}))
            for each in measures
        ]
        return lambda weight: np.stack([function(weight) for function in functions], axis=-1)

    compared = metrics.paired_bootstrap(
        scores(reference),
        scores(model),
        paired.patients,
        num_groups=numbers,
        num_resamples=num_resamples,
        level=_LEVEL,
        seed=seed,
    )
    found = []
    for i, (measure, number) in enumerate(zip(measures, numbers, strict=True)):
        first, second, difference, low, high = (
            float(column[i])
            for column in (
                compared.first,
                compared.second,
                compared.difference,
                compared.low,
                compared.high,
            )
        )
        if measure.metric in OF_DECISIONS and difference == 0 and math.isnan(low) and number:
            # No resample differs. That none of n patients is decided otherwise leaves, at 2.5 %,
            # this share of all patients of whom that is true.
            high = 1 - ((1 - _LEVEL) / 2) ** (1 / number)
            low = -high
        if number < LEAST_PATIENTS:
            low = high = math.nan
        margin = margins.get(measure.metric)
        found.append(
            Difference(
                model=model,
                reference=reference,
                metric=measure.metric,
                class_name=measure.class_name,
                model_value=defined(second),
                reference_value=defined(first),
                difference=defined(difference),
                low=defined(low),
                high=defined(high),
                num_patients=number,
                margin=margin,
                verdict=verdict(low, high, margin, more_is_better=MEASURES[measure.metric]),
            )
        )
    return found


def verdict(low: float, high: float, margin: float | None, *, more_is_better: bool) -> str:
    """What an interval of a difference shows.

    Args:
      low: Lower end of the interval; NaN without one.
      high: Upper end.
      margin: Largest loss that still counts as non-inferior; None without one.
      more_is_better: Whether a greater value of the metric is better.

    Examples:
      >>> verdict(-0.01, 0.03, 0.02, more_is_better=True)
      'non-inferior'
      >>> verdict(-0.03, 0.03, 0.02, more_is_better=True)
      'non-inferiority not shown'
    """
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    worst, best = (low, high) if more_is_better else (-high, -low)
    if margin is None:
        return "better" if worst > 0 else "worse" if best < 0 else "no difference shown"
    if worst > 0:
        return "non-inferior, and better"
    if worst > -margin:
        return "non-inferior, though worse" if best < 0 else "non-inferior"
    if best < -margin:
        return "inferior"
    return "worse, and non-inferiority not shown" if best < 0 else "non-inferiority not shown"
