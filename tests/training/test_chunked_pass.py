"""A chunk of slices at a time gives the loss and the gradients of all slices at once."""

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.losses import exam_loss
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.slice_model import batch_normalizations
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras
from ich_tf.training.chunked_pass import ChunkedForwardBackward
from ich_tf.training.config import TrainConfig
from ich_tf.training.fine_tuning import backbone_layers
from ich_tf.training.forward_backward import ForwardBackward

BAGS, SLICES = 2, 5


def spec(**network) -> EndToEndSpec:
    return EndToEndSpec(
        network=ModelSpec("tiny", (32, 32, 3), 32, ("brain", "subdural", "soft"), **network),
        series=SeriesSpec("attention", 32, 8, 1, 0.0, False, (0.1,) * 6),
    )


def built(**network) -> keras.Model:
    keras.utils.set_random_seed(0)
    return spec(**network).build()


def batch() -> tuple:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BAGS, SLICES, 32, 32, 3), np.uint8)
    places = np.ones((BAGS, SLICES, 2), np.float32)
    places[1, 3:] = 0
    labels = rng.integers(0, 2, (BAGS, 1 + SLICES, 6)).astype(np.float32)
    labels[0, 1:], labels[1, 4:] = np.nan, np.nan
    return (tf.constant(images), tf.constant(places)), tf.constant(labels)


def passed(model: keras.Model, chunk: int, *, accumulation: int = 1, scale: float | None = None):
    def loss(labels, logits):
        return exam_loss(labels, logits, exam_weight=0.7)

    options = {"batch_size": BAGS, "accumulation": accumulation, "seed": 1}
    if chunk:
        step = ChunkedForwardBackward(model, loss, slice_chunk=chunk, **options)
    else:
        step = ForwardBackward(model, loss, **options)
    factor = None if scale is None else tf.constant(scale)
    return tf.function(
        lambda inputs, labels: step(
            inputs, labels, step=tf.constant(3, tf.int64), replica=tf.constant(0), scale=factor
        )
    )(*batch())


@pytest.mark.parametrize(
    ("chunk", "accumulation", "scale"), [(1, 1, None), (3, 1, 64.0), (4, 2, None), (99, 1, None)]
)
def test_gradients_are_those_of_one_pass(chunk: int, accumulation: int, scale) -> None:
    model = built(freeze_bn=True)
    one = passed(model, 0, scale=scale)
    chunks = passed(model, chunk, accumulation=accumulation, scale=scale)
    np.testing.assert_allclose(chunks.loss, one.loss, rtol=1e-6)
    for found, expected in zip(chunks.gradients, one.gradients, strict=True):
        size = max(float(tf.reduce_max(tf.abs(expected))), 1e-3)
        np.testing.assert_allclose(found / size, expected / size, atol=1e-5)


def test_a_network_that_rests_is_read_once_and_its_pool_learns() -> None:
    model = built(freeze_bn=True)
    for layer in backbone_layers(model, spec()):
        layer.trainable = False
    one, chunks = passed(model, 0), passed(model, 3)
    for found, expected in zip(chunks.gradients, one.gradients, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_averages_of_batch_normalisation_follow_once() -> None:
    model = built(bn_momentum=0.9)
    passed(model, SLICES * BAGS)
    chunked = [layer.moving_mean.numpy() for layer in batch_normalizations(model)]
    other = built(bn_momentum=0.9)
    passed(other, 0)
    for mean, layer in zip(chunked, batch_normalizations(other), strict=True):
        np.testing.assert_allclose(mean, layer.moving_mean.numpy(), atol=1e-6)


def test_dropout_draws_the_same_masks_in_both_passes() -> None:
    model = built(freeze_bn=True, dropout=0.5)
    first, second = passed(model, 4), passed(model, 4)
    np.testing.assert_array_equal(first.loss, second.loss)
    # A step down the gradient lowers the loss by what the gradient says.
    norm = sum(float(tf.reduce_sum(gradient**2)) for gradient in first.gradients)
    for variable, gradient in zip(model.trainable_variables, first.gradients, strict=True):
        variable.assign_sub(1e-3 / norm * gradient)
    np.testing.assert_allclose(first.loss - passed(model, 4).loss, 1e-3, rtol=0.05)


def test_options_that_chunks_do_not_go_with_are_refused() -> None:
    common = {"backbone": "tiny", "weights": "none"}
    for changes, name in (
        ({"slice_chunk": 4}, "slice_chunk is 4; it must be 0 with single slices"),
        ({"sequence": "bigru", "slice_chunk": 4}, "slice_chunk is 4"),
        ({"sequence": "attention", "slice_chunk": 4, "sync_bn": True}, "0 with --sync_bn"),
        ({"sequence": "attention", "reverse": True}, "reverse is True"),
        ({"backbone": "attention", "reverse": True}, "reverse is True"),
        ({"sequence": "bigru", "slab": 0}, "slab is 0; it must be odd"),
        ({"sequence": "bigru", "exam_weight": 2.0}, "exam_weight is 2.0"),
    ):
        with pytest.raises(ConfigError, match=name):
            TrainConfig(**{**common, **changes})
    assert TrainConfig(**common, sequence="attention", slab=0, slice_chunk=4).example == "bag"
