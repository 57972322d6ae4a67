"""Layers that train faster on CPUs compute what Keras's layers compute."""

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.models.adaptation import adapted
from ich_tf.models.depthwise import DepthwiseConv2D, kernel_gradient
from ich_tf.models.swish import Activation
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "stride", "length"), [(5, 1, 9), (5, 2, 8), (7, 1, 8), (3, 2, 7)])
def test_pieces_of_a_kernel_have_its_gradient(size, stride, length, padding) -> None:
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(2, length, length + 1, 16)), tf.float32)
    kernel = tf.constant(rng.normal(size=(size, size, 16, 1)), tf.float32)
    strides = [1, stride, stride, 1]
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, padding)
    gradient = tf.constant(rng.normal(size=outputs.shape), tf.float32)
    expected = tape.gradient(outputs, kernel, gradient)
    pieces = kernel_gradient(inputs, gradient, size, stride, padding)
    np.testing.assert_allclose(pieces, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            lambda: DepthwiseConv2D(5, padding="same", name="layer"),
            lambda: keras.layers.DepthwiseConv2D(5, padding="same", name="layer"),
        ),
        (lambda: Activation("swish"), lambda: keras.layers.Activation("swish")),
    ],
)
def test_a_layer_trains_as_keras_has_it(ours, theirs) -> None:
    inputs = tf.random.stateless_normal([4, 8, 8, 16], [1, 2])
    results = []
    for make in (ours, theirs):
        keras.utils.set_random_seed(0)
        with policy_scope("bfloat16"):
            layer = make()
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
        results.append([outputs, *tape.gradient(loss, [inputs, *layer.trainable_variables])])
        assert layer.from_config(layer.get_config()).name == layer.name
    for value, expected in zip(*results, strict=True):
        # bfloat16 has 8 binary digits.
        scale = float(tf.reduce_max(tf.abs(tf.cast(expected, tf.float32))))
        difference = tf.cast(value, tf.float32) - tf.cast(expected, tf.float32)
        assert float(tf.reduce_max(tf.abs(difference))) < 0.02 * scale


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_with_other_layers_keeps_its_weights(precision) -> None:
    with policy_scope(precision):
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.DepthwiseConv2D(5, padding="same", name="depthwise")(inputs)
        network = keras.Model(inputs, keras.layers.Activation("swish")(x))
        copy = adapted(network)
    assert type(copy.get_layer("depthwise")) is DepthwiseConv2D
    assert len(copy.variables) == len(network.variables) == 2
    # Loaded after the copy was made, as pretrained weights are.
    network.set_weights([np.full(value.shape, 0.5, np.float32) for value in network.get_weights()])
    for value in copy.get_weights():
        np.testing.assert_array_equal(value, 0.5)
    images = tf.random.stateless_normal([2, 8, 8, 3], [1, 2])
    expected = tf.cast(network(images), tf.float32)
    np.testing.assert_allclose(tf.cast(copy(images), tf.float32), expected, rtol=1e-2, atol=1e-2)
