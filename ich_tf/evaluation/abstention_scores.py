"""What abstention came to on a split: exams decided, and the misses among them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ich_tf.inference.postprocessing.abstention import ABSTAIN, NO, YES, Abstention
from ich_tf.inference.postprocessing.aggregation import Scored
from ich_tf.inference.postprocessing.exam_level import known_examples
from ich_tf.labels import CLASSES
from ich_tf.metrics import highest_rate


@dataclasses.dataclass(frozen=True)
class AbstentionScores:
    """Decisions on the exams of a class at one level.

    Attributes:
      level: Level of the exams (`aggregation.LEVELS`).
      name: Class.
      no_below, yes_from: Thresholds that were fitted; None for none.
      number, num_yes, num_no, num_abstain: Numbers of exams with a known label, and of decisions.
      num_positive_patients, num_missed: Numbers of patients with an exam that shows the class, and
        of those of whom one is decided against.
      miss_rate, highest_miss_rate: Share of these patients who are missed, and the greatest rate
        that their number leaves likely (one-sided 95 %); None without such patients.
      num_negative_patients, num_alarmed: Numbers of patients with an exam without the class, and of
        those of whom one is decided for.
      false_alarm_rate, highest_false_alarm_rate: As the miss rates.
    """

    level: str
    name: str
    no_below: float | None
    yes_from: float | None
    number: int
    num_yes: int
    num_no: int
    num_abstain: int
    num_positive_patients: int
    num_missed: int
    miss_rate: float | None
    highest_miss_rate: float | None
    num_negative_patients: int
    num_alarmed: int
    false_alarm_rate: float | None
    highest_false_alarm_rate: float | None

    @property
    def coverage(self) -> float:
        """Share of the exams that are decided, 0 to 1."""
        return 1 - self.num_abstain / self.number


def score_abstention(
    abstention: Abstention | None, levels: Mapping[str, Scored]
) -> list[AbstentionScores]:
    """Counts the decisions of a split, by level and class.

    Args:
      abstention: Thresholds; None for none.
      levels: Level -> labels and probabilities, as `aggregation.at_levels` returns them.
    """
    if abstention is None:
        return []
    scores = []
    for level, by_class in abstention.levels.items():
        for column, name in enumerate(CLASSES):
            if level not in levels:
                continue
            truth, prob, patients = known_examples(levels[level], column)
            if not len(truth):
                continue
            thresholds = by_class[name]
            decisions = np.array([thresholds.decide(value) for value in prob.tolist()])
            positive, missed = _patients(patients, truth == 1, decisions == NO)
            negative, alarmed = _patients(patients, truth == 0, decisions == YES)
            scores.append(
                AbstentionScores(
                    level,
                    name,
                    thresholds.no_below,
                    thresholds.yes_from,
                    len(truth),
                    int((decisions == YES).sum()),
                    int((decisions == NO).sum()),
                    int((decisions == ABSTAIN).sum()),
                    positive,
                    missed,
                    *_rates(missed, positive),
                    negative,
                    alarmed,
                    *_rates(alarmed, negative),
                )
            )
    return scores


def _patients(patients: np.ndarray, rows: np.ndarray, wrong: np.ndarray) -> tuple[int, int]:
    """Numbers of the patients of some exams, and of those of whom one is wrong."""
    return len(set(patients[rows])), len(set(patients[rows & wrong]))


def _rates(wrong: int, number: int) -> tuple[float | None, float | None]:
    return (wrong / number, highest_rate(wrong, number)) if number else (None, None)
