"""What resampling draws, where there is no interval, and which options are the usual ones."""

import warnings

import numpy as np
import pytest
from scipy.stats import t

from ich_tf import metrics
from ich_tf.metrics import bootstrap
from ich_tf.metrics.bootstrap import bootstrap_interval, bootstrap_values
from ich_tf.metrics.paired_bootstrap import paired_bootstrap

GROUPS = np.array([3, 3, 1, 2, 1, 7])
VALUES = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])


def mean(weight: np.ndarray) -> np.ndarray:
    return weight @ VALUES / weight.sum(axis=-1)


def test_each_sample_has_as_many_groups_as_there_are() -> None:
    drawn: list[np.ndarray] = []

    def statistic(weight: np.ndarray) -> np.ndarray:
        drawn.append(weight)
        return weight.sum(axis=1)

    values, number = bootstrap_values(statistic, GROUPS)
    weights = np.concatenate(drawn)
    assert number == 4 and values.shape == (1000,) and values.dtype == np.float64
    assert weights.shape == (1000, 6) and weights.dtype == np.float64
    # Slices of a group occur together, and one of each group stands for all.
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 3, 5]].sum(axis=1) == 4).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)


@pytest.mark.parametrize("at_once", [1, 6, 13, 6000, 10**6])
def test_samples_are_drawn_in_pieces_that_fit(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    expected, _ = bootstrap_values(mean, GROUPS, num_resamples=17, seed=5)
    rows: list[int] = []

    def statistic(weight: np.ndarray) -> np.ndarray:
        rows.append(len(weight))
        return mean(weight)

    monkeypatch.setattr(bootstrap, "_WEIGHTS_AT_ONCE", at_once)
    found, _ = bootstrap_values(statistic, GROUPS, num_resamples=17, seed=5)
    assert sum(rows) == 17 and max(rows) == min(17, max(1, at_once // 6))
    np.testing.assert_array_equal(found, expected)


def test_usual_options() -> None:
    explicit = {"num_resamples": 1000, "seed": 0}
    interval = bootstrap_interval(mean, GROUPS)
    assert interval == bootstrap_interval(mean, GROUPS, level=0.95, **explicit)
    values, _ = bootstrap_values(mean, GROUPS)
    np.testing.assert_array_equal(values, bootstrap_values(mean, GROUPS, **explicit)[0])
    assert (interval.low, interval.high) == pytest.approx(np.quantile(values, [0.025, 0.975]))
    assert type(interval.low) is type(interval.high) is float
    zero = lambda weight: np.zeros(len(weight))  # noqa: E731
    assert paired_bootstrap(zero, mean, GROUPS) == paired_bootstrap(
        zero, mean, GROUPS, level=0.95, **explicit
    )


def test_one_sample_is_enough_and_none_is_not() -> None:
    interval = bootstrap_interval(mean, GROUPS, num_resamples=1)
    assert interval.low == interval.high
    with pytest.raises(ValueError, match="num_resamples is 0"):
        bootstrap_values(mean, GROUPS, num_resamples=0)


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_lies_within_its_ends(level: float) -> None:
    with pytest.raises(ValueError, match=f"level is {level}"):
        bootstrap_interval(mean, GROUPS, level=level)
    with pytest.raises(ValueError, match=f"level is {level}"):
        paired_bootstrap(mean, mean, GROUPS, level=level)


@pytest.mark.parametrize(("undefined", "is_defined"), [(5, True), (6, False)])
def test_up_to_one_sample_in_twenty_may_be_undefined(undefined: int, is_defined: bool) -> None:
    def statistic(weight: np.ndarray) -> np.ndarray:
        values = np.arange(100.0)
        values[50 : 50 + undefined] = np.nan
        return np.stack([values, np.arange(100.0)], axis=-1)[: len(weight)]

    interval = bootstrap_interval(statistic, GROUPS, num_resamples=100, level=0.5)
    kept = np.delete(np.arange(100.0), slice(50, 50 + undefined))
    expected = np.quantile(kept, [0.25, 0.75]) if is_defined else [np.nan, np.nan]
    np.testing.assert_array_equal([interval.low[0], interval.high[0]], expected)
    assert [interval.low[1], interval.high[1]] == np.quantile(np.arange(100), [0.25, 0.75]).tolist()


def test_infinite_values_are_ends_of_intervals() -> None:
    values = np.repeat([-np.inf, 0.0, 1.0, np.inf], 25)
    interval = bootstrap_interval(lambda weight: values, GROUPS, num_resamples=100, level=0.8)
    assert (interval.low, interval.high) == (-np.inf, np.inf)
    interval = bootstrap_interval(lambda weight: values, GROUPS, num_resamples=100, level=0.2)
    assert (interval.low, interval.high) == (0, 1)


def test_a_difference_has_student_s_interval() -> None:
    def first(weight: np.ndarray) -> np.ndarray:
        return np.full((len(weight), 2), 3.0)

    def second(weight: np.ndarray) -> np.ndarray:
        return np.stack([mean(weight), weight @ VALUES], axis=-1)

    found = paired_bootstrap(first, second, GROUPS, num_resamples=50, level=0.9, seed=2)
    values, _ = bootstrap_values(second, GROUPS, num_resamples=50, seed=2)
    half = t.ppf(0.95, 3) * values.std(axis=0, ddof=1)
    np.testing.assert_array_equal(found.first, [3, 3])
    np.testing.assert_array_equal(found.second, [VALUES.mean(), VALUES.sum()])
    np.testing.assert_array_equal(found.difference, found.second - 3)
    np.testing.assert_allclose(found.low, found.difference - half)
    np.testing.assert_allclose(found.high, found.difference + half)
    alone = paired_bootstrap(
        lambda weight: np.full(len(weight), 3.0), mean, GROUPS, num_resamples=50, level=0.9, seed=2
    )
    assert all(type(value) is float for value in vars(alone).values())
    assert alone.low == pytest.approx(found.low[0])


@pytest.mark.parametrize(("num_groups", "degrees"), [(1, None), (2, 1), (3, 2)])
def test_a_metric_of_one_group_has_no_interval(num_groups: int, degrees: int | None) -> None:
    zero = lambda weight: np.zeros(len(weight))  # noqa: E731
    found = paired_bootstrap(zero, mean, GROUPS, num_groups=num_groups, num_resamples=50)
    spread = bootstrap_values(mean, GROUPS, num_resamples=50)[0].std(ddof=1)
    expected = np.nan if degrees is None else t.ppf(0.975, degrees) * spread
    np.testing.assert_allclose(found.high - found.difference, expected)
    assert found.difference == VALUES.mean()
    # Two patients are enough, and one is not, whatever the metric is said to rest on.
    values = np.array([1.0, 2.0])
    of_two = lambda weight: weight @ values / weight.sum(axis=-1)  # noqa: E731
    assert np.isfinite(paired_bootstrap(zero, of_two, [1, 2]).low)
    assert np.isnan(paired_bootstrap(zero, of_two, [1, 1], num_groups=9).low)


@pytest.mark.parametrize(("undefined", "is_defined"), [(5, True), (6, False)])
def test_a_difference_may_be_undefined_in_few_samples(undefined: int, is_defined: bool) -> None:
    def second(weight: np.ndarray) -> np.ndarray:
        values = np.arange(float(len(weight)))
        values[1 : 1 + undefined * (len(weight) > 1)] = np.nan
        return values

    zero = lambda weight: np.zeros(len(weight))  # noqa: E731
    found = paired_bootstrap(zero, second, GROUPS, num_resamples=100)
    assert np.isfinite(found.low) == is_defined and found.difference == 0


def test_differences_of_rounding_are_none() -> None:
    zero = lambda weight: np.zeros(len(weight))  # noqa: E731

    def shifted(size: float) -> metrics.PairedDifference:
        return paired_bootstrap(zero, lambda weight: 1 + size * mean(weight), GROUPS)

    assert np.isnan(shifted(1e-15).low) and np.isfinite(shifted(1e-9).low)
    undefined = paired_bootstrap(
        zero, lambda weight: mean(weight) if len(weight) > 1 else np.array([np.nan]), GROUPS
    )
    assert np.isnan(undefined.low) and np.isnan(undefined.difference)


def test_scores_may_be_whole_numbers() -> None:
    """As bytes, 1 - 3 would be 254."""
    first, second = (lambda weight, n=n: np.full(len(weight), n, np.uint8) for n in (3, 1))
    assert paired_bootstrap(first, second, GROUPS).difference == -2


def test_a_spread_needs_two_samples() -> None:
    zero = lambda weight: np.zeros(len(weight))  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(paired_bootstrap(zero, mean, GROUPS, num_resamples=1).low)
    assert np.isfinite(paired_bootstrap(zero, mean, GROUPS, num_resamples=2).low)
