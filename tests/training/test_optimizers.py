import math

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import UsageError
from ich_tf.runtime.keras2 import keras
from ich_tf.training import optimizers
from ich_tf.training.config import TrainConfig
from ich_tf.training.optimizers import apply_gradients, create_variables, make_optimizer
from ich_tf.training.schedule import EpochSchedule
from tests.support.steps import needs_addons


def rates(schedule, steps):
    return np.array([float(schedule(tf.constant(step, tf.int64))) for step in steps])


def test_exponential_is_the_published_staircase() -> None:
    schedule = EpochSchedule("exponential", 5e-4, steps_per_epoch=7, epochs=5, decay=0.8)
    expected = [5e-4 * 0.8 ** (step // 7) for step in range(35)]
    np.testing.assert_allclose(rates(schedule, range(35)), expected, rtol=1e-6)


def test_exponential_stands_at_large_step_counts() -> None:
    steps_per_epoch = 23_529  # RSNA's 752,803 slices at batch 32
    schedule = EpochSchedule("exponential", 1.0, steps_per_epoch, 1000, decay=0.999)
    for epoch in (3, 711, 999):
        first = epoch * steps_per_epoch
        np.testing.assert_allclose(
            rates(schedule, [first - 1, first]), [0.999 ** (epoch - 1), 0.999**epoch], rtol=1e-6
        )


def test_cosine_reaches_zero() -> None:
    schedule = EpochSchedule("cosine", 2.0, steps_per_epoch=10, epochs=4, warmup_epochs=1.0)
    found = rates(schedule, range(41))
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10 * 2.0, rtol=1e-6)
    expected = [1 + math.cos(math.pi * (step - 10) / 30) for step in range(10, 41)]
    np.testing.assert_allclose(found[10:], expected, atol=1e-6)
    assert found[-1] == pytest.approx(0, abs=1e-7)


def test_constant() -> None:
    schedule = EpochSchedule("constant", 0.1, 10, 3)
    np.testing.assert_allclose(rates(schedule, [0, 15, 100]), 0.1, rtol=1e-6)


def test_schedule_config_round_trip() -> None:
    schedule = EpochSchedule("cosine", 0.1, 10, 3, 0.8, 0.5)
    again = EpochSchedule.from_config(schedule.get_config())
    np.testing.assert_array_equal(rates(schedule, range(30)), rates(again, range(30)))


def test_no_steps() -> None:
    with pytest.raises(ValueError, match="steps_per_epoch is 0"):
        EpochSchedule("constant", 0.1, 0, 3)


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_kinds(name: str, kind: str) -> None:
    optimizer = make_optimizer(TrainConfig(optimizer=name), 10)
    assert type(optimizer).__name__ == kind
    assert not optimizer.jit_compile


def test_the_schedule_drives_the_optimizer() -> None:
    config = TrainConfig(optimizer="sgd", learning_rate=0.1, lr_decay=0.5, epochs=3)
    optimizer = make_optimizer(config, 2)
    variable = tf.Variable(0.0)
    found = []
    for _ in range(6):
        optimizer.apply_gradients([(tf.constant(0.0), variable)])
        found.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(found, [0.1, 0.1, 0.05, 0.05, 0.025, 0.025], rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decay_is_for_kernels(name: str) -> None:
    config = TrainConfig(optimizer=name, weight_decay=0.1, learning_rate=0.5, schedule="constant")
    optimizer = make_optimizer(config, 10)
    layer = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones")
    norm = keras.layers.BatchNormalization()
    norm(layer(np.ones((2, 1), np.float32)))
    variables = layer.trainable_variables + norm.trainable_variables
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in variables])
    kernel, bias, gamma, beta = (float(variable.numpy().squeeze()) for variable in variables)
    assert kernel == pytest.approx(1 - 0.5 * 0.1)
    assert (bias, gamma, beta) == (1, 1, 0)


def test_what_is_addons_is_refused_by_name_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "load_addons", lambda: None)
    for changes, asked in (
        ({"optimizer": "lamb"}, "--optimizer=lamb"),
        ({"optimizer": "radam"}, "--optimizer=radam"),
        ({"lookahead": True}, "--lookahead"),
    ):
        with pytest.raises(UsageError, match=f"{asked} is tensorflow-addons'.*--optimizer=adamw"):
            make_optimizer(TrainConfig(**changes), 10)
    make_optimizer(TrainConfig(), 10)


@needs_addons
def test_lamb_decays_kernels_alone() -> None:
    config = TrainConfig(optimizer="lamb", weight_decay=0.1, learning_rate=0.5, schedule="constant")
    optimizer = make_optimizer(config, 10)
    kernel = tf.Variable([2.0, 2.0], name="dense/kernel")
    bias = tf.Variable([2.0, 2.0], name="dense/bias")
    create_variables(optimizer, [kernel, bias])
    apply_gradients(optimizer, [tf.zeros([2])] * 2, [kernel, bias])
    assert (kernel.numpy() < 2).all() and (bias.numpy() == 2).all()


def test_loss_scaling() -> None:
    optimizer = make_optimizer(TrainConfig(), 10, loss_scaling=True)
    assert isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert optimizer.dynamic
