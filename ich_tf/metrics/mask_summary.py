"""Scores of masks summed up over slices, series or patients, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ich_tf.metrics.binary import ratio
from ich_tf.metrics.bootstrap import Interval, bootstrap_interval
from ich_tf.metrics.groups import group_numbers
from ich_tf.metrics.lesions import lesion_f1
from ich_tf.metrics.mask_scores import MaskScores
from ich_tf.metrics.volumes import bland_altman

# A share of the weights that is no more than rounding.
_ROUNDING = 1e-9

Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A score over series, slices or patients.

    Attributes:
      value: The score; NaN if it is not defined.
      interval: Its confidence interval, by resampling patients.
      num_scored: Number of series or slices (of lesions: of lesions) that it is of.
      num_patients: Number of their patients.
    """

    value: float
    interval: Interval
    num_scored: int
    num_patients: int


def summarize_masks(
    scores: Sequence[MaskScores],
    patients: Sequence[Any] | np.ndarray,
    *,
    by_patient: bool = False,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Sums up the scores of one class over series or slices, with patient-bootstrap intervals.

    Over series whose reference marks anything:

    - `dice`, `surface_dice`: means.
    - `hausdorff_mm`: median, since it is infinite where nothing is predicted.
    - `missed_share`: share of them in which nothing is predicted.
    - `volume_bias_ml`: mean of predicted minus true volume; `volume_limit_low_ml` and
      `volume_limit_high_ml`, the 95 % limits of agreement around it.
    - `volume_error_ml`: mean of the absolute error.
    - `volume_error_share`: median of the absolute error, as a share of the true volume.

    Over the lesions of all series: `lesion_sensitivity`, `lesion_precision`, `lesion_f1`.

    Over series whose reference is empty:

    - `false_ml`: mean of the predicted volume.
    - `false_positive_share`: share of them in which anything is predicted.

    Lesions of one size are summed up if `scores` hold those alone: `LesionMatches.between`.

    Args:
      scores: Scores of the series, or of the slices, of one class, [n]: those that are annotated.
      patients: Patient of each, [n].
      by_patient: Whether each patient counts once, however many series or slices are his: the
        weights of those that a score is over add up to 1.
      num_resamples: Number of samples of patients to draw.
      level: Confidence level, in (0, 1).
      seed: Seed of the resampling.

    Returns:
      Estimates by the names above.

    Raises:
      ValueError: If there are no scores, lengths differ, or a number is out of range.

    Examples:
      >>> import numpy as np
      >>> from ich_tf.metrics import score_series
      >>> reference, prediction = np.zeros((2, 3, 4, 32, 32), bool)
      >>> reference[:2, 1:3, 8:16, 8:16] = prediction[0, 1:3, 8:16, 8:16] = True
      >>> prediction[2, 0, 4:8, 4:8] = True  # where there is no bleed
      >>> scores = [score_series(r, p, (5, 1, 1)) for r, p in zip(reference, prediction)]
      >>> summary = summarize_masks(scores, ["a", "b", "c"], num_resamples=100)
      >>> summary["dice"].value, summary["dice"].num_scored
      (0.5, 2)
      >>> summary["lesion_precision"].value, summary["false_ml"].value
      (0.5, 0.08)
    """
    if not scores or len(scores) != len(patients):
        raise ValueError(
            f"there are {len(scores)} scores and {len(patients)} patients; expected one each."
        )
    member = group_numbers(patients, "patients")
    statistics = _statistics(scores, member, by_patient)
    once = np.ones((1, len(scores)))
    # Each sample of patients is drawn once for all scores.
    interval = bootstrap_interval(
        lambda weight: np.stack([each.of(weight) for each in statistics.values()], axis=-1),
        member,
        num_resamples=num_resamples,
        level=level,
        seed=seed,
    )
    return {
        name: Estimate(
            float(each.of(once)[0]), Interval(float(low), float(high)), each.num, each.num_patients
        )
        for (name, each), low, high in zip(
            statistics.items(), interval.low, interval.high, strict=True
        )
    }


@dataclass(frozen=True)
class _Score:
    """A score as a function of weights [b, n], and what it is of."""

    of: Statistic
    num: int
    num_patients: int


def _statistics(
    scores: Sequence[MaskScores], member: np.ndarray, by_patient: bool
) -> dict[str, _Score]:
    def column(values: Any) -> np.ndarray:
        return np.array([float(value) for value in values])

    def over(rows: np.ndarray, statistic: Statistic, num: int | None = None) -> _Score:
        """The statistic of some of the rows."""
        each: np.ndarray | float = 1.0
        if by_patient:
            each = 1 / np.maximum(np.bincount(member, rows), 1)[member]
        return _Score(
            lambda weight: statistic((weight * each)[:, rows]),
            int(rows.sum()) if num is None else num,
            len(np.unique(member[rows])),
        )

    def mean(values: np.ndarray, rows: np.ndarray) -> _Score:
        return over(rows, lambda weight: ratio(weight @ values[rows], weight.sum(axis=-1)))

    def median(values: np.ndarray, rows: np.ndarray) -> _Score:
        return over(rows, lambda weight: weighted_median(values[rows], weight))

    def agreement(end: str) -> _Score:
        return over(
            bleeds,
            lambda weight: np.asarray(
                getattr(bland_altman(true_ml[bleeds], predicted_ml[bleeds], weight), end)
            ),
        )

    true_ml = column(score.reference_ml for score in scores)
    predicted_ml = column(score.predicted_ml for score in scores)
    bleeds = true_ml > 0
    error = predicted_ml - true_ml
    lesions = [score.lesions for score in scores]
    true = column(len(lesion.is_found) for lesion in lesions)
    found = column(lesion.is_found.sum() for lesion in lesions)
    predicted = column(len(lesion.is_confirmed) for lesion in lesions)
    confirmed = column(lesion.is_confirmed.sum() for lesion in lesions)
    with_true, with_predicted, with_any = true > 0, predicted > 0, true + predicted > 0
    return {
        "dice": mean(column(score.dice for score in scores), bleeds),
        "surface_dice": mean(column(score.surface_dice for score in scores), bleeds),
        "hausdorff_mm": median(column(score.hausdorff_mm for score in scores), bleeds),
        "missed_share": mean(predicted_ml == 0, bleeds),
        "volume_bias_ml": mean(error, bleeds),
        "volume_limit_low_ml": agreement("low_ml"),
        "volume_limit_high_ml": agreement("high_ml"),
        "volume_error_ml": mean(np.abs(error), bleeds),
        "volume_error_share": median(np.abs(error) / np.where(bleeds, true_ml, 1), bleeds),
        "lesion_sensitivity": over(
            with_true,
            lambda weight: ratio(weight @ found[with_true], weight @ true[with_true]),
            int(true.sum()),
        ),
        "lesion_precision": over(
            with_predicted,
            lambda weight: ratio(
                weight @ confirmed[with_predicted], weight @ predicted[with_predicted]
            ),
            int(predicted.sum()),
        ),
        "lesion_f1": over(
            with_any,
            lambda weight: lesion_f1(
                *(weight @ count[with_any] for count in (found, true, confirmed, predicted))
            ),
            int((true + predicted).sum()),
        ),
        "false_ml": mean(predicted_ml, ~bleeds),
        "false_positive_share": mean(predicted_ml > 0, ~bleeds),
    }


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Median of values [n], each as often as weights [b, n] say: [b]; NaN without weight."""
    if not values.size:
        return np.full(len(weight), np.nan)
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(weight[:, order], axis=1)
    total = sums[:, -1:]
    # Halfway between two values if exactly half of the weight lies on either side.
    ends = [
        values[order][np.argmax(sums >= total * share, axis=1)]
        for share in (0.5 - _ROUNDING, 0.5 + _ROUNDING)
    ]
    return np.where(total[:, 0] > 0, (ends[0] + ends[1]) / 2, np.nan)
