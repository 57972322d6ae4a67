"""The training loss against a float64 formula: values, gradients, extremes."""

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.labels import ANY, WEIGHTS
from ich_tf.losses import (
    exam_loss,
    known_crossentropy,
    known_training_loss,
    mask_loss,
    segmentation_loss,
    self_training_loss,
    training_loss,
    weighted_binary_crossentropy,
)
from ich_tf.metrics import sigmoid, weighted_log_loss


def reference(labels, logits):
    """max(x, 0) - x y + log(1 + exp(-|x|)) in float64, per example."""
    logits = np.asarray(logits, np.float64)
    bce = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return bce @ np.asarray(WEIGHTS) / sum(WEIGHTS)


def reference_gradient(labels, logits):
    return (sigmoid(logits) - labels) * np.asarray(WEIGHTS) / sum(WEIGHTS)


@pytest.mark.parametrize("scale", [0.1, 5.0, 100.0, 1e4])
def test_value_and_gradient(scale: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (9, 6)).astype(np.float32)
    logits = tf.constant(rng.normal(scale=scale, size=labels.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = weighted_binary_crossentropy(labels, logits)
    assert loss.shape == (9,) and loss.dtype == tf.float32
    np.testing.assert_allclose(loss, reference(labels, logits), rtol=1e-6, atol=1e-7)
    gradient = tape.gradient(loss, logits)
    np.testing.assert_allclose(gradient, reference_gradient(labels, logits), atol=1e-7)


def test_certain_logits() -> None:
    logits = np.array([[1e4] * 6, [-1e4] * 6], np.float32)
    right = weighted_binary_crossentropy(np.array([[1.0] * 6, [0.0] * 6]), logits)
    wrong = weighted_binary_crossentropy(np.array([[0.0] * 6, [1.0] * 6]), logits)
    np.testing.assert_array_equal(right, [0, 0])
    np.testing.assert_allclose(wrong, [1e4, 1e4], rtol=1e-6)


def test_its_mean_is_the_metric() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (40, 6))
    logits = rng.normal(scale=3, size=labels.shape).astype(np.float32)
    loss = float(tf.reduce_mean(weighted_binary_crossentropy(labels, logits)))
    assert loss == pytest.approx(weighted_log_loss(labels, sigmoid(logits)), abs=1e-6)


def test_any_counts_twice() -> None:
    logits = np.full((1, 6), 3.0, np.float32)
    gradient_of = []
    for column in range(6):
        labels = np.ones((1, 6), np.float32)
        labels[0, column] = 0
        gradient_of.append(float(weighted_binary_crossentropy(labels, logits)[0]))
    base = float(weighted_binary_crossentropy(np.ones((1, 6), np.float32), logits)[0])
    extra = np.array(gradient_of) - base
    np.testing.assert_allclose(extra / extra[0], WEIGHTS, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_logits_give_a_float32_loss(dtype: str) -> None:
    logits = tf.cast([[-2.0] * 6], dtype)
    loss = weighted_binary_crossentropy(np.zeros((1, 6)), logits)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, [np.log1p(np.exp(-2))], rtol=1e-6)


def test_soft_labels() -> None:
    labels = np.full((1, 6), 0.3, np.float32)
    logits = np.full((1, 6), 0.7, np.float32)
    np.testing.assert_allclose(
        weighted_binary_crossentropy(labels, logits), reference(labels, logits), rtol=1e-6
    )


def mask_reference(mask, annotated, logits):
    """Cross-entropy and Dice in float64, pixel by pixel and class by class."""
    losses = []
    for bits, known, values in zip(mask, annotated, np.asarray(logits, np.float64), strict=True):
        total = weight = 0.0
        for k in range(6):
            if known >> k & 1:
                y = (bits >> k & 1 if k < ANY else bits > 0).astype(np.float64)
                x, p = values[..., k], sigmoid(values[..., k])
                loss = np.mean(np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x))))
                if y.any():
                    loss += 1 - 2 * (p * y).sum() / (p.sum() + y.sum())
                total, weight = total + WEIGHTS[k] * loss, weight + WEIGHTS[k]
        losses.append(total / weight if weight else 0.0)
    return losses


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_loss_of_masks(scale: float, xla: bool) -> None:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 32, (5, 4, 6)).astype(np.uint8)
    mask[3] = 0
    annotated = np.array([63, 0, 0b100000, 63, 0b000101], np.int32)
    logits = tf.constant(rng.normal(scale=scale, size=(5, 4, 6, 6)).astype(np.float32))

    @tf.function(jit_compile=xla)
    def compute(mask, annotated, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = mask_loss(mask, annotated, logits)
        return loss, tape.gradient(loss, logits)

    loss, gradient = compute(mask, annotated, logits)
    assert loss.shape == (5,) and loss.dtype == tf.float32
    np.testing.assert_allclose(loss, mask_reference(mask, annotated, logits), rtol=1e-5)
    assert np.isfinite(gradient).all() and loss[1] == 0
    unknown = np.array([[not known >> k & 1 for k in range(6)] for known in annotated])
    assert (np.abs(gradient).sum((1, 2))[unknown] == 0).all()
    assert (np.abs(gradient).sum((1, 2))[~unknown] > 0).all() or scale > 1


def test_a_mask_of_another_size_counts_by_its_share() -> None:
    mask = np.zeros((1, 4, 6), np.uint8)
    mask[0, :2, :3] = 1
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 6)).astype(np.float32)
    cut = np.zeros((1, 2, 2), np.uint8)
    cut[0, 0, 0] = 1
    one = mask_loss(mask, [0b100001], logits)
    np.testing.assert_allclose(one, mask_loss(cut, [0b100001], logits), rtol=1e-6)
    # Two pixels of 24 are a third of one of 4: its loss is that of y = 1 / 3.
    mask = np.zeros((1, 4, 6), np.uint8)
    mask[0, 1, 1:3] = 1
    p, y = sigmoid(logits[0, ..., 0].astype(np.float64)), np.array([[1 / 3, 0], [0, 0]])
    expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    expected += 1 - 2 * (p * y).sum() / (p.sum() + y.sum())
    np.testing.assert_allclose(mask_loss(mask, [1], logits), [expected], rtol=1e-5)


