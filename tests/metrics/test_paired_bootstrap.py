"""Intervals of the difference between two models on the same patients."""

import numpy as np
import pytest
from scipy.stats import t

from ich_tf.metrics import paired_bootstrap, roc_auc


def mean_of(values):
    return lambda weight: weight @ values / weight.sum(axis=-1)


def test_of_means_it_is_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 60))
    compared = paired_bootstrap(
        mean_of(first), mean_of(second), np.arange(60), num_resamples=20_000
    )
    # The bootstrap's standard deviation has n in place of n - 1.
    half = t.ppf(0.975, 59) * (second - first).std(ddof=0) / np.sqrt(60)
    assert compared.difference == pytest.approx((second - first).mean(), abs=1e-12)
    assert compared.high - compared.difference == pytest.approx(half, rel=0.02)
    assert compared.difference - compared.low == pytest.approx(half, rel=0.02)


def test_what_is_hard_for_both_models_cancels() -> None:
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(40), 5)
    hard = rng.normal(size=40)[patient]
    first, second = hard + rng.normal(0, 0.1, (2, 200))
    compared = paired_bootstrap(mean_of(first), mean_of(second), patient)
    alone = paired_bootstrap(mean_of(np.zeros(200)), mean_of(second), patient)
    assert compared.high - compared.low < 0.2 * (alone.high - alone.low)


def test_slices_of_a_patient_are_resampled_together() -> None:
    rng = np.random.default_rng(2)
    patient = np.repeat(np.arange(50), 30)
    values = rng.normal(size=50)[patient]
    zero = mean_of(np.zeros(1500))
    by_patient = paired_bootstrap(zero, mean_of(values), patient)
    by_slice = paired_bootstrap(zero, mean_of(values), np.arange(1500))
    ratio = (by_patient.high - by_patient.low) / (by_slice.high - by_slice.low)
    assert ratio == pytest.approx(np.sqrt(30), rel=0.1)


def test_exchanged_models_have_the_mirrored_interval() -> None:
    rng = np.random.default_rng(3)
    truth, first, second = rng.integers(0, 2, 80), rng.uniform(size=80), rng.uniform(size=80)
    metrics = [lambda weight, p=p: roc_auc(truth, p, weight) for p in (first, second)]
    there = paired_bootstrap(*metrics, np.arange(80), num_resamples=200)
    back = paired_bootstrap(*metrics[::-1], np.arange(80), num_resamples=200)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert there.difference == pytest.approx(roc_auc(truth, second) - roc_auc(truth, first))


def test_several_metrics_have_their_own_degrees_of_freedom() -> None:
    values = np.random.default_rng(4).normal(size=30)
    both = lambda weight: np.stack([mean_of(values)(weight)] * 2, axis=-1)  # noqa: E731
    zero = lambda weight: np.zeros((len(weight), 2))  # noqa: E731
    compared = paired_bootstrap(zero, both, np.arange(30), num_groups=[30, 5], num_resamples=200)
    widths = compared.high - compared.low
    assert widths[1] / widths[0] == pytest.approx(t.ppf(0.975, 4) / t.ppf(0.975, 29))


@pytest.mark.parametrize(
    ("second", "groups"),
    [
        (np.arange(20.0), np.zeros(20)),  # a single patient
        (np.full(20, 0.1), np.arange(20)),  # the same difference in each sample
        (np.full(20, np.nan), np.arange(20)),
    ],
)
def test_where_nothing_varies_there_is_no_interval(second, groups) -> None:
    compared = paired_bootstrap(mean_of(np.zeros(20)), mean_of(second), groups, num_resamples=50)
    assert np.isnan(compared.low) and np.isnan(compared.high)


def test_what_most_resamples_lack_has_no_interval() -> None:
    # One positive of 40 is missing from a third of the resamples.
    truth, scores = np.arange(40) == 7, np.linspace(0, 1, 40)
    compared = paired_bootstrap(
        lambda weight: roc_auc(truth, scores, weight),
        lambda weight: roc_auc(truth, scores**2 - scores, weight),
        np.arange(40),
        num_resamples=200,
    )
    assert np.isfinite(compared.difference) and np.isnan(compared.low)


def test_a_level_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="level is 95"):
        paired_bootstrap(mean_of(np.ones(3)), mean_of(np.ones(3)), np.arange(3), level=95)
