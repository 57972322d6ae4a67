"""Pools read an exam alike whatever the order of its slices, the padding and the batch."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.metrics import logit, sigmoid
from ich_tf.models import run_files, saved
from ich_tf.models.architectures import POOLS
from ich_tf.models.pooling import initial_prior, noisy_or
from ich_tf.models.series_model import SeriesSpec, build_series_model, pack_arrays
from ich_tf.runtime.keras2 import keras

DIM = 5
LENGTHS = (1, 2, 9, 33)


def learned(pool: str, **options) -> keras.Model:
    """A model as if it had been trained: all its weights are drawn at random."""
    model = build_series_model(pool, DIM, units=8, **options)
    rng = np.random.default_rng(2)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(size=weight.shape).astype(np.float32))
    return model


def slices(number: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.normal(size=(number, DIM)), rng.normal(size=(number, 6)) - 1


def packed(number: int, slots: int) -> np.ndarray:
    return pack_arrays(*slices(number), np.arange(number) * 5.0, slots)


def outputs(model: keras.Model, series: np.ndarray) -> np.ndarray:
    return np.asarray(model(series, training=False))


@pytest.mark.parametrize("pool", POOLS)
def test_padding_and_batch_change_nothing(pool: str) -> None:
    model = learned(pool)
    together = np.stack([packed(number, 40) for number in LENGTHS])
    # What is in empty slots is not read.
    for row, number in zip(together, LENGTHS, strict=True):
        row[number:, :-1] = 1e3
    for row, number in zip(outputs(model, together), LENGTHS, strict=True):
        for slots in (number, number + 1, 64):
            alone = outputs(model, packed(number, slots)[None])[0]
            np.testing.assert_allclose(row[: 1 + number], alone[: 1 + number], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("number", LENGTHS[1:])
def test_the_order_of_slices_does_not_matter(pool: str, number: int) -> None:
    model = learned(pool)
    order = np.random.default_rng(0).permutation(number)
    features, logits = slices(number)
    z_mm = np.arange(number) * 5.0
    first = outputs(model, pack_arrays(features, logits, z_mm, 40)[None])[0]
    second = outputs(model, pack_arrays(features[order], logits[order], z_mm, 40)[None])[0]
    np.testing.assert_allclose(second[0], first[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(second[1:][: len(order)], first[1:][order], rtol=1e-6, atol=1e-6)


def test_attention_is_the_mean_by_its_formula() -> None:
    model = learned("attention")
    features, logits = slices(9)
    head, pool = model.get_layer("slices"), model.get_layer("pool")
    value, gate, score, bias = (weight.numpy() for weight in pool.weights)
    instances = logits + features @ head.kernel.numpy() + head.bias.numpy()
    hidden = np.tanh(features @ value) * sigmoid(features @ gate)
    weights = np.exp(hidden @ score)
    expected = (weights / weights.sum(axis=0) * instances).sum(axis=0) + bias
    found = outputs(model, packed(9, 12)[None])[0]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    np.testing.assert_allclose(found[1:10], instances, atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "formula"),
    [
        ("max", lambda x: x.max(axis=0)),
        ("lse", lambda x: np.log(np.exp(4 * x).mean(axis=0)) / 4),
        ("noisy_or", lambda x: logit(1 - np.prod(1 - sigmoid(x), axis=0))),
    ],
)
def test_other_pools_are_their_formulas(pool: str, formula) -> None:
    # Slices begin with the slice model's logits, whatever their features.
    found = outputs(build_series_model(pool, DIM), packed(9, 12)[None])[0]
    np.testing.assert_allclose(found[1:10], slices(9)[1], atol=1e-6)
    np.testing.assert_allclose(found[0], formula(slices(9)[1]), atol=1e-5)


@pytest.mark.parametrize("value", [-90.0, -20.0, 0.0, 20.0, 90.0])
def test_noisy_or_and_its_gradient_stay_finite(value: float) -> None:
    logits = tf.Variable(tf.fill([1, 3, 6], value))
    present = tf.constant([[[True], [True], [False]]])
    with tf.GradientTape() as tape:
        exam = noisy_or(logits, present)
    gradient = tape.gradient(exam, logits).numpy()
    # Two slices of equal small probabilities: twice the odds.
    if abs(value) <= 20:
        np.testing.assert_allclose(
            exam, logit(1 - sigmoid(-value) ** 2) if value < 1 else 2 * value
        )
    assert np.isfinite(exam).all() and np.isfinite(gradient).all()
    assert (gradient[0, 2] == 0).all()


@pytest.mark.parametrize("pool", POOLS)
def test_a_series_without_slices_has_finite_gradients(pool: str) -> None:
    model = learned(pool)
    with tf.GradientTape() as tape:
        found = model(np.stack([packed(2, 4), np.zeros((4, DIM + 8), np.float32)]), training=True)
        loss = tf.reduce_sum(found[0])
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("pool", POOLS)
def test_equal_slices_begin_at_the_exams_prior(pool: str) -> None:
    prior = initial_prior(pool, np.full(6, 0.3), 7)
    series = pack_arrays(np.zeros((7, DIM)), np.tile(logit(prior), (7, 1)), np.arange(7.0), 8)
    found = outputs(build_series_model(pool, DIM), series[None])[0, 0]
    np.testing.assert_allclose(sigmoid(found), 0.3, atol=1e-6)


def test_label_smoothing_is_undone_in_logits_of_exams_and_slices() -> None:
    plain, smooth = (learned("max", label_smoothing=value) for value in (0.0, 0.1))
    for model in (plain, smooth):
        for weight in model.trainable_variables:
            weight.assign(tf.zeros_like(weight))
    series = packed(9, 9)[None]
    np.testing.assert_allclose(outputs(smooth, series), outputs(plain, series), atol=0.02)


def test_specs_say_so_where_no_slice_was_labelled_and_else_nothing(tmp_path: Path) -> None:
    for weakly_supervised in (False, True):
        spec = SeriesSpec(
            "attention", DIM, 8, 1, 0.0, False, (0.1,) * 6, weakly_supervised=weakly_supervised
        )
        saved.save_best(tmp_path, spec.build(), spec, epoch=1, val_loss=0.5)
        written = json.loads((tmp_path / run_files.MODEL).read_text())["spec"]
        assert ("weakly_supervised" in written) == weakly_supervised
        assert saved.read_spec(tmp_path) == spec