def test_loss_of_slices_and_masks() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (3, 6)).astype(np.float32)
    mask, annotated = rng.integers(0, 64, (3, 4, 4)).astype(np.uint8), np.array([63, 0, 1])
    logits = rng.normal(size=(3, 6)).astype(np.float32)
    mask_logits = rng.normal(size=(3, 4, 4, 6)).astype(np.float32)
    found = segmentation_loss((labels, mask, annotated), (logits, mask_logits), mask_weight=0.5)
    of_slices = weighted_binary_crossentropy(labels, logits).numpy()
    of_masks = mask_loss(mask, annotated, mask_logits).numpy()
    np.testing.assert_allclose(found, of_slices + 0.5 * of_masks, rtol=1e-6)
    assert found[1] == of_slices[1]


@pytest.mark.parametrize("scale", [1, 1e4])
def test_self_training_takes_pixels_that_heat_maps_are_sure_of(scale: float) -> None:
    """Against NumPy; class 2 is annotated, class 3 labelled 0, class 4 has no map."""
    rng = np.random.default_rng(0)
    heat = rng.random((2, 5, 5, 6)).astype(np.float32) ** 2
    heat[..., 4] = 0
    logits = (scale * rng.normal(size=(2, 5, 5, 6))).astype(np.float32)
    labels = np.array([[1, 1, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0]], np.float32)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        tape.watch(taught := tf.constant(heat))
        found = self_training_loss(labels, np.array([4, 4]), taught, variable)
    gradient, of_teacher = tape.gradient(found, [variable, taught])
    total = 0.0
    for k in (0, 1, 5):
        of_class = heat[0, ..., k]
        sure = (of_class >= 0.4) | (of_class <= 0.1)
        y, x = of_class[sure] >= 0.4, logits[0, ..., k].astype(np.float64)[sure]
        losses = np.mean(np.logaddexp(0, x) - y * x)
        losses += 1 - 2 * sigmoid(x)[y].sum() / (sigmoid(x).sum() + y.sum())
        total += WEIGHTS[k] * losses
        assert not gradient.numpy()[0, ~sure, k].any()
        assert gradient.numpy()[0, sure, k].any()
    expected = total / (WEIGHTS[0] + WEIGHTS[1] + WEIGHTS[5])
    np.testing.assert_allclose(found, [expected, 0], rtol=1e-5)
    assert not gradient.numpy()[:, ..., 2:5].any() and not gradient.numpy()[1].any()
    assert of_teacher is None and np.isfinite(gradient).all()
    mask = np.zeros((2, 5, 5), np.uint8)
    both = segmentation_loss(
        (labels, mask, np.array([4, 4]), heat),
        (labels, logits),
        mask_weight=0,
        self_training=0.5,
    )
    of_slices = weighted_binary_crossentropy(labels, labels)
    np.testing.assert_allclose(both, of_slices + 0.5 * found, rtol=1e-5)


