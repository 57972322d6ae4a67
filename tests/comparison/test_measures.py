"""Metrics of a comparison: equal to those of `metrics`, and defined for unknown and soft labels."""

import dataclasses
import math

import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.comparison.differences import Difference, verdict
from ich_tf.comparison.measures import ALL_CLASSES, MEASURES, Measure, count_patients, statistic
from ich_tf.labels import ANY, CLASSES, WEIGHTS


@pytest.fixture
def examples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (30, 6)).astype(float), rng.uniform(0.01, 0.99, (30, 6))


def value(metric: str, labels, prob, weight=None, class_name: str = "any") -> float:
    weight = np.ones(len(labels)) if weight is None else weight
    class_name = ALL_CLASSES if metric == "weighted_log_loss" else class_name
    function = statistic(Measure(metric, class_name), labels, prob, {"any": 0.5})
    return float(function(weight[None])[0])


def of_metrics(labels, prob, weight) -> dict[str, float]:
    """The same of the public functions."""
    truth, p = labels[:, ANY], prob[:, ANY]
    decided = metrics.confusion(truth, p, 0.5, weight)
    losses = -np.log(np.where(truth > 0, p, 1 - p))
    return {
        "weighted_log_loss": metrics.weighted_log_loss(labels, prob, weight),
        "log_loss": float(losses @ weight / weight.sum()),
        "roc_auc": metrics.roc_auc(truth, p, weight),
        "average_precision": metrics.average_precision(truth, p, weight),
        "brier_score": metrics.brier_score(truth, p, weight),
        "sensitivity": decided.sensitivity,
        "specificity": decided.specificity,
    }


@pytest.mark.parametrize("metric", MEASURES)
def test_known_labels_are_scored_as_everywhere(metric: str, examples) -> None:
    labels, prob = examples
    weight = np.random.default_rng(1).integers(0, 4, 30).astype(float)
    expected = of_metrics(labels, prob, weight)[metric]
    assert value(metric, labels, prob, weight) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [name for name in MEASURES if name != "weighted_log_loss"])
def test_an_unknown_label_counts_as_if_the_example_were_not_there(metric: str, examples) -> None:
    labels, prob = examples
    expected = value(metric, labels[5:], prob[5:])
    labels[:5, ANY] = np.nan
    assert value(metric, labels, prob) == pytest.approx(expected, abs=1e-12)


def test_the_weighted_loss_is_that_of_the_known_classes(examples) -> None:
    labels, prob = examples
    labels[:, 0] = np.nan  # a class of which nothing is known
    labels[:10, 1] = np.nan
    each = [value("log_loss", labels, prob, class_name=name) for name in CLASSES[1:]]
    expected = np.average(each, weights=WEIGHTS[1:])
    assert value("weighted_log_loss", labels, prob) == pytest.approx(expected, abs=1e-12)


def test_shares_of_readers_enter_losses_and_count_from_a_half_on(examples) -> None:
    labels, prob = examples
    labels[:, ANY] = np.arange(30) % 3 / 2  # 0, 0.5, 1
    p, share = prob[:, ANY], labels[:, ANY]
    loss = -(share * np.log(p) + (1 - share) * np.log(1 - p)).mean()
    assert value("log_loss", labels, prob) == pytest.approx(loss, abs=1e-12)
    assert value("brier_score", labels, prob) == pytest.approx(np.square(p - share).mean())
    hard = labels.copy()
    hard[:, ANY] = share >= 0.5
    assert value("roc_auc", labels, prob) == value("roc_auc", hard, prob)


def test_patients_are_counted_by_what_a_metric_rests_on() -> None:
    labels = np.full((6, 6), np.nan)
    labels[:, ANY] = [1, 0, 0, 0, np.nan, 0]
    patients = np.array(list("aabcde"))
    numbers = {
        name: count_patients(Measure(name, "any"), labels, patients)
        for name in ("log_loss", "sensitivity", "specificity", "roc_auc")
    }
    assert numbers == {"log_loss": 4, "sensitivity": 1, "specificity": 4, "roc_auc": 1}


@pytest.mark.parametrize(
    ("low", "high", "margin", "more_is_better", "expected"),
    [
        (0.01, 0.02, None, True, "better"),
        (0.01, 0.02, None, False, "worse"),
        (-0.01, 0.02, None, True, "no difference shown"),
        (0.01, 0.02, 0.05, True, "non-inferior, and better"),
        (-0.02, -0.01, 0.05, True, "non-inferior, though worse"),
        (-0.04, 0.06, 0.05, False, "non-inferiority not shown"),
        (-0.06, 0.04, 0.05, False, "non-inferior"),
        (-0.06, -0.01, 0.05, True, "worse, and non-inferiority not shown"),
        (-0.07, -0.06, 0.05, True, "inferior"),
        (-0.05, 0.06, 0.05, True, "non-inferiority not shown"),  # the margin itself is a loss
        (math.nan, math.nan, 0.05, True, "no interval"),
    ],
)
def test_verdicts(low, high, margin, more_is_better, expected) -> None:
    assert verdict(low, high, margin, more_is_better=more_is_better) == expected


def test_a_difference_names_its_patients_where_they_are_few() -> None:
    whole = Difference("b", "a", "roc_auc", "any", 0.8, 0.7, 0.1, -0.05, 0.25, 40, None, "")
    assert whole.text(2) == "+0.10 [-0.05, +0.25]"
    assert (
        dataclasses.replace(whole, num_patients=12).text(2) == "+0.10 [-0.05, +0.25; 12 patients]"
    )
    none = dataclasses.replace(whole, low=None, high=None, num_patients=8)
    assert none.text(2) == "+0.10 [no interval; 8 patients]"
    assert dataclasses.replace(none, difference=None).text() == "undefined"
