"""Logits -> probabilities that mean what they say: temperature, Platt, isotonic.

Fitted on patients that the model did not see. NumPy, with SciPy and scikit-learn for the fits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid, weighted_log_loss

_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """A map of each class's logit to its probability, which never falls.

    Attributes:
      method: One of `METHODS`.
      scale, offset: Of each class: the probability is sigmoid(scale * logit + offset).
      knots: Of each class the logits and probabilities of a curve, straight between its points and
        constant beyond; it stands in place of scale and offset. Empty for all or for a class: none.
    """

    method: str = "none"
    scale: tuple[float, ...] = (1.0,) * len(CLASSES)
    offset: tuple[float, ...] = (0.0,) * len(CLASSES)
    knots: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Logits [n, 6] -> probabilities, float64 [n, 6]."""
        logits = np.asarray(logits, np.float64)
        probabilities = sigmoid(logits * self.scale + self.offset)
        for column, (at, value) in enumerate(self.knots):
            if at:
                probabilities[:, column] = np.interp(logits[:, column], at, value)
        return probabilities

    def to_json(self) -> dict[str, Any]:
        """As JSON values by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibrator:
        """The inverse of `to_json`.

        Raises:
          TypeError, KeyError, ValueError: If the content is none.
        """
        found = cls(
            method=content["method"],
            scale=tuple(map(float, content["scale"])),
            offset=tuple(map(float, content["offset"])),
            knots=tuple((tuple(at), tuple(value)) for at, value in content["knots"]),
        )
        sizes = (len(found.scale), len(found.offset), len(found.knots) or len(CLASSES))
        if found.method not in METHODS or set(sizes) != {len(CLASSES)}:
            raise ValueError(f"a calibrator {found.method!r} with {sizes} classes")
        return found


def fit_identity(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """Leaves the logits as they are."""
    return Calibrator()


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """One number that all logits are divided by (Guo et al. 2017, arXiv:1706.04599).

    Args:
      labels: [n, 6], 0 or 1.
      logits: [n, 6].
    """
    from scipy.optimize import minimize_scalar

    def loss(log_scale: float) -> float:
        return weighted_log_loss(labels, sigmoid(np.exp(log_scale) * logits))

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded", options={"xatol": 1e-6})
    return Calibrator("temperature", scale=(float(np.exp(best.x)),) * len(CLASSES))


def fit_platt(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """A scale and an offset a class, by logistic regression with Platt's targets (Platt 1999).

    His targets, (n + 1) / (n + 2) for n positives and 1 / (m + 2) for m negatives, keep classes
    that the logits separate from growing certain. A class without positives or negatives is left
    as it is.

    Args:
      labels: [n, 6], 0 or 1.
      logits: [n, 6].
    """
    from scipy.optimize import minimize

    scales, offsets = [], []
    for truth, z in zip(labels.T == 1, np.asarray(logits, np.float64).T, strict=True):
        positives, negatives = int(truth.sum()), int((~truth).sum())
        if not positives or not negatives:
            scales.append(1.0)
            offsets.append(0.0)
            continue
        target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))

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
            # A scale below 0 would turn the model's order around.
            bounds=((0.0, None), (None, None)),
        )
        scales.append(float(best.x[0]))
        offsets.append(float(best.x[1]))
    return Calibrator("platt", tuple(scales), tuple(offsets))


def fit_isotonic(labels: np.ndarray, logits: np.ndarray) -> Calibrator:
    """A curve a class that never falls (Zadrozny and Elkan 2002), by pooling adjacent violators.

    Its ends are kept from 0 and 1 by Laplace's rule: a lowest block of k slices, all negative, says
    1 / (k + 2), or what the next block says if that is less. A class without positives or negatives
    is left alone.

    Args:
      labels: [n, 6], 0 or 1.
      logits: [n, 6].
    """
    from sklearn.isotonic import IsotonicRegression

    knots: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
    for truth, z in zip(labels.T == 1, np.asarray(logits, np.float64).T, strict=True):
        if truth.all() or not truth.any():
            knots.append(((), ()))
            continue
        curve = IsotonicRegression(out_of_bounds="clip").fit(z, truth.astype(np.float64))
        value = _away_from_certainty(curve.y_thresholds_, curve.predict(z))
        knots.append((tuple(curve.X_thresholds_.tolist()), tuple(value.tolist())))
    return Calibrator("isotonic", knots=tuple(knots))


def _away_from_certainty(value: np.ndarray, of_slices: np.ndarray) -> np.ndarray:
    """The knots of a curve, its blocks of 0 and of 1 moved inwards.

    Args:
      value: At the knots, ascending.
      of_slices: What the curve says of each slice that it was fitted on.
    """
    between = of_slices[(of_slices > 0) & (of_slices < 1)]
    low = min(1 / (np.sum(of_slices == 0) + 2), between.min(initial=0.5))
    high = max(1 - 1 / (np.sum(of_slices == 1) + 2), between.max(initial=0.5))
    return np.where(value == 0, low, np.where(value == 1, high, value))


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
    """The weighted log loss of each method on patients that it was not fitted on.

    Args:
      labels: [n, 6], 0 or 1.
      logits: [n, 6].
      patients: [n], whose slice each is.
      methods: Names of `METHODS`; none tries all.
      seed: Of the five parts of the patients; with fewer patients, each is a part.

    Returns:
      Method -> loss. With a single patient there is none to fit on but him: his loss after the
      fit, and where all are tried that of `none` alone.
    """
    keys, member = np.unique(np.asarray(patients), return_inverse=True)
    parts = min(_FOLDS, len(keys))
    if parts < 2:
        return {
            name: weighted_log_loss(labels, METHODS[name](labels, logits)(logits))
            for name in methods or ("none",)
        }
    part = (np.random.default_rng(seed).permutation(len(keys)) % parts)[member]
    losses = {}
    for name in methods or METHODS:
        fit = METHODS[name]
        probabilities = np.empty(labels.shape)
        for number in range(parts):
            held_out = part == number
            fitted = fit(labels[~held_out], logits[~held_out])
            probabilities[held_out] = fitted(logits[held_out])
        losses[name] = weighted_log_loss(labels, probabilities)
    return losses


def shift_prevalence(probabilities: np.ndarray, before: float, after: float) -> np.ndarray:
    """Probabilities where bleeds are as common as elsewhere, and look and mix alike.

    By Bayes' rule, with k the quotient of the odds of the prevalences and a the probability of a
    bleed, a class's c becomes k * c / (1 + (k - 1) * a): `class_balance`, turned around.

    Args:
      probabilities: [n, 6], columns in the order of `labels.CLASSES`.
      before: Share of slices with a bleed that they are true for, in (0, 1).
      after: The share to turn to, in (0, 1).

    Returns:
      float64 [n, 6].

    Raises:
      ValueError: If a prevalence is out of range.
    """
    for value in (before, after):
        if not 0 < value < 1:
            raise ValueError(f"a prevalence is {value}; it must lie between 0 and 1.")
    factor = after / (1 - after) * (1 - before) / before
    probabilities = np.asarray(probabilities, np.float64)
    # A model may hold a subtype for likelier than any bleed at all; then it counts as that.
    bleed = np.maximum(probabilities, probabilities[:, ANY : ANY + 1])
    return np.asarray(factor * probabilities / (1 + (factor - 1) * bleed))
