from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from ich_tf import metrics
from ich_tf.labels import CLASSES, WEIGHTS
from ich_tf.metrics import constant_predictor, per_class_log_loss, sigmoid, weighted_log_loss

# The order of the columns in the published examples.
PUBLISHED = ("any", *CLASSES[:-1])
TO_CLASSES = [PUBLISHED.index(name) for name in CLASSES]

Y = np.array([[1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])[:, TO_CLASSES]
P = np.array([[0.9, 0.01, 0.8, 0.05, 0.02, 0.1], [0.05, 0.001, 0.01, 0.01, 0.02, 0.03]])[
    :, TO_CLASSES
]

# Stage-2 train, from the published counts of images.
PREVALENCE = {
    "any": 0.1434,
    "subdural": 0.0627,
    "intraparenchymal": 0.0480,
    "subarachnoid": 0.0474,
    "intraventricular": 0.0348,
    "epidural": 0.0042,
}


def random_data(seed, number=50):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (number, len(CLASSES)))
    return labels, rng.uniform(size=labels.shape)


def sklearn_loss(labels, prob, sample_weight=None):
    weight = np.ones(len(labels)) if sample_weight is None else sample_weight
    # scikit-learn clips at the dtype's resolution, the challenge at 1e-15.
    return sklearn.metrics.log_loss(
        labels.ravel(),
        np.clip(prob, 1e-15, 1 - 1e-15).ravel(),
        sample_weight=np.outer(weight, WEIGHTS).ravel(),
        labels=[0, 1],
    )


def test_known_answers() -> None:
    assert weighted_log_loss(Y[:1], P[:1]) == pytest.approx(0.088682, abs=1e-6)
    assert weighted_log_loss(Y[1:], P[1:]) == pytest.approx(0.024907, abs=1e-6)
    assert weighted_log_loss(Y, P) == pytest.approx(0.056794, abs=1e-6)
    labels, _ = random_data(0)
    assert weighted_log_loss(labels, np.full(labels.shape, 0.5)) == pytest.approx(np.log(2))


def test_the_training_prior_scores_02311() -> None:
    number = 10_000
    labels = np.zeros((number, len(CLASSES)), np.int64)
    for column, name in enumerate(CLASSES):
        labels[: round(number * PREVALENCE[name]), column] = 1
    prior = constant_predictor(labels)
    np.testing.assert_allclose(prior, [PREVALENCE[name] for name in CLASSES], atol=1e-12)
    loss = weighted_log_loss(labels, np.broadcast_to(prior, labels.shape))
    # The prevalences are known to 0.01 %.
    assert loss == pytest.approx(0.2311, abs=1e-4)
    for other in (prior * 0.9, prior * 1.1):
        assert weighted_log_loss(labels, np.broadcast_to(other, labels.shape)) > loss


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn(seed: Any) -> None:
    labels, prob = random_data(seed)
    prob[:3] = [[0.0], [1.0], [1e-20]]
    weight = np.random.default_rng(seed).uniform(size=len(labels))
    assert weighted_log_loss(labels, prob) == pytest.approx(sklearn_loss(labels, prob), abs=1e-12)
    assert weighted_log_loss(labels, prob, weight) == pytest.approx(
        sklearn_loss(labels, prob, weight), abs=1e-12
    )


def test_certain_and_wrong_is_the_clip() -> None:
    loss = weighted_log_loss(np.ones((1, 6)), np.zeros((1, 6)))
    assert loss == pytest.approx(-np.log(1e-15), abs=1e-12)
    assert weighted_log_loss(np.ones((1, 6)), np.ones((1, 6))) == pytest.approx(0, abs=1e-14)


def test_a_weight_of_zero_equals_leaving_out() -> None:
    labels, prob = random_data(1)
    weight = (np.arange(len(labels)) % 3 > 0).astype(float)
    assert weighted_log_loss(labels, prob, weight) == pytest.approx(
        weighted_log_loss(labels[weight > 0], prob[weight > 0]), abs=1e-14
    )


def test_per_class_losses_make_up_the_whole() -> None:
    labels, prob = random_data(2)
    per_class = per_class_log_loss(labels, prob)
    assert per_class.shape == (6,) and per_class.dtype == np.float64
    expected = [sklearn.metrics.log_loss(labels[:, i], prob[:, i]) for i in range(6)]
    np.testing.assert_allclose(per_class, expected, atol=1e-12)
    assert np.average(per_class, weights=WEIGHTS) == pytest.approx(weighted_log_loss(labels, prob))


@pytest.mark.parametrize(
    ("labels", "prob", "weight", "message"),
    [
        (np.zeros((2, 5)), np.zeros((2, 5)), None, r"y_true has shape \(2, 5\); expected"),
        (np.zeros(6), np.zeros(6), None, r"y_true has shape \(6,\)"),
        (np.zeros((0, 6)), np.zeros((0, 6)), None, "no images"),
        (np.full((1, 6), 0.5), np.zeros((1, 6)), None, "other than 0 and 1"),
        (np.full((1, 6), np.nan), np.zeros((1, 6)), None, "other than 0 and 1"),
        (np.zeros((2, 6)), np.zeros((1, 6)), None, r"y_prob has shape \(1, 6\)"),
        (np.zeros((1, 6)), np.full((1, 6), np.nan), None, "6 NaN"),
        (np.zeros((1, 6)), np.full((1, 6), 1.5), None, r"spans \[1.5, 1.5\]"),
        (np.zeros((1, 6)), np.full((1, 6), -np.inf), None, "spans"),
        (np.zeros((1, 6)), np.zeros((1, 6)), [1, 2], r"sample_weight has shape \(2,\)"),
        (np.zeros((1, 6)), np.zeros((1, 6)), [0], "not all 0"),
        (np.zeros((2, 6)), np.zeros((2, 6)), [2, -1], "0 or more"),
    ],
)
def test_bad_input_is_refused(labels: Any, prob: Any, weight: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_log_loss(labels, prob, weight)


def test_sigmoid_does_not_overflow() -> None:
    values = sigmoid(np.array([-1000, -30, 0, 30, 1000], np.float32))
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, [0, np.exp(-30), 0.5, 1 - np.exp(-30), 1], rtol=1e-12)


def test_logit_is_the_inverse_of_sigmoid() -> None:
    logits = np.linspace(-20, 20, 41)
    np.testing.assert_allclose(metrics.logit(sigmoid(logits)), logits, atol=1e-6)
    assert np.isfinite(metrics.logit([0, 1])).all()


def test_a_probability_that_is_missing_is_named() -> None:
    labels, prob = np.zeros((2, 6)), np.full((2, 6), 0.5)
    prob[1, 3] = np.nan
    with pytest.raises(ValueError, match="^y_prob has 1 NaN values"):
        weighted_log_loss(labels, prob)
