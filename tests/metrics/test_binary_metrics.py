"""The metrics of one class, against scikit-learn and against plain counting."""

from typing import Any

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics

from ich_tf import metrics


def random_data(seed: int, number: int = 200, ties: bool = True):
    rng = np.random.default_rng(seed)
    labels = (rng.uniform(size=number) < 0.3).astype(int)
    scores = np.clip(rng.normal(0.35 + 0.2 * labels, 0.2), 0, 1)
    return labels, np.round(scores, 1 if ties else 12), rng.integers(0, 4, number).astype(float)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed: Any, ties: bool) -> None:
    labels, scores, weight = random_data(seed, ties=ties)
    for sample_weight in (None, weight):
        assert metrics.roc_auc(labels, scores, sample_weight) == pytest.approx(
            sklearn.metrics.roc_auc_score(labels, scores, sample_weight=sample_weight), abs=1e-12
        )
        assert metrics.average_precision(labels, scores, sample_weight) == pytest.approx(
            sklearn.metrics.average_precision_score(labels, scores, sample_weight=sample_weight),
            abs=1e-12,
        )
        assert metrics.brier_score(labels, scores, sample_weight) == pytest.approx(
            sklearn.metrics.brier_score_loss(labels, scores, sample_weight=sample_weight), abs=1e-12
        )
        fpr, tpr, thresholds = metrics.roc_curve(labels, scores, sample_weight)
        expected = sklearn.metrics.roc_curve(
            labels, scores, sample_weight=sample_weight, drop_intermediate=False
        )
        if sample_weight is None:
            for ours, theirs in zip((fpr, tpr, thresholds), expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-12)
        table = sklearn.metrics.confusion_matrix(labels, scores >= 0.4, sample_weight=sample_weight)
        counts = metrics.confusion(labels, scores, 0.4, sample_weight)
        np.testing.assert_allclose(
            [
                [counts.true_negatives, counts.false_positives],
                [counts.false_negatives, counts.true_positives],
            ],
            table,
        )
        np.testing.assert_allclose(counts.sensitivity, table[1, 1] / table[1].sum())
        np.testing.assert_allclose(counts.specificity, table[0, 0] / table[0].sum())


def test_precision_recall_curve_equals_scikit_learn() -> None:
    labels, scores, _ = random_data(7)
    precision, recall, thresholds = metrics.precision_recall_curve(labels, scores)
    theirs = sklearn.metrics.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(precision[::-1], theirs[0], atol=1e-12)
    np.testing.assert_allclose(recall[::-1], theirs[1], atol=1e-12)
    np.testing.assert_allclose(thresholds[:0:-1], theirs[2], atol=1e-12)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.roc_auc,
        metrics.average_precision,
        metrics.brier_score,
        metrics.expected_calibration_error,
        lambda *data: metrics.confusion(*data[:2], 0.4, data[2]).sensitivity,
    ],
)
def test_many_samples_at_once_equal_one_after_the_other(metric: Any) -> None:
    labels, scores, _ = random_data(8)
    weights = np.random.default_rng(8).integers(0, 3, (6, len(labels))).astype(float)
    together = metric(labels, scores, weights)
    assert together.shape == (6,)
    for row, value in zip(weights, together, strict=True):
        assert value == pytest.approx(metric(labels, scores, row), abs=1e-12)
        # A weight counts copies.
        copies = np.repeat(np.arange(len(labels)), row.astype(int))
        ones = np.ones(len(copies))
        assert value == pytest.approx(metric(labels[copies], scores[copies], ones), abs=1e-12)


def test_ece_by_hand() -> None:
    rng = np.random.default_rng(0)
    prob = np.append(rng.uniform(size=300), [0.0, 1.0, 0.21])
    labels = (rng.uniform(size=303) < prob**2).astype(int)
    expected = 0.0
    for i in range(15):
        low, high = i / 15, (i + 1) / 15
        inside = (prob >= low) & ((prob < high) | (i == 14))
        if inside.any():
            expected += abs(labels[inside].mean() - prob[inside].mean()) * inside.mean()
    assert metrics.expected_calibration_error(labels, prob) == pytest.approx(expected, abs=1e-12)
    mean, share, weight = metrics.reliability_curve(labels, prob)
    theirs_share, theirs_mean = sklearn.calibration.calibration_curve(labels, prob, n_bins=15)
    np.testing.assert_allclose(mean[weight > 0], theirs_mean, atol=1e-12)
    np.testing.assert_allclose(share[weight > 0], theirs_share, atol=1e-12)


