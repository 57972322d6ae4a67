"""Label smoothing is undone outside of training."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.metrics import logit, sigmoid, weighted_log_loss
from ich_tf.models.label_smoothing import smooth_labels, smooth_logits, undo_label_smoothing
from ich_tf.models.saved import load_best, save_best
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras


@pytest.mark.parametrize("smoothing", [0.02, 0.1, 0.3])
def test_what_smoothed_labels_teach_is_undone(smoothing: float) -> None:
    probabilities = np.array([0.5, 0.25, 0.8, 3 * smoothing / 4, 1 - 3 * smoothing / 4])
    learned = logit(smooth_labels(probabilities, smoothing))
    found = undo_label_smoothing(tf.constant(learned, tf.float32), smoothing).numpy()
    np.testing.assert_allclose(sigmoid(found), probabilities, atol=smoothing / 1000)


@pytest.mark.parametrize("smoothing", [0.0, 0.02, 0.1, 0.9])
def test_order_is_kept_and_nothing_is_infinite(smoothing: float) -> None:
    logits = np.concatenate([[-200, -60], np.linspace(-9, 9, 181), [60, 200]])
    found = undo_label_smoothing(tf.constant(logits, tf.float32), smoothing).numpy()
    assert np.isfinite(found).all() and (np.diff(found) >= 0).all()
    assert (np.diff(found[2:-2]) > 0).all()
    np.testing.assert_allclose(found, -found[::-1], atol=1e-4)


def test_scores_of_unknown_labels_are_better() -> None:
    """Logits as smoothed labels teach them, with errors, beyond what a probability can be."""
    rng = np.random.default_rng(0)
    probabilities = sigmoid(rng.normal(-4, 2, (4000, 6)))
    labels = (rng.uniform(size=probabilities.shape) < probabilities).astype(float)
    learned = logit(smooth_labels(probabilities, 0.1)) + rng.normal(0, 0.3, probabilities.shape)
    undone = undo_label_smoothing(tf.constant(learned, tf.float32), 0.1).numpy()
    assert (sigmoid(learned) < 0.05).mean() > 0.1
    before, after = (weighted_log_loss(labels, sigmoid(x)) for x in (learned, undone))
    assert after < before - 0.02


@pytest.mark.parametrize("smoothing", [0.1, 0.98, 0.999])
def test_extreme_logits_stay_finite_and_in_order(smoothing: float) -> None:
    undone = undo_label_smoothing([-100.0, -4.0, 0.0, 4.0, 100.0], smoothing).numpy()
    assert np.isfinite(undone).all()
    assert (np.diff(undone) > 0).all()


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(
            "tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"), negatives_kept=0.5,
            label_smoothing=0.1,
        ),
        SeriesSpec("transformer", 4, 8, 1, 0.0, False, (0.5,) * 6, label_smoothing=0.1),
    ],
)  # fmt: skip
def test_models_undo_it_outside_of_training(spec: ModelSpec | SeriesSpec, tmp_path: Path) -> None:
    model = spec.build()
    shape = (2, 32, 32, 3) if isinstance(spec, ModelSpec) else (2, 5, 12)
    images = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
    layer = model.get_layer("label_smoothing")
    raw = keras.Model(model.input, layer.input)(images, training=False)
    outside = keras.Model(model.input, layer.output)(images, training=False)
    np.testing.assert_allclose(outside, undo_label_smoothing(raw, 0.1), atol=1e-5)
    np.testing.assert_array_equal(layer(raw, training=True), raw)
    save_best(tmp_path, model, spec, epoch=1, val_loss=0.5)
    again, loaded = load_best(tmp_path)
    assert loaded == spec
    np.testing.assert_allclose(
        again(images, training=False), model(images, training=False), atol=1e-6
    )


def test_a_series_model_starts_as_the_smoothed_slice_model() -> None:
    rng = np.random.default_rng(0)
    packed = rng.uniform(-2, 2, (2, 5, 12)).astype(np.float32)
    packed[..., -2], packed[..., -1] = np.arange(5) * 5, 1
    prior = np.full(6, 0.3)
    outputs = [
        SeriesSpec("transformer", 4, 8, 1, 0.0, False, (0.5,) * 6, label_smoothing=smoothing).build(
            bias=prior
        )(packed, training=False)[:, 1:]
        for smoothing in (0.0, 0.1)
    ]
    np.testing.assert_allclose(sigmoid(outputs[1]), sigmoid(outputs[0]), atol=2e-3)
    logits = tf.constant([-80.0, -2, 0, 3, 80])
    expected = logit(smooth_labels(sigmoid(logits.numpy().astype(float)), 0.1))
    np.testing.assert_allclose(smooth_logits(logits, 0.1), expected, atol=1e-5)
