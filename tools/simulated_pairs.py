"""Simulated patients that two models predict, and how often an interval covers the true difference.

How ill a patient is moves all of their labels and both models' logits; so does what makes a patient
or a slice hard for both models.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ich_tf.comparison.differences import compare_pair
from ich_tf.comparison.measures import ALL_CLASSES, MEASURES, WEIGHTED_LOG_LOSS, Measure, statistic
from ich_tf.comparison.pairing import Paired
from ich_tf.labels import CLASSES
from ich_tf.metrics import bootstrap_interval, sigmoid

MEASURED = [
    Measure(metric, ALL_CLASSES if metric == WEIGHTED_LOG_LOSS else "any") for metric in MEASURES
]
_FIRST, _SECOND = "first", "second"
# Patients of whom the true difference is taken.
_TRUTH_PATIENTS, _TRUTH_DRAWS = 5000, 30


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
      level: `slice`, of which a patient has 5 to 20, or `exam`, of which one in five has two.
      num_patients: Number of patients.
      overconfidence: Factor of the second model's logits, after what it has learned.
    """

    level: str
    num_patients: int
    overconfidence: float = 1.0

    @property
    def thresholds(self) -> dict[str, dict[str, float]]:
        """Thresholds of decisions of both models."""
        threshold = 0.35 if self.level == "slice" else 0.45
        return {name: {"any": threshold} for name in (_FIRST, _SECOND)}

    def draw(self, rng: np.random.Generator, num_patients: int = 0) -> Paired:
        """Draws patients; as many as the scenario has, or another number."""
        number = num_patients or self.num_patients
        of_slices = self.level == "slice"
        sizes = rng.integers(5, 21, number) if of_slices else 1 + (rng.uniform(size=number) < 0.2)
        patient = np.repeat(np.arange(number), sizes)

        def noise(by_patient: float, by_slice: float) -> np.ndarray:
            shape = (len(CLASSES),)
            whole = rng.normal(0, by_patient, (number, *shape))[patient]
            return whole + rng.normal(0, by_slice, (len(patient), *shape))

        severity = (-2.0 if of_slices else -0.7) + noise(1.5, 0.7)
        shared = noise(0.5, 0.6)
        first = 0.7 * severity + shared + noise(0.4, 0.6)
        second = self.overconfidence * (0.8 * severity + shared + noise(0.3, 0.5))
        return Paired(
            np.arange(len(patient)).astype(str),
            patient.astype(str),
            (rng.uniform(size=severity.shape) < sigmoid(severity)).astype(np.float64),
            {_FIRST: sigmoid(first), _SECOND: sigmoid(second)},
        )


@dataclasses.dataclass
class Coverage:
    """How often intervals of a metric cover the true difference.

    Attributes:
      num_pairs: Number of simulated pairs that have an interval.
      covered: Number of them whose interval covers the true difference.
      covered_by_percentiles: The same of percentile intervals of the same resamples.
    """

    num_pairs: int = 0
    covered: int = 0
    covered_by_percentiles: int = 0

    @property
    def shares(self) -> tuple[float, float]:
        """Share of the intervals that cover, and of percentile intervals."""
        number = max(1, self.num_pairs)
        return self.covered / number, self.covered_by_percentiles / number


def measure_coverage(
    scenario: Scenario,
    *,
    num_pairs: int,
    num_resamples: int,
    seed: int = 0,
    measures: Sequence[Measure] = MEASURED,
    with_percentiles: bool = True,
) -> dict[Measure, Coverage]:
    """Simulates pairs of models and counts the intervals that cover the true difference.

    Args:
      scenario: What is simulated.
      num_pairs: Number of pairs.
      num_resamples: Number of resamples of each.
      seed: Seed of the simulation.
      measures: Metrics.
      with_percentiles: Whether to count percentile intervals as well, in twice the time.
    """
    rng = np.random.default_rng(seed)
    truth = np.mean(
        [
            _differences(scenario, scenario.draw(rng, _TRUTH_PATIENTS), measures)
            for _ in range(_TRUTH_DRAWS)
        ],
        axis=0,
    )
    counts = {measure: Coverage() for measure in measures}
    for number in range(num_pairs):
        paired = scenario.draw(rng)
        found = compare_pair(
            paired, _SECOND, _FIRST, measures,
            thresholds=scenario.thresholds, margins={}, num_resamples=num_resamples, seed=number,
        )  # fmt: skip
        if with_percentiles:
            percentiles = bootstrap_interval(
                functools.partial(_differences, scenario, paired, measures),
                paired.patients,
                num_resamples=num_resamples,
                seed=number,
            )
        for i, (measure, each) in enumerate(zip(measures, found, strict=True)):
            if each.low is None or each.high is None:
                continue
            counts[measure].num_pairs += 1
            counts[measure].covered += each.low <= truth[i] <= each.high
            if with_percentiles:
                low, high = percentiles.low[i], percentiles.high[i]
                counts[measure].covered_by_percentiles += bool(low <= truth[i] <= high)
    return counts


def _differences(
    scenario: Scenario,
    paired: Paired,
    measures: Sequence[Measure],
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Differences of the metrics, [b, k] for weights [b, n]; [k] for the examples as they are."""
    once = np.ones((1, len(paired.ids))) if weight is None else weight
    values = [
        np.stack(
            [
                statistic(each, paired.labels, paired.probabilities[name], at)(once)
                for each in measures
            ],
            axis=-1,
        )
        for name, at in scenario.thresholds.items()
    ]
    difference = values[1] - values[0]
    return np.asarray(difference if weight is not None else difference[0])
