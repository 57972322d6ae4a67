"""Scores of masks with intervals, in a form that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ich_tf.evaluation.scores import FEW_PATIENTS, LEAST_PATIENTS
from ich_tf.metrics import Estimate, MaskScores, summarize_masks

INFINITE = "infinite"


@dataclass(frozen=True)
class MaskEstimate:
    """A score of masks and its 95 % interval, by resampling patients.

    Attributes:
      value: The score; `INFINITE` for a distance to a mask that marks nothing; None if it is not
        defined.
      low, high: Ends of the interval, `INFINITE` likewise; None if they are not defined, were not
        asked for, or would rest on fewer than `scores.LEAST_PATIENTS`.
      num_scored: Number of series, slices, patients' series or lesions that the score is of.
      num_patients: Number of their patients.

    Examples:
      >>> MaskEstimate(0.71, 0.62, 0.78, 55, 40).text()
      '0.710 [0.620, 0.780]'
      >>> MaskEstimate(9.4, 4.0, INFINITE, 21, 12).text(1)
      '9.4 [4.0, infinite; 12 patients]'
    """

    value: float | str | None
    low: float | str | None
    high: float | str | None
    num_scored: int
    num_patients: int

    @classmethod
    def of(cls, estimate: Estimate, with_interval: bool) -> MaskEstimate:
        """Takes a score over, with its interval if that can be relied on."""
        value, low, high = estimate.value, estimate.interval.low, estimate.interval.high
        is_sound = with_interval and low <= value <= high
        if not is_sound or estimate.num_patients < LEAST_PATIENTS:
            low = high = math.nan
        return cls(
            _told(value), _told(low), _told(high), estimate.num_scored, estimate.num_patients
        )

    @property
    def number(self) -> float:
        """The score as a float: NaN if it is not defined, infinity if it is infinite."""
        return float(self.value) if self.value is not None else math.nan

    def text(self, digits: int = 3) -> str:
        """Formats score and interval, with the number of patients if they are few."""
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return _text(self.value, digits)
        few = f"; {self.num_patients} patients" if self.num_patients < FEW_PATIENTS else ""
        ends = f"{_text(self.low, digits)}, {_text(self.high, digits)}"
        return f"{_text(self.value, digits)} [{ends}{few}]"


def estimates(
    scores: Sequence[MaskScores],
    patients: Sequence[str],
    num_resamples: int,
    *,
    by_patient: bool = False,
) -> dict[str, MaskEstimate]:
    """Sums up the scores of one class: `metrics.summarize_masks`, by the same names.

    Args:
      scores: Scores of series or slices, one or more.
      patients: Patient of each.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.
      by_patient: Whether each patient counts once.
    """
    summary = summarize_masks(
        scores, patients, by_patient=by_patient, num_resamples=max(1, num_resamples)
    )
    return {
        name: MaskEstimate.of(estimate, num_resamples > 0) for name, estimate in summary.items()
    }


def _told(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return INFINITE if math.isinf(value) else float(value)


def _text(value: float | str, digits: int) -> str:
    return value if isinstance(value, str) else f"{value:.{digits}f}"
