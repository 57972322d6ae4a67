from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.models.adaptation import adapted
from ich_tf.models.dropout import SeededDropout, dropout_seed
from ich_tf.runtime.keras2 import keras


def dropped(layer, seed, x, xla=None):
    @tf.function(jit_compile=xla)
    def run(x, seed):
        with dropout_seed(seed):
            return layer(x, training=True)

    return run(x, tf.constant(seed, tf.int64)).numpy()


@pytest.mark.parametrize("noise_shape", [None, (None, 1)])
def test_seed_and_name_decide(noise_shape: Any) -> None:
    x = tf.ones([64, 50])
    layer = SeededDropout(0.3, noise_shape=noise_shape, name="a")
    found = dropped(layer, [1, 2], x)
    np.testing.assert_array_equal(found, dropped(layer, [1, 2], x))
    np.testing.assert_array_equal(found, dropped(layer, [1, 2], x, xla=True))
    assert (found != dropped(layer, [1, 3], x)).any()
    assert (found != dropped(SeededDropout(0.3, noise_shape, name="b"), [1, 2], x)).any()
    if noise_shape:
        assert (found == found[:, :1]).all()


def test_it_drops_the_rate_and_keeps_the_mean() -> None:
    found = dropped(SeededDropout(0.2, name="a"), [5, 6], tf.ones([500, 500]))
    assert (found == 0).mean() == pytest.approx(0.2, abs=0.005)
    assert set(np.unique(found)) == {0, np.float32(1.25)}


def test_evaluation_drops_nothing() -> None:
    x = tf.ones([3, 4])
    layer = SeededDropout(0.5)
    with dropout_seed(tf.constant([0, 0])):
        np.testing.assert_array_equal(layer(x, training=False), x)


def test_replaced_layers_share_the_weights() -> None:
    inputs = keras.Input((4,))
    x = keras.layers.Dropout(0.5, name="drop")(keras.layers.Dense(3)(inputs))
    model = keras.Model(inputs, x)
    seeded = adapted(model)
    assert isinstance(seeded.get_layer("drop"), SeededDropout)
    model.layers[1].bias.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(seeded(tf.zeros([1, 4])), [[1, 2, 3]])
