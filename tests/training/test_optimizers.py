import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError, UsageError
from ich_tf.models.architectures import SERIES_BACKBONES
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.slice_model import build_model
from ich_tf.runtime.keras2 import keras
from ich_tf.training import optimizers
from ich_tf.training.config import TrainConfig
from ich_tf.training.loss_scale import LossScale
from ich_tf.training.optimizers import is_decayed, make_optimizer
from ich_tf.training.schedule import EpochSchedule, make_schedule
from ich_tf.training.weight_check import WeightCheck
from tests.support.marks import slow
from tests.support.steps import Run, batch, needs_addons, replicas


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


@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_steps_are_those_of_keras(name: str, scaling: bool) -> None:
    """To float rounding, with steps that float16 leaves out, and a scale that follows them."""
    config = TrainConfig(
        optimizer=name,
        learning_rate=0.01,
        lr_decay=0.5,
        epochs=9,
        weight_decay=0.0 if name == "adam" else 0.1,
    )
    schedule = make_schedule(config, 4)
    expected = {
        "adam": lambda: keras.optimizers.Adam(schedule),
        "adamw": lambda: keras.optimizers.AdamW(schedule, weight_decay=0.1),
        "sgd": lambda: keras.optimizers.SGD(schedule, 0.9, nesterov=True, weight_decay=0.1),
    }[name]()
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (5,))]
    names = ("layer/kernel", "layer/bias")
    theirs, ours = (
        [tf.Variable(v, name=n) for v, n in zip(values, names, strict=True)] for _ in range(2)
    )
    expected.exclude_from_weight_decay(var_list=theirs[1:])
    expected.build(theirs)
    if scaling:
        expected = keras.mixed_precision.LossScaleOptimizer(
            expected, initial_scale=2.0**15, dynamic_growth_steps=2000
        )
    optimizer = make_optimizer(config, 4, loss_scaling=scaling)
    optimizer.build(ours, [1.0, 1.0], [is_decayed(variable) for variable in ours])
    for step in range(12):
        gradients = [tf.constant(rng.normal(size=v.shape), tf.float32) for v in values]
        finite = tf.constant(not scaling or step % 3 != 1)
        infinite = [g if finite else g * math.inf for g in gradients]
        expected.apply_gradients(zip(infinite, theirs, strict=True))
        zeroed = [g if finite else tf.zeros_like(g) for g in gradients]
        take(optimizer, zeroed, ours, finite if scaling else None)
        for left, right in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=0, atol=2e-6)
        if scaling:
            assert float(expected.loss_scale) == float(optimizer.scale)
    assert int(optimizer.iterations.read_value()) == int(expected.iterations) == 12
    assert np.abs(ours[0].numpy() - values[0]).max() > 1e-3


def take(optimizer, gradients, variables, finite=None):
    """A step in a graph, as a training step takes it."""
    tf.function(lambda: optimizer.apply(gradients, variables, finite))()


def test_the_loss_scale_doubles_after_2000_finite_steps() -> None:
    scale = LossScale()
    scale.steps.assign(1998)
    update = tf.function(scale.update)
    found = []
    for finite in (True, True, True, False, False):
        update(tf.constant(finite))
        found.append((float(scale.value.read_value()), int(scale.steps.read_value())))
    assert found == [(2**15, 1999), (2**16, 0), (2**16, 1), (2**15, 0), (2**14, 0)]
    scale.value.assign(1.0)
    update(tf.constant(False))
    assert float(scale.value.read_value()) == 1


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_factors_of_the_learning_rate(name: str) -> None:
    optimizer = make_optimizer(TrainConfig(optimizer=name, schedule="constant"), 10)
    variables = [tf.Variable([1.0]) for _ in range(3)]
    optimizer.build(variables, [1.0, 0.5, 0.0], [False] * 3)
    take(optimizer, [tf.constant([1.0])] * 3, variables)
    whole, half, none = (1 - float(variable[0]) for variable in variables)
    assert whole > 1e-4 and half == pytest.approx(whole / 2, rel=1e-3) and none == 0


def series_model(backbone):
    return SeriesSpec(backbone, 8, 8, 1, dropout=0.0, reverse=False, prior=(0.1,) * 6).build()


MODELS = {
    "tiny": lambda: build_model("tiny", (32, 32, 3), 32),
    **{backbone: functools.partial(series_model, backbone) for backbone in SERIES_BACKBONES},
}


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("adamw", "tiny"),
        ("adamw", "transformer"),
        slow("sgd", "bigru"),
        slow("adamw", "bigru"),
        slow("sgd", "tiny"),
        slow("sgd", "transformer"),
        pytest.param("lamb", "tiny", marks=needs_addons),
        *(
            pytest.param("lamb", m, marks=(needs_addons, pytest.mark.slow))
            for m in SERIES_BACKBONES
        ),
    ],
)
def test_decay_is_for_kernels(name: str, model: str) -> None:
    """With a gradient of 0 decay alone moves a weight."""
    config = TrainConfig(optimizer=name, weight_decay=0.5, learning_rate=0.1, schedule="constant")
    variables = MODELS[model]().trainable_variables
    optimizer = make_optimizer(config, 10)
    decays = [is_decayed(variable) for variable in variables]
    optimizer.build(variables, [1.0] * len(variables), decays)
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    take(optimizer, [tf.zeros_like(variable) for variable in variables], variables)
    moved = {v.name.split("/")[-1] for v in variables if not np.allclose(v.numpy(), 1)}
    kept = {v.name.split("/")[-1] for v in variables if np.allclose(v.numpy(), 1)}
    assert moved and all(name.endswith("kernel:0") for name in moved)
    assert not any(name.endswith("kernel:0") for name in kept)


@needs_addons
def test_addons_know_no_factors() -> None:
    optimizer = make_optimizer(TrainConfig(optimizer="lamb"), 10)
    with pytest.raises(ConfigError, match="optimizers of tensorflow-addons know none"):
        optimizer.build([tf.Variable([1.0])], [0.5], [False])


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
def test_lamb_decays_kernels_alone_on_every_replica() -> None:
    run = Run(replicas(2), optimizer="lamb", weight_decay=0.5)
    run.steps([batch(0)])
    assert WeightCheck(run.model, run.strategy)() == ([], [])
