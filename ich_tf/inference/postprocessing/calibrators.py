"""Calibration of logits: temperature scaling, Platt scaling and isotonic regression.

Calibrators are fitted on patients that the model was not trained on. Applying one needs NumPy
alone; fitting needs SciPy and scikit-learn. Unknown labels (NaN) have no part in a fit, and
shares of readers (soft labels, of exams) count as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.metrics import known_log_loss, sigmoid
from ich_tf.runtime.json_types import read_fields

if TYPE_CHECKING:
    import tensorflow as tf

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """A monotonic map from the logit of each class to its calibrated probability.

    Attributes:
      method: Name of the method, one of `METHODS`.
      scale, offset: Parameters of each class, in the order of `labels.CLASSES`: the probability is
        sigmoid(scale * logit + offset).
      knots: Logits (ascending) and probabilities of a curve for each class, linear between its
        points and constant beyond them, which replaces scale and offset. A class without a curve
        has two empty tuples; `knots` is empty if no class has one.

    Examples:
      >>> Calibrator(scale=(0.5,) * 6)(np.zeros((1, 6))).tolist()
      [[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]]
    """

    method: str = "none"
    scale: tuple[float, ...] = (1.0,) * len(CLASSES)
    offset: tuple[float, ...] = (0.0,) * len(CLASSES)
    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Calibrates logits [n, 6] to probabilities, float64 [n, 6]."""
        logits = np.asarray(logits, np.float64)
        probabilities = sigmoid(logits * self.scale + self.offset)
        for column, (knots, values) in enumerate(self.knots):
            if knots:
                probabilities[:, column] = np.interp(logits[:, column], knots, values)
        return probabilities

    def graph(self, logits: tf.Tensor) -> tf.Tensor:
        """`__call__` in a graph: logits, float64 [n, 6] -> probabilities, float64 [n, 6]."""
        import tensorflow as tf

        columns = tf.unstack(tf.sigmoid(logits * self.scale + self.offset), axis=1)
        for column, (knots, values) in enumerate(self.knots):
            if knots:
                columns[column] = _interpolate_graph(logits[:, column], knots, values)
        return tf.stack(columns, axis=1)

    def with_classes_of(self, other: Calibrator, columns: Sequence[int]) -> Calibrator:
        """Returns this calibrator with another one's parameters for some classes."""
        knots = [self._curve(i) for i in range(len(CLASSES))]
        scale, offset = list(self.scale), list(self.offset)
        for i in columns:
            scale[i], offset[i], knots[i] = other.scale[i], other.offset[i], other._curve(i)
        has_curves = any(curve[0] for curve in knots)
        return Calibrator(
            self.method, tuple(scale), tuple(offset), tuple(knots) if has_curves else ()
        )

    def _curve(self, column: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.knots[column] if self.knots else ((), ())

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibrator:
        """Reads what `to_json` returned.

        Raises:
          TypeError, KeyError, ValueError: If the content is not a calibrator's.
        """
        calibrator = read_fields(
            cls, {name: content[name] for name in ("method", "scale", "offset", "knots")}
        )
        sizes = (
            len(calibrator.scale),
            len(calibrator.offset),
            len(calibrator.knots) or len(CLASSES),
        )
        if calibrator.method not in METHODS or set(sizes) != {len(CLASSES)}:
            raise ValueError(f"a calibrator {calibrator.method!r} with {sizes} classes")
        if min(calibrator.scale) < 0:
            raise ValueError("a scale below 0, which would reverse the order of the predictions")
        for knots, values in calibrator.knots:
            if not all(0 <= value <= 1 for value in values):
                raise ValueError("a curve of values that are no probabilities")
            if len(knots) != len(values) or list(knots) != sorted(knots):
                raise ValueError("a curve whose logits do not ascend, or lack probabilities")
        return calibrator


def _interpolate_graph(x: tf.Tensor, knots: Sequence[float], values: Sequence[float]) -> tf.Tensor:
    """`np.interp` in a graph: float64 [n] -> float64 [n]."""
    import tensorflow as tf

    if len(knots) == 1:
        return tf.fill(tf.shape(x), tf.constant(values[0], tf.float64))
    x_knots, y_knots = tf.constant(knots, tf.float64), tf.constant(values, tf.float64)
    right = tf.clip_by_value(tf.searchsorted(x_knots, x, side="right"), 1, len(knots) - 1)
    low, high = tf.gather(x_knots, right - 1), tf.gather(x_knots, right)
    share = tf.clip_by_value((x - low) / (high - low), 0, 1)
    return (1 - share) * tf.gather(y_knots, right - 1) + share * tf.gather(y_knots, right)


def fit_identity(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """Returns the calibrator that only applies the sigmoid."""
    return Calibrator()


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """Fits one temperature that all logits are divided by (Guo et al. 2017, arXiv:1706.04599).

    Args:
      labels: [n, 6], in [0, 1] or NaN.
      logits: [n, 6].
    """
    from scipy.optimize import minimize_scalar

    if np.isnan(labels).all():
        return Calibrator("temperature")

    def loss(log_scale: float) -> float:
        return float(known_log_loss(labels, sigmoid(np.exp(log_scale) * logits)))

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-6})
    return Calibrator("temperature", scale=(float(np.exp(best.x)),) * len(CLASSES))


