"""The training loss against a float64 formula: values, gradients, extremes."""

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.labels import WEIGHTS
from ich_tf.losses import weighted_binary_crossentropy
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