def test_a_perfectly_calibrated_forecast_has_no_error() -> None:
    prob = np.repeat([0.25, 0.75], 4)
    labels = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert metrics.expected_calibration_error(labels, prob) == 0
    assert metrics.expected_calibration_error([1, 0], [0.0, 1.0]) == 1


def test_what_is_not_defined_is_nan_and_nothing_warns() -> None:
    scores = [0.2, 0.7]
    for labels in ([0, 0], [1, 1]):
        assert np.isnan(metrics.roc_auc(labels, scores))
        assert np.isnan(metrics.choose_threshold(labels, scores))
    assert np.isnan(metrics.average_precision([0, 0], scores))
    assert metrics.average_precision([1, 1], scores) == 1
    none = metrics.confusion([0, 0], scores, 0.5)
    assert np.isnan(none.sensitivity) and none.specificity == 0.5
    assert np.isnan(metrics.brier_score([0, 1], scores, [0, 0]))
    assert np.isnan(metrics.expected_calibration_error([0, 1], scores, [0, 0]))
    ppv, npv = metrics.predictive_values(0.0, 1.0, 0.2)
    assert np.isnan(ppv) and npv == pytest.approx(0.8)


@pytest.mark.parametrize("seed", range(5))
def test_thresholds_meet_their_targets_and_no_other_does_better(seed: Any) -> None:
    labels, scores, _ = random_data(seed)

    def rates(threshold: float) -> tuple[float, float]:
        positive = scores >= threshold
        return positive[labels == 1].mean(), (~positive)[labels == 0].mean()

    every = [rates(t) for t in [np.inf, *np.unique(scores)]]
    best = max(a + b for a, b in every)
    assert sum(rates(metrics.choose_threshold(labels, scores))) == pytest.approx(best)
    chosen = rates(metrics.choose_threshold(labels, scores, sensitivity=0.95))
    assert chosen[0] >= 0.95
    assert chosen[1] == max(b for a, b in every if a >= 0.95)
    chosen = rates(metrics.choose_threshold(labels, scores, specificity=0.95))
    assert chosen[1] >= 0.95
    assert chosen[0] == max(a for a, b in every if b >= 0.95)


def test_19_of_20_is_95_percent() -> None:
    labels = np.array([1] * 20 + [0] * 20)
    scores = np.arange(40)[::-1] / 40
    assert metrics.choose_threshold(labels, scores, sensitivity=0.95) == scores[18]
    assert metrics.choose_threshold(labels, scores, specificity=0.95) == scores[20]


def test_no_threshold_reaches_the_specificity() -> None:
    assert metrics.choose_threshold([1, 0], [0.5, 0.5], specificity=0.9) == np.inf


def test_predictive_values_by_bayes() -> None:
    ppv, npv = metrics.predictive_values(np.array([0.9, np.nan]), 0.8, 0.3)
    np.testing.assert_allclose(ppv, [0.27 / (0.27 + 0.14), np.nan])
    np.testing.assert_allclose(npv, [0.56 / (0.56 + 0.03), np.nan])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.roc_auc([], []), r"y_true has shape \(0,\)"),
        (lambda: metrics.roc_auc([[0]], [[0]]), r"y_true has shape \(1, 1\)"),
        (lambda: metrics.roc_auc([0, 1], [0.1]), r"y_score has shape \(1,\)"),
        (lambda: metrics.roc_auc([0, 2], [0.1, 0.2]), "other than 0 and 1"),
        (lambda: metrics.roc_auc([0, 1], [0.1, np.nan]), "1 NaN"),
        (lambda: metrics.roc_auc([0, 1], [0.1, 0.2], [1]), r"sample_weight has shape \(1,\)"),
        (lambda: metrics.roc_auc([0, 1], [0.1, 0.2], [1, -1]), "0 or more"),
        (lambda: metrics.brier_score([0, 1], [0.1, 1.2]), r"spans \[0.1, 1.2\]"),
        (lambda: metrics.reliability_curve([0], [0.1], num_bins=0), "num_bins is 0"),
        (lambda: metrics.choose_threshold([0], [0.1], sensitivity=2), "target is 2"),
        (
            lambda: metrics.choose_threshold([0], [0], sensitivity=0.9, specificity=0.9),
            "both given",
        ),
        (lambda: metrics.predictive_values(0.5, 0.5, 1.5), "prevalence is 1.5"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
