import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.labels import WEIGHTS
from ich_tf.metrics import known_log_loss, known_per_class_log_loss
from ich_tf.metrics.known_labels import known_loss_of


@pytest.fixture
def examples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (40, 6)).astype(np.float32), rng.uniform(size=(40, 6))


def test_hard_labels_give_the_bits_of_the_challenge_s_loss(examples) -> None:
    labels, prob = examples
    assert metrics.known_log_loss(labels, prob) == metrics.weighted_log_loss(labels, prob)
    np.testing.assert_array_equal(
        metrics.known_per_class_log_loss(labels, prob), metrics.per_class_log_loss(labels, prob)
    )
    weight = np.random.default_rng(1).integers(0, 3, (5, 40)).astype(float)
    per_image = metrics.per_image_log_loss(labels, prob)
    expected = weight @ per_image / weight.sum(axis=-1)
    np.testing.assert_array_equal(known_loss_of(labels, prob)(weight), expected)
    np.testing.assert_array_equal(metrics.soft_log_loss(labels, prob).mean(axis=0).round(12),
                                  metrics.per_class_log_loss(labels, prob).round(12))  # fmt: skip


def test_the_loss_is_of_known_classes_by_a_bare_formula(examples) -> None:
    labels, prob = examples
    labels[::3, 1], labels[:, 4], labels[5] = np.nan, np.nan, np.nan
    labels[7, 5] = 0.25
    losses, weights = [], []
    for i in range(6):
        rows = [k for k in range(40) if labels[k, i] == labels[k, i]]
        if rows:
            terms = [
                -labels[k, i] * np.log(prob[k, i]) - (1 - labels[k, i]) * np.log(1 - prob[k, i])
                for k in rows
            ]
            losses.append(np.mean(terms))
            weights.append(WEIGHTS[i])
    assert len(losses) == 5
    expected = np.average(losses, weights=weights)
    assert metrics.known_log_loss(labels, prob) == pytest.approx(expected, rel=1e-12)
    twice = np.r_[labels, labels[:10]], np.r_[prob, prob[:10]]
    weight = np.r_[np.full(10, 2.0), np.ones(30)]
    found = metrics.known_log_loss(labels, prob, weight)
    assert found == pytest.approx(metrics.known_log_loss(*twice), rel=1e-12)
    nothing = np.full((3, 6), np.nan)
    assert np.isnan(metrics.known_log_loss(nothing, prob[:3]))
    shares = metrics.known_shares(labels)
    assert np.isnan(shares[4]) and shares[1] == pytest.approx(np.nanmean(labels[:, 1]))


def test_shares_of_readers_count_as_they_are_where_a_metric_takes_them() -> None:
    labels, prob = [0.25, 0.75, 1.0], [0.25, 0.75, 1.0]
    assert metrics.brier_score(labels, prob, soft=True) == 0
    assert metrics.expected_calibration_error(labels, prob, soft=True) == pytest.approx(0)
    with pytest.raises(ValueError, match="other than 0 and 1"):
        metrics.brier_score(labels, prob)
    with pytest.raises(ValueError, match="outside of"):
        metrics.brier_score([1.5], [0.5], soft=True)
    assert metrics.hard_labels([0.25, 0.5, np.nan])[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda y, p, w: (y, np.where(np.arange(6) == 2, np.nan, p), w),
            "^y_prob has 59 NaN values",
        ),
        (lambda y, p, w: (y, p * 10 - 5, w), "Pass logits through"),
        (lambda y, p, w: (y * 2, p, w), "outside of"),
        (lambda y, p, w: (y, p[:1], w), "y_prob has shape"),
        (lambda y, p, w: (y[:, :5], p[:, :5], w), "^labels has shape .60, 5.; expected"),
        (lambda y, p, w: (y[:0], p[:0], w[:0]), "has no images"),
        (lambda y, p, w: (y, p, -w), "must be finite, and 0 or more"),
        (lambda y, p, w: (y, p, np.where(np.arange(60) == 3, np.nan, w)), "must be finite"),
        (lambda y, p, w: (y, p, w[:9]), "sample_weight has shape"),
    ],
)
def test_an_unknown_label_excuses_nothing_else(change, message: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 6)).astype(np.float64)
    prob, weight = rng.uniform(size=(60, 6)), np.ones(60)
    labels[4, 2] = np.nan
    assert known_log_loss(labels, prob, weight) > 0
    # A class that nobody knows has no probability to be asked for.
    without = np.where(np.isnan(labels), np.nan, prob)
    assert known_log_loss(labels, without) == known_log_loss(labels, prob)
    labels, prob, weight = change(labels, prob, weight)
    with pytest.raises(ValueError, match=message):
        known_log_loss(labels, prob, weight)
    if "weight" not in message and "finite" not in message:
        with pytest.raises(ValueError, match=message):
            known_per_class_log_loss(labels, prob)
