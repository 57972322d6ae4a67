"""Net benefit: the bare formula, samples of weights, and its ends."""

from __future__ import annotations

import numpy as np
import pytest

from ich_tf.metrics import net_benefit, net_benefit_of_all

THRESHOLDS = np.linspace(0, 0.99, 34)


def bare(truth: np.ndarray, prob: np.ndarray, weight: np.ndarray, threshold: float) -> float:
    true = false = total = 0.0
    for is_positive, value, times in zip(truth, prob, weight, strict=True):
        total += times
        if value >= threshold:
            true += times * is_positive
            false += times * (1 - is_positive)
    return true / total - false / total * threshold / (1 - threshold)


def sample(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # Two decimals: many probabilities are equal, and some are thresholds.
    prob = rng.uniform(size=number).round(2)
    return (rng.uniform(size=number) < prob).astype(int), prob


def test_it_is_the_bare_formula() -> None:
    truth, prob = sample(500)
    expected = [bare(truth, prob, np.ones(500), t) for t in THRESHOLDS]
    np.testing.assert_allclose(net_benefit(truth, prob, THRESHOLDS), expected, rtol=0, atol=1e-12)


def test_each_row_of_weights_is_a_sample() -> None:
    truth, prob = sample(60, seed=1)
    weights = np.random.default_rng(2).integers(0, 4, (5, 60)).astype(float)
    expected = [[bare(truth, prob, row, t) for t in THRESHOLDS] for row in weights]
    found = net_benefit(truth, prob, THRESHOLDS, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_acting_on_all_is_a_model_that_is_sure_of_all() -> None:
    truth, _ = sample(80)
    weights = np.random.default_rng(3).integers(0, 4, (5, 80)).astype(float)
    expected = net_benefit(truth, np.ones(80), THRESHOLDS, weights)
    found = net_benefit_of_all(truth, THRESHOLDS, weights)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_perfect_model_gains_the_share_of_positives_everywhere() -> None:
    truth = np.array([0, 0, 0, 1])
    assert net_benefit(truth, truth, THRESHOLDS[1:]) == pytest.approx(0.25)


def test_a_sample_without_weight_has_none() -> None:
    assert np.isnan(net_benefit([0, 1], [0.2, 0.8], 0.5, [0, 0]))


@pytest.mark.parametrize("thresholds", [1.0, [-0.1], [[0.5]], float("nan")])
def test_thresholds_are_probabilities_below_1(thresholds: object) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        net_benefit([0, 1], [0.2, 0.8], thresholds)  # type: ignore[arg-type]