def fit_platt(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """Fits scale and offset of each class: logistic regression with Platt's targets (Platt 1999).

    The targets, (n + 1) / (n + 2) for n positives and 1 / (m + 2) for m negatives, bound the
    probabilities of a class that the logits separate. A class without positives or without
    negatives keeps scale 1 and offset 0. A share of readers lies between the two targets.

    Args:
      labels: [n, 6], in [0, 1] or NaN.
      logits: [n, 6].
    """
    from scipy.optimize import minimize

    scales, offsets = [], []
    for share, z in _known_columns(labels, logits):
        positives, negatives = float(share.sum()), float((1 - share).sum())
        if not positives or not negatives:
            scales.append(1.0)
            offsets.append(0.0)
            continue
        # Of labels that are 0 or 1 one of the terms is an exact 0.
        target = share * ((positives + 1) / (positives + 2)) + (1 - share) * (1 / (negatives + 2))

        def loss_and_gradient(
            ab: np.ndarray, z: np.ndarray = z, target: np.ndarray = target
        ) -> tuple[float, np.ndarray]:
            x = ab[0] * z + ab[1]
            residual = sigmoid(x) - target
            # softplus(x) - target * x: the log loss of soft targets, without overflow.
            loss = np.mean(np.logaddexp(0, x) - target * x)
            return float(loss), np.array([np.mean(residual * z), np.mean(residual)])

        best = minimize(
            loss_and_gradient,
            np.array([1.0, 0.0]),
            jac=True,
            method="L-BFGS-B",
            # A scale below 0 would reverse the order of the model's predictions.
            bounds=((0.0, None), (None, None)),
        )
        scales.append(float(best.x[0]))
        offsets.append(float(best.x[1]))
    return Calibrator("platt", tuple(scales), tuple(offsets))


def fit_isotonic(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """Fits a monotonic curve for each class (Zadrozny and Elkan 2002), by isotonic regression.

    Probabilities of 0 and 1 are moved inwards by Laplace's rule: a lowest block of k slices, all
    negative, gets 1 / (k + 2), or the probability of the next block if that is less. A class
    without positives or without negatives gets no curve.

    Args:
      labels: [n, 6], in [0, 1] or NaN.
      logits: [n, 6].
    """
    from sklearn.isotonic import IsotonicRegression

    knots: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for share, z in _known_columns(labels, logits):
        if (share == 1).all() or not share.any():
            knots.append(((), ()))
            continue
        curve = IsotonicRegression(out_of_bounds="clip").fit(z, share)
        values = _away_from_certainty(curve.y_thresholds_, curve.predict(z))
        knots.append((tuple(curve.X_thresholds_.tolist()), tuple(values.tolist())))
    return Calibrator("isotonic", knots=tuple(knots))


def _known_columns(
    labels: np.ndarray, logits: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Labels and logits of each class where it is known, float64 [k] each."""
    columns = zip(np.asarray(labels, np.float64).T, np.asarray(logits, np.float64).T, strict=True)
    for share, z in columns:
        known = ~np.isnan(share)
        yield share[known], z[known]


def _away_from_certainty(values: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Moves probabilities of 0 and 1 inwards.

    Args:
      values: Probabilities at the knots of a curve, ascending.
      fitted: Probabilities of the curve for each slice that it was fitted on, [n].
    """
    between = fitted[(fitted > 0) & (fitted < 1)]
    low = min(1 / (np.sum(fitted == 0) + 2), between.min(initial=0.5))
    high = max(1 - 1 / (np.sum(fitted == 1) + 2), between.max(initial=0.5))
    return np.where(values == 0, low, np.where(values == 1, high, values))


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Calibrator]] = {
    "none": fit_identity,
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}


def cross_validated_losses(
    labels: np.ndarray,
    logits: np.ndarray,
    patients: Sequence[str],
    methods: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, float]:
    """Cross-validates calibration methods over patients.

    Args:
      labels: [n, 6], in [0, 1] or NaN; a class of each example is known.
      logits: [n, 6].
      patients: Patient key of each slice, [n].
      methods: Keys of `METHODS`; empty for all.
      seed: Seed of the division of the patients into five parts, or into parts of one patient
        where there are fewer than five.

    Returns:
      Method -> weighted log loss on the patients that it was not fitted on. A single patient
      cannot be held out: then the loss on the patient that the method was fitted on, by default of
      `none` alone, since the others would win by knowing the labels.
    """
    keys, number = np.unique(np.asarray(patients), return_inverse=True)
    num_parts = min(_FOLDS, len(keys))
    if num_parts < 2:
        return {
            name: float(known_log_loss(labels, METHODS[name](labels, logits)(logits)))
            for name in methods or ("none",)
        }
    parts = (np.random.default_rng(seed).permutation(len(keys)) % num_parts)[number]
    losses = {}
    for name in methods or METHODS:
        fit = METHODS[name]
        probabilities = np.empty(labels.shape)
        for part in range(num_parts):
            held_out = parts == part
            calibrator = fit(labels[~held_out], logits[~held_out])
            probabilities[held_out] = calibrator(logits[held_out])
        losses[name] = float(known_log_loss(labels, probabilities))
    return losses
