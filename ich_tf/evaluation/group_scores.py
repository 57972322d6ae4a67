"""Scores of any bleed in the groups of a CSV, for exams and for slices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.scores import LEAST_PATIENTS, IntervalEstimate, count_patients, estimate
from ich_tf.inference.forward import LabelledSlices
from ich_tf.inference.postprocessing.aggregation import SLICE, Scored
from ich_tf.inference.postprocessing.exam_level import exam_level, known_examples
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, Postprocessing
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics.log_loss import binary_log_loss

ALL = "all"
_SEVERAL = "several"


@dataclasses.dataclass(frozen=True)
class GroupScores:
    """Scores of any bleed among the exams or slices of a group.

    Attributes:
      column: Column of the CSV.
      group: Value in it; `all` in the column `all` for all of the split.
      level: Level (`aggregation.LEVELS`): of exams, or `slice`.
      number: Number of exams or slices with a known label.
      num_patients, num_positive_patients, num_negative_patients: Numbers of all their patients, of
        those with a bleed in one, and of those with one without.
      positives: Number of exams or slices with any bleed.
      log_loss: Log loss of any bleed.
      roc_auc: Area under the ROC curve.
      sensitivity, specificity: At the operating point of validation patients, 0 to 1.
    """

    column: str
    group: str
    level: str
    number: int
    num_patients: int
    num_positive_patients: int
    num_negative_patients: int
    positives: int
    log_loss: IntervalEstimate
    roc_auc: IntervalEstimate
    sensitivity: IntervalEstimate
    specificity: IntervalEstimate

    @property
    def is_small(self) -> bool:
        """Whether patients with or without a bleed are too few for intervals."""
        return min(self.num_positive_patients, self.num_negative_patients) < LEAST_PATIENTS


def score_groups(
    groups: Mapping[str, Sequence[str]],
    slices: LabelledSlices,
    levels: Mapping[str, Scored],
    postprocessing: Postprocessing,
    num_resamples: int,
) -> list[GroupScores]:
    """Scores each group, and all together first.

    An exam whose slices are in several groups is in the group `several`.

    Args:
      groups: Column -> group of each slice of the split, [n].
      slices: Labels and series of these slices.
      levels: Level -> labels and probabilities, as `aggregation.at_levels` returns them of the
        slices: those with a known label.
      postprocessing: Postprocessing with the operating points.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.
    """
    scores = []
    for level in (exam_level(levels), SLICE):
        if level not in levels:
            continue
        threshold = postprocessing.threshold(level, CLASSES[ANY], DEFAULT_POINT)
        columns = {ALL: np.full(len(levels[level]), ALL)}
        columns.update(
            {
                column: _at_level(np.asarray(of_slices), slices, level)
                for column, of_slices in groups.items()
            }
        )
        for column, values in columns.items():
            for group in sorted(set(values.tolist())):
                part = _part(levels[level], values == group)
                score = _score(column, group, level, part, threshold, num_resamples)
                scores += [score] if score is not None else []
    return scores


def _at_level(groups: np.ndarray, slices: LabelledSlices, level: str) -> np.ndarray:
    """Group of each slice or exam with a known label, from those of all slices."""
    if level == SLICE:
        return np.asarray(groups[~np.isnan(slices.labels).all(axis=1)])
    exams = list(rows_of(slices.series_key).values())
    known = [rows for rows in exams if not np.isnan(slices.exam_labels[rows[0]]).all()]
    return np.array(
        [groups[rows[0]] if (groups[rows] == groups[rows[0]]).all() else _SEVERAL for rows in known]
    )


def _part(scored: Scored, rows: np.ndarray) -> Scored:
    patients = np.asarray(scored.patients)[rows]
    return dataclasses.replace(
        scored,
        labels=scored.labels[rows],
        probabilities=scored.probabilities[rows],
        patients=patients,
    )


def _score(
    column: str,
    group: str,
    level: str,
    scored: Scored,
    threshold: float | None,
    num_resamples: int,
) -> GroupScores | None:
    """Scores of a group; None if no label of it is known."""
    truth, prob, patients = known_examples(scored, ANY)
    if not len(truth):
        return None
    losses = binary_log_loss(truth, prob)

    def statistics(weight: np.ndarray) -> np.ndarray:
        columns = [weight @ losses / weight.sum(axis=-1), metrics.roc_auc(truth, prob, weight)]
        if threshold is None:
            columns += [np.full(len(weight), np.nan)] * 2
        else:
            decisions = metrics.confusion(truth, prob, threshold, weight)
            columns += [decisions.sensitivity, decisions.specificity]
        return np.stack([np.asarray(values) for values in columns], axis=-1)

    number, positive, negative = count_patients(patients, truth)
    numbers = [number, min(positive, negative), positive, negative]
    return GroupScores(
        column,
        group,
        level,
        len(truth),
        number,
        positive,
        negative,
        int(truth.sum()),
        *estimate(statistics, patients, num_resamples, numbers),
    )
