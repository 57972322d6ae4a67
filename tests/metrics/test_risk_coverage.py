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
    for loss in (0.5, [], [[0, 1]]):
        with pytest.raises(ValueError, match="loss has shape"):
            risk_coverage_curve(loss, loss)
    with pytest.raises(ValueError, match="NaN"):
        risk_coverage_curve([0, 1], [0, np.nan])
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\); expected \(..., 2\)"):
        risk_coverage_curve([0, 1], [0, 1], [1, 1, 1])
    for weight in ([1, -1], [1, np.inf], [1, np.nan]):
        with pytest.raises(ValueError, match="finite, and 0 or more"):
            risk_coverage_curve([0, 1], [0, 1], weight)


def test_a_resample_may_lack_the_most_certain_example() -> None:
    coverage, risk = risk_coverage_curve([0, 1, 0], [0.1, 0.2, 0.3], [0, 1, 3])
    assert coverage.tolist() == [0, 0.25, 1] and risk[1:].tolist() == [1, 0.25]
    assert np.isnan(risk[0])
    assert area_under_risk_coverage([0, 1, 0], [0.1, 0.2, 0.3], [0, 1, 3]) == 0.4375


def test_weights_are_summed_up_in_float64() -> None:
    rng = np.random.default_rng(0)
    loss, uncertainty = rng.integers(0, 2, 50), rng.uniform(size=50)
    weight = rng.uniform(size=(3, 50)).astype(np.float32)
    for single, double in zip(
        risk_coverage_curve(loss, uncertainty, weight),
        risk_coverage_curve(loss, uncertainty, weight.astype(np.float64)),
        strict=True,
    ):
        np.testing.assert_array_equal(single, double)
