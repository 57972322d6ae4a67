"""Temperature, Platt, isotonic, prevalence: against scikit-learn, bare formulas and edge cases."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from ich_tf.inference.postprocessing.calibrators import (
    METHODS,
    Calibrator,
    cross_validated_losses,
    fit_isotonic,
    fit_platt,
    fit_temperature,
)
from ich_tf.inference.postprocessing.prevalence import shift_prevalence
from ich_tf.labels import ANY
from ich_tf.metrics import logit, sigmoid, weighted_log_loss
from ich_tf.models.prior_shift import undo_prior_shift


def overconfident(seed: int, number: int = 3000, factor: float = 2.5):
    """Returns labels drawn from the sigmoid of some logits, and these logits times `factor`."""
    rng = np.random.default_rng(seed)
    true = rng.normal(-1, 1.5, (number, 6))
    labels = (rng.uniform(size=true.shape) < sigmoid(true)).astype(int)
    return labels, factor * true


def test_temperature_finds_the_factor_and_is_the_minimum() -> None:
    labels, logits = overconfident(0, 20_000)
    fitted = fit_temperature(labels, logits)
    assert fitted.scale[0] == pytest.approx(1 / 2.5, rel=0.03)
    assert len(set(fitted.scale)) == 1 and fitted.offset == (0.0,) * 6
    best = weighted_log_loss(labels, fitted(logits))
    for scale in fitted.scale[0] * np.array([0.97, 1.03]):
        assert weighted_log_loss(labels, sigmoid(scale * logits)) > best


def test_platt_equals_logistic_regression_where_targets_do_not_matter() -> None:
    labels, logits = overconfident(1, 20_000)
    fitted = fit_platt(labels, logits + 0.7)
    for i in range(6):
        z = logits[:, i : i + 1] + 0.7
        reference = LogisticRegression(C=1e9, tol=1e-8).fit(z, labels[:, i])
        # Platt's targets move 20,000 labels by less than a thousandth.
        assert fitted.scale[i] == pytest.approx(reference.coef_[0, 0], rel=0.01)
        assert fitted.offset[i] == pytest.approx(reference.intercept_[0], abs=0.01)


def test_platt_keeps_its_doubts_and_its_direction() -> None:
    labels = np.zeros((40, 6), int)
    labels[20:] = 1
    logits = np.where(labels > 0, 3.0, -3.0)
    fitted = fit_platt(labels, logits)
    # Separated: Platt's targets, 21/22 and 1/22, are met exactly.
    np.testing.assert_allclose(fitted(logits)[[0, 39], 0], [1 / 22, 21 / 22], rtol=1e-3)
    assert min(fit_platt(labels, -logits).scale) >= 0


def test_isotonic_equals_scikit_learn_between_its_ends() -> None:
    labels, logits = overconfident(2, 400)
    fitted = fit_isotonic(labels, logits)
    probabilities = fitted(logits)
    for i in range(6):
        reference = IsotonicRegression().fit_transform(logits[:, i], labels[:, i])
        inner = (reference > 0) & (reference < 1)
        np.testing.assert_allclose(probabilities[inner, i], reference[inner], atol=1e-12)
        lowest = reference == 0
        expected = min(1 / (lowest.sum() + 2), reference[inner].min())
        np.testing.assert_allclose(probabilities[lowest, i], expected)
        assert probabilities[:, i].min() > 0 and probabilities[:, i].max() < 1
        order = np.argsort(logits[:, i])
        assert (np.diff(probabilities[order, i]) >= -1e-15).all()
    # Beyond what was seen it stays as it is.
    np.testing.assert_allclose(
        fitted(logits.max(axis=0)[None] + 5), probabilities.max(axis=0)[None]
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_class_that_is_missing_is_left_alone_and_nothing_is_nan(name: Any) -> None:
    labels, logits = overconfident(3, 60)
    labels[:, 0], labels[:, 1] = 0, 1
    fitted = METHODS[name](labels, logits)
    probabilities = fitted(logits)
    assert (
        np.isfinite(probabilities).all()
        and (probabilities >= 0).all()
        and (probabilities <= 1).all()
    )
    if name in ("platt", "isotonic"):
        np.testing.assert_allclose(probabilities[:, :2], sigmoid(logits[:, :2]))
    again = Calibrator.from_json(json.loads(json.dumps(dataclasses.asdict(fitted))))
    assert again == fitted
    np.testing.assert_array_equal(again(logits), probabilities)


def test_cross_validation_prefers_the_method_that_helps_other_patients() -> None:
    labels, logits = overconfident(4)
    patients = [f"P{i // 30}" for i in range(len(labels))]
    losses = cross_validated_losses(labels, logits, patients)
    assert set(losses) == set(METHODS)
    assert losses["temperature"] < losses["none"]
    assert losses["none"] == pytest.approx(weighted_log_loss(labels, sigmoid(logits)))
    assert list(cross_validated_losses(labels, logits, ["P"] * len(labels))) == ["none"]


def test_a_patient_is_never_on_both_sides() -> None:
    """Labels depend on the patient alone: a fit on other patients cannot predict them."""
    rng = np.random.default_rng(5)
    patients = np.repeat(np.arange(40), 25)
    logits = np.repeat(rng.normal(size=(40, 6)), 25, axis=0)
    labels = np.repeat(rng.integers(0, 2, (40, 6)), 25, axis=0)
    losses = cross_validated_losses(labels, logits, patients.astype(str))
    # A curve fitted on the same patients would know all of their labels.
    seen = weighted_log_loss(labels, fit_isotonic(labels, logits)(logits))
    assert losses["isotonic"] > seen


def test_prevalence_by_bayes_on_counts() -> None:
    """Slices with a bleed are counted three times: the shares follow from the counts."""
    probabilities = np.array([[0.1, 0.05, 0.0, 0.02, 0.2, 0.25]])
    old = 0.3
    odds = 3.0
    new = odds * old / (odds * old + 1 - old)
    shifted = shift_prevalence(probabilities, old, new)
    bleed = probabilities[:, ANY]
    # Of slices that look so, a share `bleed` bleeds: now three times as many of them.
    expected = odds * probabilities / (odds * bleed + 1 - bleed)
    np.testing.assert_allclose(shifted, expected, rtol=1e-12)
    np.testing.assert_allclose(shift_prevalence(shifted, new, old), probabilities, rtol=1e-9)
    np.testing.assert_allclose(shift_prevalence(probabilities, 0.3, 0.3), probabilities)


def test_prevalence_is_the_inverse_of_undo_prior_shift() -> None:
    rng = np.random.default_rng(6)
    any_prob = rng.uniform(0.05, 0.95, 50)
    prob = np.column_stack([any_prob[:, None] * rng.uniform(size=(50, 5)), any_prob])
    kept, before = 0.25, 0.4
    undone = sigmoid(undo_prior_shift(logit(prob).astype(np.float32), kept).numpy())
    odds = before / (1 - before) * kept
    np.testing.assert_allclose(shift_prevalence(prob, before, odds / (1 + odds)), undone, atol=1e-5)


def test_an_incoherent_model_stays_within_bounds() -> None:
    probabilities = np.array([[0.9, 0.1, 0.1, 0.1, 0.1, 0.2], [1, 0, 0, 0, 0, 0]])
    shifted = shift_prevalence(probabilities, 0.05, 0.9)
    assert (shifted >= 0).all() and (shifted <= 1).all()
    with pytest.raises(ValueError, match="prevalence is 1"):
        shift_prevalence(probabilities, 1, 0.5)
