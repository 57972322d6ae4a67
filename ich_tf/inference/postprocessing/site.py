"""Calibration at a site from few labels: a slope for all classes and a shift for each.

Ranking transfers from one hospital to another better than probabilities do: bleeds are more or less
common there, and a model is surer of images like those it was trained on than of others. Both
change the logits of the calibrated probabilities by a slope and a shift, which a logistic
regression finds; from tens of studies only if it stays near what was known before. So each
parameter has a normal prior around "no change" (a penalty; Gelman et al. 2008, Annals of Applied
Statistics 2), and the slices of a patient, which tell the same story again and again, count as
fewer (design effect; Kish 1965, Survey Sampling).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.metrics import known_log_loss, sigmoid
from ich_tf.metrics.known_labels import all_hard
from ich_tf.runtime.json_types import read_fields

if TYPE_CHECKING:
    import tensorflow as tf

# Standard deviations of the prior, all chosen on synthetic patients of other kinds than the model's
# (docs/pretraining.md): of the slope; of the shift that all classes share; and of what a class's
# shift has beyond that. Prevalences that differ by a factor of ten shift logits by 2.3.
SLOPE_SD, SHIFT_SD, CLASS_SD = 0.5, 1.0, 1.0
# Correlation of what the model gets wrong within a patient.
CORRELATION = 0.2
# Probabilities nearer to 0 and 1 than this say no more of a slice.
_LEAST = 1e-6
# A slope below this would all but reverse the order of the slices.
_LEAST_SLOPE = 0.05
_STEPS = 50
_TOLERANCE = 1e-9
_QUANTILE = 1.959964
_PARTS = 5


@dataclasses.dataclass(frozen=True)
class SiteCalibrator:
    """A map from a model's calibrated probabilities to those of a site.

    Attributes:
      slope: Factor of all logits, above 0.
      shift: Shift of the logits of each class, in the order of `labels.CLASSES`: a probability p
        becomes sigmoid(slope * logit(p) + shift).

    Examples:
      >>> SiteCalibrator(1.0, (-1.0,) * 6)(np.full((1, 6), 0.5))[0, 0].round(3)
      0.269
    """

    slope: float = 1.0
    shift: tuple[float, ...] = (0.0,) * len(CLASSES)

    def __post_init__(self) -> None:
        if not self.slope > 0 or len(self.shift) != len(CLASSES):
            raise ValueError(f"slope {self.slope} and {len(self.shift)} shifts")

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrates probabilities [n, 6]: float64 [n, 6]."""
        return sigmoid(self.slope * logits_of(probabilities) + np.array(self.shift))

    def graph(self, probabilities: tf.Tensor) -> tf.Tensor:
        """`__call__` in a graph: float64 [n, 6] -> float64 [n, 6]."""
        import tensorflow as tf

        clipped = tf.clip_by_value(probabilities, _LEAST, 1 - _LEAST)
        logits = tf.math.log(clipped) - tf.math.log1p(-clipped)
        return tf.sigmoid(self.slope * logits + tf.constant(self.shift, tf.float64))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> SiteCalibrator:
        """Reads what `dataclasses.asdict` made of one.

        Raises:
          TypeError, KeyError, ValueError: If the content is something else.
        """
        return read_fields(cls, {name: content[name] for name in ("slope", "shift")})


