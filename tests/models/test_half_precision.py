"""Every kind of model is trained and restored in every precision, with XLA and on two replicas."""

import itertools
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.models.half_sums import GlobalMean
from ich_tf.models.series_model import SeriesSpec
from ich_tf.models.weights import load_own_weights
from ich_tf.runtime.precision import policy_scope
from ich_tf.runtime.strategies import split_batch
from ich_tf.training.config import TrainConfig
from ich_tf.training.hardware import choose_hardware
from ich_tf.training.task import Task
from ich_tf.training.trainer import make_step
from tests.support.marks import slow
from tests.support.networks import FAMILIES, KINDS, Kind, series

PRECISIONS = ("float32", "float16", "bfloat16")
# Compiling a large network takes a minute: of them and of other families' networks a part is tried.
_LARGE = ("resnet50", "efficientnet_b4")
_OTHERS = tuple(name for name in FAMILIES if name not in _LARGE)
_SMALL = tuple(name for name in KINDS if name not in FAMILIES)
_ALL = list(itertools.product(KINDS, PRECISIONS, ("off", "on"), (1, 2)))
# Two cases that differ in all three columns: a kind that passes both has met every value. The kinds
# take the four such pairs in turns, and so all eight combinations are met.
_PAIRS = (
    (("float16", "off", 2), ("bfloat16", "on", 1)),
    (("float16", "off", 1), ("bfloat16", "on", 2)),
    (("float16", "on", 2), ("bfloat16", "off", 1)),
    (("float16", "on", 1), ("bfloat16", "off", 2)),
)
_TRIED = {
    *((name, *case) for i, name in enumerate(_SMALL) for case in _PAIRS[i % 4]),
    ("segmentation", "float16", "off", 2),
    ("resnet50", "float16", "on", 1),
    ("resnet50", "bfloat16", "off", 2),
    ("efficientnet_b4", "float16", "off", 1),
    ("efficientnet_b4", "bfloat16", "off", 1),
    *((name, ("float16", "bfloat16")[i % 2], "off", 1) for i, name in enumerate(_OTHERS)),
}
# A part of the table; all of it takes an hour, with ICH_TF_WHOLE_TABLE=1.
_QUICK = {("transformer", "float16", "off", 1)}
_PART = [case for case in _ALL if case in _TRIED | _QUICK]
_CASES = _ALL if os.environ.get("ICH_TF_WHOLE_TABLE") else _PART


@pytest.mark.parametrize(
    ("name", "precision", "xla", "replicas"),
    [case if case in _QUICK else slow(*case) for case in _CASES],
)
def test_it_is_built_trained_and_restored(
    name: str, precision: str, xla: str, replicas: int, tmp_path: Path
) -> None:
    kind = KINDS[name]()
    step, strategy = make(kind, precision, xla, replicas)
    model = step.model
    before = model.get_weights()
    # Of two slices of a replica the smallest maps are two numbers a channel, and their gradients
    # explode under batch normalisation.
    inputs, labels = kind.inputs(4 * replicas), kind.labels(4 * replicas)
    batch = tf.nest.map_structure(tf.constant, (inputs, labels))
    # The first steps under a loss scale are left out until it is small enough.
    for _ in range(16):
        loss = float(step(split_batch(strategy, *batch))[0])
        if not int(step.skipped.read_value()):
            break
    after = model.get_weights()
    assert np.isfinite(loss) and all(np.isfinite(array).all() for array in after)
    assert any((one != two).any() for one, two in zip(before, after, strict=True))
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}

    outputs = tf.nest.flatten(predicted(model, inputs))
    assert all(output.dtype == np.float32 and np.isfinite(output).all() for output in outputs)
    model.save_weights(tmp_path / "w.weights.h5")
    checkpoint = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    with policy_scope(precision):
        copy = kind.spec.build()
    load_own_weights(copy, tmp_path / "w.weights.h5")
    for one, two in zip(after, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(outputs, tf.nest.flatten(predicted(copy, inputs)), strict=True):
        np.testing.assert_array_equal(one, two)
    copy.set_weights([np.zeros_like(array) for array in after])
    tf.train.Checkpoint(model=copy).read(checkpoint).expect_partial()
    for one, two in zip(after, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def make(kind: Kind, precision: str, xla: str, replicas: int) -> tuple[Any, Any]:
    """The step of a kind of model, as a run makes it, and its strategy."""
    config = TrainConfig(
        mixed_precision=precision,
        xla=xla,
        strategy="mirrored" if replicas > 1 else "one",
        cpu_replicas=replicas if replicas > 1 else 0,
        batch_size=4 * replicas,
        # Of the first of a float16 run's steps some are left out until its loss scale fits.
        optimizer="sgd",
        schedule="constant",
        learning_rate=1e-3,
    )
    # All that a task tells of itself.
    numbers = dict.fromkeys(Task.__annotations__, 4 * replicas)
    task = SimpleNamespace(
        **{**numbers, "loss": kind.loss, "prepare_batch": None}, build=kind.spec.build
    )
    hardware = choose_hardware(config)
    return make_step(config, task, hardware), hardware.strategy  # type: ignore[arg-type]


def predicted(model: Any, inputs: Any) -> Any:
    outputs = tf.function(model)(inputs, training=False)
    return tf.nest.map_structure(np.asarray, outputs)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_mean_over_many_places_is_the_mean(precision: str) -> None:
    """TensorFlow's own is infinite in float16, and 0.65 in bfloat16."""
    with policy_scope(precision):
        mean = GlobalMean()(tf.fill([1, 112, 112, 2], 30.0))
    assert mean.dtype == precision
    np.testing.assert_array_equal(tf.cast(mean, tf.float32), np.full((1, 2), 30.0))


@pytest.mark.parametrize(("precision", "most"), [("float16", 0.05), slow("bfloat16", 0.3)])
@pytest.mark.parametrize("backbone", [slow("bigru"), "transformer"])
def test_a_long_series_is_read_as_in_float32(backbone: str, precision: str, most: float) -> None:
    """Positions and sums over slots have no room in half precision; neither has a batch's rest."""
    kind = series(backbone)
    assert isinstance(kind.spec, SeriesSpec)
    exact = kind.spec.build()
    head = exact.get_layer("slices")
    head.kernel.assign(np.random.default_rng(2).normal(size=head.kernel.shape))
    with policy_scope(precision):
        model = kind.spec.build()
    model.set_weights(exact.get_weights())
    rng = np.random.default_rng(0)
    packed = rng.normal(size=(2, 300, kind.inputs(1).shape[-1])).astype(np.float32)
    packed[..., -2], packed[..., -1] = 0.625 * np.arange(300), 1
    # A batch is filled up with empty series.
    packed[1] = 0
    outputs = predicted(model, packed)
    assert np.isfinite(outputs).all()
    np.testing.assert_allclose(outputs[0], predicted(exact, packed)[0], atol=most)
