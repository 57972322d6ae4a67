"""Intervals by resampling patients."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ich_tf.metrics import bootstrap_interval, roc_auc, weighted_log_loss
from ich_tf.metrics.log_loss import per_image_log_loss


def mean_of(values):
    return lambda weight: weight @ values / weight.sum(axis=-1)


def test_equals_plain_resampling_of_whole_groups() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    values = rng.normal(size=len(groups)) + 0.05 * groups
    interval = bootstrap_interval(mean_of(values), groups, num_resamples=4000)
    by_group = [values[groups == group] for group in range(40)]
    means = [
        np.concatenate([by_group[i] for i in rng.integers(0, 40, 40)]).mean() for _ in range(4000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    # Two draws of 4,000 resamples differ by some hundredths of the width.
    assert interval.low == pytest.approx(low, abs=0.05 * (high - low))
    assert interval.high == pytest.approx(high, abs=0.05 * (high - low))


def test_slices_of_a_patient_are_not_independent() -> None:
    rng = np.random.default_rng(1)
    patients = rng.normal(size=50)
    groups = np.repeat(np.arange(50), 30)
    values = patients[groups]
    by_patient = bootstrap_interval(mean_of(values), groups)
    by_slice = bootstrap_interval(mean_of(values), np.arange(len(values)))
    ratio = (by_patient.high - by_patient.low) / (by_slice.high - by_slice.low)
    assert ratio == pytest.approx(np.sqrt(30), rel=0.1)


def test_follows_from_the_seed_and_not_from_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.arange(20.0), list("abcdefghijklmnopqrst")
    first = bootstrap_interval(mean_of(values), groups, seed=3)
    assert bootstrap_interval(mean_of(values), groups, seed=3) == first
    assert bootstrap_interval(mean_of(values), groups, seed=4) != first
    monkeypatch.setattr("ich_tf.metrics.bootstrap._WEIGHTS_AT_ONCE", 100)
    assert bootstrap_interval(mean_of(values), groups, seed=3) == first


def test_a_statistic_may_be_several_numbers() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 60), rng.uniform(size=60)

    def both(weight):
        return np.stack([roc_auc(labels, scores, weight), mean_of(scores)(weight)], axis=-1)

    interval = bootstrap_interval(both, np.arange(60), num_resamples=200)
    assert interval.low.shape == interval.high.shape == (2,)
    assert (
        interval.high[1]
        == bootstrap_interval(mean_of(scores), np.arange(60), num_resamples=200).high
    )


def test_one_patient_has_no_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    interval = bootstrap_interval(mean_of(values), np.zeros(30))
    assert np.isnan([interval.low, interval.high]).all()


def test_what_most_resamples_lack_has_no_interval() -> None:
    scores = np.linspace(0, 1, 40)
    # One positive of 40 is missing from a third of the resamples.
    interval = bootstrap_interval(
        lambda weight: roc_auc(np.arange(40) == 7, scores, weight), np.arange(40)
    )
    assert np.isnan(interval.low) and np.isnan(interval.high)
    few = bootstrap_interval(
        lambda weight: roc_auc(np.arange(40) % 8 == 0, scores, weight), np.arange(40)
    )
    assert 0 < few.low < few.high < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval(mean_of(np.ones(0)), []), "groups is empty"),
        (lambda: bootstrap_interval(mean_of(np.ones(1)), [1], num_resamples=0), "num_resamples"),
        (lambda: bootstrap_interval(mean_of(np.ones(1)), [1], level=95), "level is 95"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def simulate(rng, patients: int):
    """Slices of patients: how ill one is shifts all of his probabilities and labels."""
    sizes = rng.integers(20, 41, patients)
    groups = np.repeat(np.arange(patients), sizes)
    severity = rng.normal(-2.0, 1.5, (patients, 6))[groups]
    labels = (rng.uniform(size=severity.shape) < 1 / (1 + np.exp(-severity))).astype(int)
    logits = 0.7 * severity + rng.normal(0, 1, severity.shape)
    return groups, labels, 1 / (1 + np.exp(-logits))


@pytest.mark.slow
def test_the_interval_covers_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(5)
    _, labels, prob = simulate(rng, 20_000)
    truth = weighted_log_loss(labels, prob), roc_auc(labels[:, 5], prob[:, 5])
    covered = np.zeros(2)
    for number in range(400):
        groups, labels, prob = simulate(rng, 100)
        per_image = per_image_log_loss(labels, prob)

        def both(weight, labels=labels, prob=prob, per_image=per_image):
            return np.stack(
                [mean_of(per_image)(weight), roc_auc(labels[:, 5], prob[:, 5], weight)], axis=-1
            )

        interval = bootstrap_interval(both, groups, seed=number, num_resamples=500)
        covered += (interval.low <= truth) & (truth <= interval.high)
    print(f"of 400 intervals, the loss's cover {covered[0]:.0f}, the AUC's {covered[1]:.0f}")
    assert (covered >= 0.92 * 400).all() and (covered <= 0.98 * 400).all()


def test_the_challenge_s_loss_is_resampled_as_any_other_metric() -> None:
    rng = np.random.default_rng(0)
    labels, prob = rng.integers(0, 2, (60, 6)), rng.uniform(size=(60, 6))
    patients = [(number // 12, number // 3) for number in range(60)]
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    losses = weighted_log_loss(labels, prob, weights)
    assert losses.shape == (5,)
    for weight, loss in zip(weights, losses, strict=True):
        assert loss == pytest.approx(weighted_log_loss(labels, prob, weight), rel=1e-14)
    interval = bootstrap_interval(lambda weight: weighted_log_loss(labels, prob, weight), patients)
    assert interval.low < weighted_log_loss(labels, prob) < interval.high


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([*range(9), float("nan")], "groups lacks 1 of 10"),
        ([None] * 10, "groups lacks 10 of 10"),
        ([*range(9), pd.NA], "groups lacks 1 of 10"),
        ([*["a"] * 8, pd.NaT, pd.NA], "groups lacks 2 of 10"),
        (pd.Series([*range(9), None]), "groups lacks 1 of 10"),
        (np.array([1.0] * 9 + [np.nan]), "groups lacks 1 of 10"),
        ([1, "a", *range(8)], None),
        (["a", (1, 2), *range(8)], "groups mixes kinds of values"),
        (np.zeros((5, 2)), "groups has shape"),
    ],
)
def test_a_group_that_is_missing_is_none(groups: Any, message: str | None) -> None:
    if message is None:  # NumPy makes texts of them
        bootstrap_interval(lambda weight: weight.mean(axis=-1), groups)
        return
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(lambda weight: weight.mean(axis=-1), groups)
