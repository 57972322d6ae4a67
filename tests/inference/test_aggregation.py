"""Smoothing along a series, aggregation to series and patients, shares of several models."""

import numpy as np
import pytest

from ich_tf.inference.postprocessing.aggregation import LEVELS, at_levels, noisy_or
from ich_tf.inference.postprocessing.mixture import fit_shares, mix
from ich_tf.inference.postprocessing.smoothing import rows_of, smooth, smooth_logits
from ich_tf.metrics import logit, sigmoid, weighted_log_loss


def test_smoothing_is_a_gaussian_mean_by_distance() -> None:
    z_mm = np.array([0.0, 5.0, 10.0, 40.0])
    values = np.array([[0.0], [1.0], [0.0], [7.0]])
    smoothed = smooth(values, z_mm, 5.0)
    near, far = np.exp(-0.5), np.exp(-2.0)
    assert smoothed[1, 0] == pytest.approx(1 / (1 + 2 * near), rel=1e-6)
    assert smoothed[0, 0] == pytest.approx(near / (1 + near + far), rel=1e-6)
    # 30 mm off, six widths: on its own.
    assert smoothed[3, 0] == pytest.approx(7, rel=1e-6)
    np.testing.assert_array_equal(smooth(values, z_mm, 0), values)
    np.testing.assert_array_equal(smooth(values[:1], z_mm[:1], 5.0), values[:1])


def test_series_do_not_touch_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    z_mm = np.tile(np.arange(10) * 4.0, 2)
    values = rng.normal(size=(20, 6))
    keys = ["a"] * 10 + ["b"] * 10
    smoothed = smooth_logits(values, z_mm, keys, 4.0)
    expected = logit(smooth(sigmoid(values[:10]), z_mm[:10], 4.0))
    np.testing.assert_allclose(smoothed[:10], expected)
    order = rng.permutation(20)
    shuffled = smooth_logits(values[order], z_mm[order], [keys[i] for i in order], 4.0)
    np.testing.assert_allclose(shuffled, smoothed[order])
    np.testing.assert_array_equal(smooth_logits(values, z_mm, keys, 0), values)
    assert list(rows_of(["x", "y", "x"])) == ["x", "y"]


def test_levels_by_hand() -> None:
    labels = np.zeros((4, 6))
    labels[1, 2] = labels[1, 5] = 1
    prob = np.full((4, 6), 0.1)
    prob[2, 5] = 0.5
    series, patients = ["s1", "s1", "s2", "s3"], ["p1", "p1", "p1", "p2"]
    levels = at_levels(labels, prob, series, patients)
    assert [len(scored) for scored in levels.values()] == [4, 3, 3, 2, 2]
    assert "series_model" not in levels
    whole = np.repeat([[0.7], [0.7], [0.2], [0.3]], 6, axis=1)
    levels = at_levels(labels, prob, series, patients, whole)
    assert list(levels) == list(LEVELS)
    np.testing.assert_array_equal(levels["series_model"].probabilities[:, 0], [0.7, 0.2, 0.3])
    assert levels["series_model"].labels[:, 2].tolist() == [1, 0, 0]
    assert levels["series_max"].labels[:, 5].tolist() == [1, 0, 0]
    assert levels["series_max"].patients.tolist() == ["p1", "p1", "p2"]
    np.testing.assert_allclose(levels["series_max"].probabilities[:, 5], [0.1, 0.5, 0.1])
    np.testing.assert_allclose(levels["series_noisy_or"].probabilities[:, 5], [0.19, 0.5, 0.1])
    np.testing.assert_allclose(levels["patient_noisy_or"].probabilities[0, 5], 1 - 0.81 * 0.5)
    assert levels["patient_max"].labels[:, 2].tolist() == [1, 0]


def test_noisy_or_keeps_small_numbers_and_certainty() -> None:
    np.testing.assert_allclose(noisy_or(np.full((3, 1), 1e-18)), [3e-18], rtol=1e-9)
    np.testing.assert_array_equal(noisy_or(np.array([[1.0], [0.2]])), [1.0])


def test_shares_find_the_better_model_and_beat_each() -> None:
    rng = np.random.default_rng(1)
    true = rng.uniform(size=(4000, 6))
    labels = (rng.uniform(size=true.shape) < true).astype(int)
    noise = np.stack([rng.normal(0, width, true.shape) for width in (0.1, 0.1, 0.6)])
    models = np.clip(true + noise, 0.01, 0.99)
    shares = fit_shares(labels, models)
    assert shares.sum() == pytest.approx(1) and (shares >= 0).all()
    assert shares[0] == pytest.approx(shares[1], abs=0.1) and shares[2] < 0.1
    best = weighted_log_loss(labels, mix(models, shares))
    assert best < min(weighted_log_loss(labels, model) for model in models)
    # No other point of a grid over the simplex does better.
    for a in np.linspace(0, 1, 11):
        for b in np.linspace(0, 1 - a, 11):
            other = mix(models, np.array([a, b, 1 - a - b]))
            assert weighted_log_loss(labels, other) > best - 1e-6


def test_shares_of_one_and_of_equals() -> None:
    labels = np.eye(6, dtype=int)
    model = np.full((1, 6, 6), 0.3)
    np.testing.assert_allclose(fit_shares(labels, model), [1])
    np.testing.assert_allclose(fit_shares(labels, np.repeat(model, 2, axis=0)), [0.5, 0.5])
    certain = np.stack([labels.astype(float), 1 - labels])
    np.testing.assert_allclose(fit_shares(labels, certain), [1, 0], atol=1e-6)
