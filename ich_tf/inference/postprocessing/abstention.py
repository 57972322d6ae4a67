"""Abstention: exams that are decided, yes or no, and those that are left to people.

The threshold below which an exam is decided against holds a miss rate on new patients who are
exchangeable with those that it was fitted on (`metrics.risk_control`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ich_tf.inference.postprocessing.aggregation import SERIES_MODEL, Scored
from ich_tf.inference.postprocessing.exam_level import SERIES_MAX, known_examples
from ich_tf.labels import CLASSES
from ich_tf.metrics import control_false_alarms, control_misses, least_patients
from ich_tf.runtime.json_types import read_fields

# `postprocessing.DEFAULT_POINT`, whose module imports this one.
_POINT = "youden"
# The least number above a probability of 1 is a threshold, too.
_ROUNDING = 1e-9
YES, NO, ABSTAIN = "yes", "no", "abstain"


@dataclasses.dataclass(frozen=True)
class AbstentionTarget:
    """What abstention is to promise.

    Attributes:
      miss_rate: Largest share of the patients with a class of whom an exam with it is decided
        against, in (0, 1).
      false_alarm_rate: Largest share of the patients with an exam without the class of whom one is
        decided for, in (0, 1); 0 promises none, and decides for exams from Youden's point on.
      confidence: Probability that the promise holds for the thresholds that were fitted, in (0, 1);
        0 for a promise on average over all that could have been.
    """

    miss_rate: float
    false_alarm_rate: float = 0.0
    confidence: float = 0.95

    @property
    def least_patients(self) -> int:
        """Number of patients with a class from which its misses can be limited."""
        return least_patients(rate=self.miss_rate, confidence=self.confidence)

    def describe(self) -> str:
        """Describes the promise, for reports."""
        how = f"with {self.confidence:.0%} confidence" if self.confidence else "on average"
        text = f"{how}, at most {self.miss_rate:.1%} of the patients with a bleed are missed"
        if self.false_alarm_rate:
            text += f", and at most {self.false_alarm_rate:.1%} of those without alarmed"
        return text


@dataclasses.dataclass(frozen=True)
class ClassAbstention:
    """Thresholds of a class at one level; what lies between them is not decided.

    Attributes:
      no_below: Probability below which an exam is decided against; None if none may be, since too
        few patients had the class.
      yes_from: Probability from which an exam is decided for; None if none may be.
      num_positive_patients, num_negative_patients: Numbers of the patients with an exam that shows
        the class, and with one that does not, whom the thresholds were fitted on.
    """

    no_below: float | None
    yes_from: float | None
    num_positive_patients: int
    num_negative_patients: int

    def decide(self, probability: float) -> str:
        """Decides an exam: `yes`, `no` or `abstain`.

        Examples:
          >>> thresholds = ClassAbstention(0.1, 0.6, 80, 100)
          >>> [thresholds.decide(p) for p in (0.05, 0.1, 0.6)]
          ['no', 'abstain', 'yes']
        """
        if self.yes_from is not None and probability >= self.yes_from:
            return YES
        if self.no_below is not None and probability < self.no_below:
            return NO
        return ABSTAIN


@dataclasses.dataclass(frozen=True)
class Abstention:
    """Thresholds of all classes, and what they promise.

    Attributes:
      target: The promise.
      levels: Level of exams (`aggregation.LEVELS`) -> class -> thresholds.
    """

    target: AbstentionTarget
    levels: dict[str, dict[str, ClassAbstention]]

    def decide(self, probabilities: np.ndarray, whole: np.ndarray | None) -> dict[str, str]:
        """Decides an exam for each class.

        Args:
          probabilities: Probabilities of its slices, [n, 6].
          whole: Probabilities of a model that reads it whole, [6]; None without one.
        """
        level, of_exam = SERIES_MAX, probabilities.max(axis=0)
        if whole is not None and SERIES_MODEL in self.levels:
            level, of_exam = SERIES_MODEL, whole
        return {
            name: self.levels[level][name].decide(float(value))
            for name, value in zip(CLASSES, of_exam, strict=True)
        }

    def report(self) -> list[str]:
        """Describes promise and thresholds, a line for each class and level."""
        lines = [f"abstention: {self.target.describe()}, if they are exchangeable with these"]
        least = self.target.least_patients
        for level, by_class in self.levels.items():
            for name, fitted in by_class.items():
                no = _text("no below", fitted.no_below)
                yes = _text("yes from", fitted.yes_from)
                few = (
                    f" (a no takes {least} patients with it)"
                    if fitted.num_positive_patients < least
                    else ""
                )
                lines.append(
                    f"  {level}, {name}: {no}, {yes}; fitted on {fitted.num_positive_patients} "
                    f"patients with it, {fitted.num_negative_patients} without{few}"
                )
        return lines

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Abstention:
        """Reads what `dataclasses.asdict` made of one.

        Raises:
          TypeError, KeyError, ValueError: If the content is something else.
        """
        target = read_fields(AbstentionTarget, content["target"], "target")
        if not (0 < target.miss_rate < 1 and 0 <= target.false_alarm_rate < 1):
            raise ValueError("rates of errors that are out of range")
        if not 0 <= target.confidence < 1:
            raise ValueError("a confidence that is out of range")
        if not {SERIES_MAX} <= content["levels"].keys() <= {SERIES_MAX, SERIES_MODEL}:
            raise ValueError("thresholds of abstention at other levels than those of exams")
        for by_class in content["levels"].values():
            for name in CLASSES:
                fitted = read_fields(ClassAbstention, by_class[name], name)
                for threshold in (fitted.no_below, fitted.yes_from):
                    if not (threshold is None or 0 <= threshold <= 1 + _ROUNDING):
                        raise ValueError("thresholds of abstention that are no probabilities")
        # Numbers stay as they are written, 0 or 0.0: the hash is of their text.
        levels = {
            level: {name: ClassAbstention(**by_class[name]) for name in CLASSES}
            for level, by_class in content["levels"].items()
        }
        return cls(AbstentionTarget(**content["target"]), levels)


def fit_abstention(
    levels: Mapping[str, Scored],
    thresholds: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    target: AbstentionTarget | None,
) -> Abstention | None:
    """Fits the thresholds of all classes, at the levels of exams; None without a target.

    Args:
      levels: Labels and probabilities by level (`aggregation.at_levels`), of patients whom the
        model was not trained on.
      thresholds: Operating points by level, rule and class (`Postprocessing.thresholds`).
      target: What is to be promised.
    """
    if target is None:
        return None
    points = {level: thresholds.get(level, {}).get(_POINT, {}) for level in levels}
    return Abstention(
        target,
        {
            level: {
                name: _fit(levels[level], column, points[level].get(name), target)
                for column, name in enumerate(CLASSES)
            }
            for level in (SERIES_MAX, SERIES_MODEL)
            if level in levels
        },
    )


def _text(answer: str, threshold: float | None) -> str:
    return f"{answer} {threshold:.4f}" if threshold is not None else f"never {answer.split()[0]}"


def _fit(
    scored: Scored, column: int, point: float | None, target: AbstentionTarget
) -> ClassAbstention:
    truth, prob, patients = known_examples(scored, column)
    if not len(truth):
        return ClassAbstention(None, None, 0, 0)
    misses = control_misses(
        truth, prob, patients, rate=target.miss_rate, confidence=target.confidence
    )
    no_below, yes_from = misses.threshold, math.inf if point is None else point
    if target.false_alarm_rate:
        alarms = control_false_alarms(
            truth, prob, patients, rate=target.false_alarm_rate, confidence=target.confidence
        )
        yes_from = alarms.threshold
    if yes_from < no_below:
        # One threshold keeps both promises: anywhere between the two. Nothing is left undecided.
        between = no_below if point is None else min(max(point, yes_from), no_below)
        no_below = yes_from = between
    return ClassAbstention(
        no_below if math.isfinite(no_below) else None,
        yes_from if math.isfinite(yes_from) else None,
        len(set(patients[truth == 1])),
        len(set(patients[truth == 0])),
    )
