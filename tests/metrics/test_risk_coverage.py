"""Risk-coverage curves against a loop, with ties and weights."""

from __future__ import annotations

import numpy as np
import pytest

from ich_tf.metrics import area_under_risk_coverage, risk_coverage_curve


def test_the_curve_is_a_loop_over_thresholds() -> None:
    rng = np.random.default_rng(0)
    loss, uncertainty = rng.uniform(size=50), rng.integers(0, 9, 50)
    coverage, risk = risk_coverage_curve(loss, uncertainty)
    for at, threshold in enumerate(sorted(set(uncertainty.tolist()))):
        kept = uncertainty <= threshold
        assert coverage[at] == pytest.approx(kept.mean())
        assert risk[at] == pytest.approx(loss[kept].mean())


def test_weights_repeat_examples() -> None:
    rng = np.random.default_rng(1)
    loss, uncertainty = rng.uniform(size=30), rng.integers(0, 9, 30)
    weights = rng.integers(0, 3, (4, 30))
    areas = area_under_risk_coverage(loss, uncertainty, weights)
    expected = [
        area_under_risk_coverage(np.repeat(loss, row), np.repeat(uncertainty, row))
        for row in weights
    ]
    np.testing.assert_allclose(areas, expected, atol=1e-12)


def test_the_area_is_the_mean_risk_of_the_first_examples() -> None:
    loss, uncertainty = np.array([0, 0, 1, 0, 1]), np.arange(5)
    expected = np.mean([loss[: i + 1].mean() for i in range(5)])
    assert area_under_risk_coverage(loss, uncertainty) == pytest.approx(expected)


def test_the_right_order_is_better_than_none_and_than_the_wrong_one() -> None:
    loss = np.array([0, 0, 0, 1, 1])
    areas = [area_under_risk_coverage(loss, order) for order in (np.arange(5), np.zeros(5), -loss)]
    assert areas[0] < areas[1] < areas[2] and areas[1] == pytest.approx(0.4)


def test_a_sample_without_weight_has_no_area() -> None:
    assert np.isnan(area_under_risk_coverage([0, 1], [0, 1], [0, 0]))


def test_nan_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        risk_coverage_curve([0.0, np.nan], [0, 1])
    with pytest.raises(ValueError, match="uncertainty has shape"):
        risk_coverage_curve([0, 1], [0, 1, 2])
