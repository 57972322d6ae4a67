"""The challenge's loss as a streaming Keras metric, beside its NumPy form."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf import metrics
from ich_tf.labels import WEIGHTS
from ich_tf.metrics import keras2, sigmoid, weighted_log_loss
from ich_tf.runtime.keras2 import keras


@pytest.mark.parametrize("from_logits", [False, True])
def test_keras_metric_equals_numpy_over_uneven_batches(from_logits: bool) -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (23, 6))
    logits = rng.normal(scale=8, size=labels.shape).astype(np.float32)
    prob = sigmoid(logits).astype(np.float32)
    prob[0], prob[1] = 0, 1
    weight = rng.uniform(size=len(labels)).astype(np.float32)
    predictions, exact = (logits, sigmoid(logits)) if from_logits else (prob, prob)
    metric, weighted = (metrics.WeightedLogLoss(from_logits=from_logits) for _ in range(2))
    for part in (slice(0, 1), slice(1, 17), slice(17, 23)):
        metric.update_state(labels[part], predictions[part])
        weighted.update_state(labels[part], predictions[part], weight[part])
    assert float(metric.result()) == pytest.approx(weighted_log_loss(labels, exact), abs=1e-8)
    assert float(weighted.result()) == pytest.approx(
        weighted_log_loss(labels, exact, weight), abs=1e-8
    )
    metric.reset_state()
    assert float(metric.result()) == 0


def test_keras_metric_of_soft_labels_is_the_cross_entropy() -> None:
    function = importlib.import_module(metrics.WeightedLogLoss.__module__).weighted_log_loss
    labels = np.random.default_rng(0).uniform(size=(5, 6))
    prob = np.random.default_rng(1).uniform(0.01, 0.99, (5, 6))
    entropy = -(labels * np.log(prob) + (1 - labels) * np.log(1 - prob))
    expected = entropy @ WEIGHTS / sum(WEIGHTS)
    np.testing.assert_allclose(function(labels, prob), expected, atol=1e-9)
    metric = metrics.WeightedLogLoss()
    metric.update_state(labels, prob)
    assert float(metric.result()) == pytest.approx(expected.mean(), abs=1e-9)
    with pytest.raises(ValueError):
        weighted_log_loss(labels, prob)


def test_keras_metric_serves_model_fit() -> None:
    model = tf.keras.Sequential([tf.keras.layers.Dense(6, "sigmoid")])
    function = importlib.import_module(metrics.WeightedLogLoss.__module__).weighted_log_loss
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 4)).astype(np.float32), rng.integers(0, 2, (10, 6))
    expected = weighted_log_loss(y, model(x))
    for metric in (metrics.WeightedLogLoss(), function):
        model.compile(loss="binary_crossentropy", metrics=[metric])
        results = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
        assert results["weighted_log_loss"] == pytest.approx(expected, abs=1e-6)


def test_keras_metric_config_and_identity() -> None:
    metric = metrics.WeightedLogLoss(from_logits=True)
    again = metrics.WeightedLogLoss.from_config(metric.get_config())
    assert again.from_logits and again.dtype == "float64"
    assert metrics.WeightedLogLoss is type(metric)
    assert pickle.loads(pickle.dumps(metrics.WeightedLogLoss)) is type(metric)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        metrics.Nothing  # noqa: B018


def test_import_loads_no_tensorflow() -> None:
    code = (
        "import sys, ich_tf.metrics as m; m.weighted_log_loss([[0]*6], [[.5]*6]);"
        "print([n for n in ('tensorflow', 'keras') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_shapes_are_not_broadcast() -> None:
    labels, prob = np.zeros((4, 6)), np.full((4, 6), 0.1)
    metric = metrics.WeightedLogLoss()
    for y_true, y_pred in ((labels[:, :1], prob), (labels, prob[:, :1]), (labels[0], prob)):
        with pytest.raises(ValueError, match="expected .n, 6."):
            metric.update_state(y_true, y_pred)


def test_a_model_with_the_function_is_loaded_back(tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Dense(6, "sigmoid", input_shape=(3,))])
    model.compile("sgd", "binary_crossentropy", metrics=[keras2.weighted_log_loss])
    rows, labels = np.ones((4, 3)), np.zeros((4, 6))
    before = model.evaluate(rows, labels, verbose=0, return_dict=True)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.evaluate(rows, labels, verbose=0, return_dict=True) == before
    assert "weighted_log_loss" in before