@dataclasses.dataclass(frozen=True)
class SiteFit:
    """A site's calibrator, and how sure its parameters are.

    Attributes:
      calibrator: The map.
      slope_interval: 95 % interval of the slope (posterior, normal approximation).
      shift_intervals: 95 % interval of each class's shift at the mean logit of its slices.
      shift_at_mean: Each class's shift there.
    """

    calibrator: SiteCalibrator
    slope_interval: tuple[float, float]
    shift_at_mean: tuple[float, ...]
    shift_intervals: tuple[tuple[float, float], ...]


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Logits of probabilities, float64, those of 0 and 1 within bounds."""
    p = np.clip(np.asarray(probabilities, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def slice_weights(patients: Sequence[str], correlation: float = CORRELATION) -> np.ndarray:
    """What each slice counts: 1 / (1 + (m - 1) * correlation) of m slices of its patient, [n].

    Examples:
      >>> slice_weights(["a", "a", "b"], 0.5).round(3).tolist()
      [0.667, 0.667, 1.0]
    """
    _, rows, counts = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return np.asarray(1 / (1 + (counts[rows] - 1) * correlation))


def fit_site(
    labels: np.ndarray,
    probabilities: np.ndarray,
    patients: Sequence[str],
    *,
    slope_sd: float = SLOPE_SD,
    shift_sd: float = SHIFT_SD,
    class_sd: float = CLASS_SD,
    correlation: float = CORRELATION,
) -> SiteFit:
    """Fits a slope and shifts to few labelled slices, near "no change".

    The shift acts at the mean logit of a class, so that slope and shift are nearly independent: a
    slope alone leaves the mean as it is.

    Args:
      labels: [n, 6], of slices or exams, 0 or 1; a share of readers counts as it is, and NaN, which
        is unknown, not at all.
      probabilities: What the model predicts as calibrated elsewhere, [n, 6].
      patients: Patient key of each slice, [n].
      slope_sd: Standard deviation of the prior of the slope, around 1.
      shift_sd: That of the shift that all classes share, around 0.
      class_sd: That of a class's shift around the shared one.
      correlation: Correlation within a patient, in [0, 1]; 0 counts each slice in full.
    """
    z = logits_of(probabilities)
    hard = all_hard(labels)
    known = ~np.isnan(labels)
    means = z.mean(axis=0) if hard else _means_of_known(z, known)
    # The subtypes are parts of any: of a slice's six labels hardly more than two are news.
    weights = slice_weights(patients, correlation)[:, None] * np.full(z.shape, 2 / len(CLASSES))
    weights = weights * known
    design = np.zeros((*z.shape, 2 + len(CLASSES)))
    design[..., 0] = z - means
    design[..., 1] = 1
    for column in range(len(CLASSES)):
        design[:, column, 2 + column] = 1
    sds = np.array([slope_sd, shift_sd, *[class_sd] * len(CLASSES)])
    around = np.zeros(len(sds))
    around[0] = 1
    x, flat = design.reshape(-1, len(sds)), weights.ravel()
    truth = labels.ravel() == 1 if hard else np.where(known, labels, 0.0).ravel()
    fixed = np.repeat(means[None], len(z), axis=0).ravel()
    theta, covariance = _posterior(x, fixed, truth, flat, around, sds, free=np.full(len(sds), True))
    if theta[0] < _LEAST_SLOPE:
        around[0], free = _LEAST_SLOPE, np.arange(len(sds)) > 0
        theta, covariance = _posterior(x, fixed, truth, flat, around, sds, free=free)
    slope, shifts = float(theta[0]), theta[1] + theta[2:]
    # Of a class: the shared shift and its own.
    pick = np.zeros((len(CLASSES), len(sds)))
    pick[:, 1] = 1
    pick[np.arange(len(CLASSES)), 2 + np.arange(len(CLASSES))] = 1
    half = _QUANTILE * np.sqrt(np.einsum("ci,ij,cj->c", pick, covariance, pick))
    half_slope = _QUANTILE * float(np.sqrt(covariance[0, 0]))
    return SiteFit(
        SiteCalibrator(slope, tuple((shifts + (1 - slope) * means).tolist())),
        (max(slope - half_slope, 0.0), slope + half_slope),
        tuple(shifts.tolist()),
        tuple(zip((shifts - half).tolist(), (shifts + half).tolist(), strict=True)),
    )


def _means_of_known(z: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean logit of each class where it is known, [6]; of all where it is known of none."""
    number = known.sum(axis=0)
    means = np.where(known, z, 0.0).sum(axis=0) / np.maximum(number, 1)
    return np.where(number > 0, means, z.mean(axis=0))


def _posterior(
    x: np.ndarray,
    fixed: np.ndarray,
    truth: np.ndarray,
    weights: np.ndarray,
    around: np.ndarray,
    sds: np.ndarray,
    free: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mode and covariance of a logistic regression with a normal prior, by Newton's method.

    Args:
      x: Rows of the regression, [k, p].
      fixed: Part of each row's logit without parameters, [k].
      truth: Labels, bool [k], or shares of readers, float64 [k].
      weights: What each row counts, [k].
      around: Mean of the prior, [p].
      sds: Standard deviations of the prior, [p].
      free: Parameters that are fitted, bool [p]; the others stay at the mean.
    """
    precision = np.diag(1 / sds[free] ** 2)
    theta = around.copy()

    def objective(at: np.ndarray) -> float:
        logits = x @ at + fixed
        loss = weights @ (np.logaddexp(0, logits) - truth * logits)
        return float(loss + 0.5 * np.sum(((at - around) / sds)[free] ** 2))

    value = objective(theta)
    hessian = precision
    for _ in range(_STEPS):
        p = sigmoid(x @ theta + fixed)
        gradient = (weights * (p - truth)) @ x[:, free] + precision @ (theta - around)[free]
        hessian = (x[:, free] * (weights * p * (1 - p))[:, None]).T @ x[:, free] + precision
        step = np.linalg.solve(hessian, gradient)
        # The objective is convex: a shorter step in this direction lowers it.
        length = 1.0
        while True:
            trial = theta.copy()
            trial[free] -= length * step
            trial_value = objective(trial)
            if trial_value <= value or length < _TOLERANCE:
                break
            length /= 2
        theta, gain, value = trial, value - trial_value, trial_value
        if gain < _TOLERANCE:
            break
    covariance = np.zeros((len(sds), len(sds)))
    covariance[np.ix_(free, free)] = np.linalg.inv(hessian)
    return theta, covariance


def cross_validated_loss(
    labels: np.ndarray, probabilities: np.ndarray, patients: Sequence[str], seed: int = 0
) -> float:
    """Weighted log loss on patients that the site's calibrator was not fitted on.

    Args:
      labels: [n, 6], in [0, 1] or NaN.
      probabilities: [n, 6].
      patients: Patient key of each slice, [n]; two patients or more.
      seed: Seed of the division of the patients into five parts, or into as many as patients.
    """
    keys, rows = np.unique(np.asarray(patients), return_inverse=True)
    parts = min(_PARTS, len(keys))
    if parts < 2:
        raise ValueError("patients are all one; expected two or more")
    part_of = (np.random.default_rng(seed).permutation(len(keys)) % parts)[rows]
    held_out = np.empty(labels.shape)
    for part in range(parts):
        test = part_of == part
        kept = [patient for patient, is_test in zip(patients, test, strict=True) if not is_test]
        fit = fit_site(labels[~test], probabilities[~test], kept)
        held_out[test] = fit.calibrator(probabilities[test])
    return float(known_log_loss(labels, held_out))
