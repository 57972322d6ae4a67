"""Uncertainty: whether members of an ensemble agree, and how wrong the model is where they do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.scores import IntervalEstimate, count_patients, estimate
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import Scored
from ich_tf.inference.postprocessing.exam_level import exam_level, known_examples
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, Postprocessing
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.labels import ANY, CLASSES

BY_THRESHOLD = "nearness to the operating point"
BY_MEMBERS = "disagreement of the members"
_COVERAGES = np.arange(1, 101) / 100


@dataclasses.dataclass(frozen=True)
class RiskCoverage:
    """Share of wrong decisions among the exams that an uncertainty leaves, by their share.

    Attributes:
      uncertainty: Name of the uncertainty.
      coverage: Shares of the exams that are kept, the most certain first.
      risk: Share of wrong decisions among them; exams of one uncertainty are kept together.
      area: Mean risk over all coverages (`metrics.area_under_risk_coverage`); less is better.
    """

    uncertainty: str
    coverage: list[float]
    risk: list[float]
    area: IntervalEstimate


@dataclasses.dataclass(frozen=True)
class Agreed:
    """Exams on which all members decide alike, or not.

    Attributes:
      number, num_patients: Numbers of exams and of their patients.
      errors: Number of wrong decisions of the model among them.
      error_rate: Their share.
    """

    number: int
    num_patients: int
    errors: int
    error_rate: IntervalEstimate


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Decisions about any bleed at the operating point, and the uncertainty of each.

    Attributes:
      level: Level of the exams (`aggregation.LEVELS`).
      threshold: Youden's point of the validation patients.
      number, num_patients, errors: Numbers of exams with a known label, of their patients, and of
        wrong decisions.
      num_members: Number of models whose probabilities are averaged.
      curves: Curve of each uncertainty; that of members needs two of them.
      least_area: Area of an uncertainty that puts all errors last: no other is below it.
      agreed, divided: Exams on which all members decide alike, and others; None for one member.
    """

    level: str
    threshold: float
    number: int
    num_patients: int
    errors: int
    num_members: int
    curves: list[RiskCoverage]
    least_area: float
    agreed: Agreed | None
    divided: Agreed | None


def member_exams(
    predictions: SlicePredictions, postprocessing: Postprocessing, group_of_members: Sequence[int]
) -> np.ndarray | None:
    """Probabilities of each exam by each member, as if it were alone.

    A member is calibrated as the group that it belongs to.

    Args:
      predictions: Predictions of a split's slices.
      postprocessing: Steps from logits to probabilities.
      group_of_members: Number of each member's group (`Predictor.group_of_members`).

    Returns:
      float64 [m, e, 6], for the exams of which a label is known, in the order of
      `aggregation.at_levels`; None for a single member.
    """
    of_slices, of_series = predictions.members, predictions.series_members
    if of_slices is None:
        return None
    exams = [
        rows
        for rows in rows_of(predictions.series_key).values()
        if not np.isnan(predictions.exam_labels[rows[0]]).all()
    ]
    found: list[np.ndarray] = []
    for number, group in enumerate(group_of_members):
        alone = dataclasses.replace(
            postprocessing,
            groups=(dataclasses.replace(postprocessing.groups[group], members=(), share=1.0),),
        )
        if of_series is not None:
            whole = alone.series_probabilities(of_series[number][None])
            assert whole is not None
            found.append(np.stack([whole[rows[0]] for rows in exams]))
            continue
        values = alone.probabilities(
            of_slices[number][None], predictions.z_mm, predictions.series_key
        )
        found.append(np.stack([values[rows].max(axis=0) for rows in exams]))
    return np.asarray(np.stack(found))


def score_agreement(
    levels: Mapping[str, Scored],
    members: np.ndarray | None,
    postprocessing: Postprocessing,
    num_resamples: int,
) -> Agreement | None:
    """Measures whether uncertainty tells wrong decisions about any bleed from right ones.

    Args:
      levels: Level -> labels and probabilities, as `aggregation.at_levels` returns them.
      members: Result of `member_exams`.
      postprocessing: Postprocessing with the operating points.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.

    Returns:
      The measures; None without an operating point, or where no label is known.
    """
    level = exam_level(levels)
    threshold = postprocessing.threshold(level, CLASSES[ANY], DEFAULT_POINT)
    if level not in levels or threshold is None:
        return None
    truth, prob, patients = known_examples(levels[level], ANY)
    if not len(truth):
        return None
    wrong = ((prob >= threshold) != (truth == 1)).astype(np.float64)
    nearness = -np.abs(metrics.logit(prob) - metrics.logit(np.array(threshold)))
    uncertainties = {BY_THRESHOLD: nearness}
    agreed = divided = None
    if members is not None:
        of_members = members[:, ~np.isnan(levels[level].labels[:, ANY]), ANY]
        uncertainties[BY_MEMBERS] = of_members.std(axis=0)
        decisions = of_members >= threshold
        alike = (decisions == decisions[0]).all(axis=0)
        agreed, divided = (
            _agreed(wrong[rows], patients[rows], num_resamples) for rows in (alike, ~alike)
        )
    return Agreement(
        level=level,
        threshold=threshold,
        number=len(truth),
        num_patients=count_patients(patients, truth)[0],
        errors=int(wrong.sum()),
        num_members=1 if members is None else len(members),
        curves=[
            _curve(name, wrong, values, patients, num_resamples)
            for name, values in uncertainties.items()
        ],
        least_area=float(metrics.area_under_risk_coverage(np.sort(wrong), np.arange(len(wrong)))),
        agreed=agreed,
        divided=divided,
    )


def _curve(
    name: str, wrong: np.ndarray, values: np.ndarray, patients: np.ndarray, num_resamples: int
) -> RiskCoverage:
    coverage, risk = metrics.risk_coverage_curve(wrong, values)
    # A large split has a point for each exam; a hundred are drawn and written.
    places = np.unique(np.searchsorted(coverage, _COVERAGES - 1e-12).clip(max=len(coverage) - 1))
    (area,) = estimate(
        lambda weight: np.asarray(metrics.area_under_risk_coverage(wrong, values, weight))[:, None],
        patients,
        num_resamples,
    )
    return RiskCoverage(name, coverage[places].tolist(), risk[places].tolist(), area)


def _agreed(wrong: np.ndarray, patients: np.ndarray, num_resamples: int) -> Agreed:
    if not len(wrong):
        return Agreed(0, 0, 0, IntervalEstimate(None))
    (rate,) = estimate(
        lambda weight: (weight @ wrong / weight.sum(axis=-1))[:, None], patients, num_resamples
    )
    return Agreed(len(wrong), len(set(patients)), int(wrong.sum()), rate)