def unknown_at_random(rng, shape):
    """Labels in [0, 1], half of them unknown; of the first example all."""
    labels = rng.uniform(size=shape)
    labels[rng.uniform(size=shape) < 0.5] = np.nan
    labels[0] = np.nan
    return labels.astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_unknown_classes_count_nothing_and_have_no_gradient(scale: float) -> None:
    rng = np.random.default_rng(2)
    labels = unknown_at_random(rng, (20, 6))
    logits = tf.constant(rng.normal(scale=scale, size=labels.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = known_crossentropy(labels, logits)
    known = ~np.isnan(labels)
    weights = known * np.asarray(WEIGHTS, np.float64)
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    x, y = logits.numpy().astype(np.float64), np.where(known, labels, 0).astype(np.float64)
    bce = np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))
    np.testing.assert_allclose(loss, (bce * shares).sum(axis=1), rtol=1e-5, atol=1e-7)
    assert loss[0] == 0
    np.testing.assert_allclose(tape.gradient(loss, logits), (sigmoid(x) - y) * shares, atol=1e-6)


@pytest.mark.parametrize("negative_weight", [1.0, 0.25])
def test_with_all_labels_known_the_loss_is_the_same(negative_weight: float) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (9, 6)).astype(np.float32)
    logits = rng.normal(size=labels.shape).astype(np.float32)
    options = {"label_smoothing": 0.1, "negative_weight": negative_weight}
    np.testing.assert_allclose(
        known_training_loss(labels, logits, **options),
        training_loss(labels, logits, **options),
        rtol=1e-6,
    )


def test_an_example_whose_any_is_unknown_is_no_negative() -> None:
    labels = np.zeros((2, 6), np.float32)
    labels[1, ANY] = np.nan
    losses = known_training_loss(labels, np.zeros((2, 6)), negative_weight=0.5)
    np.testing.assert_allclose(losses, np.log(2) * np.array([0.5, 1]), rtol=1e-6)


def test_the_loss_of_exams() -> None:
    rng = np.random.default_rng(4)
    labels = unknown_at_random(rng, (5, 8, 6))
    labels[1, 1:], labels[2, 0], labels[:, 6:] = np.nan, np.nan, np.nan
    logits = tf.constant(rng.normal(size=labels.shape).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = exam_loss(labels, logits, exam_weight=0.7, label_smoothing=0.1)
    expected = []
    for rows, values in zip(labels * 0.9 + 0.05, logits.numpy(), strict=True):
        known = [i for i in range(1, 8) if not np.isnan(rows[i]).all()]
        slices = [float(known_crossentropy(rows[i : i + 1], values[i : i + 1])[0]) for i in known]
        exam = float(known_crossentropy(rows[:1], values[:1])[0])
        expected.append((np.mean(slices) if slices else 0) + 0.7 * exam)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[np.isnan(labels)].any() and gradient[~np.isnan(labels)].all()
