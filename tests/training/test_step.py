from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError
from ich_tf.inference.forward import make_logits_fn
from ich_tf.losses import segmentation_loss, weighted_binary_crossentropy
from ich_tf.models import own_backbones
from ich_tf.models.batch_norm import synchronize
from ich_tf.models.segmentation import classifier
from ich_tf.models.slice_model import batch_normalizations, build_model
from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig
from ich_tf.training.heat_map_teacher import HeatMapTeacher
from ich_tf.training.optimizers import make_optimizer
from ich_tf.training.step import TrainingStep
from ich_tf.training.weight_check import WeightCheck
from tests.support.graphs import count_nodes
from tests.support.marks import slow
from tests.support.steps import (
    BATCH,
    RECORD_SHAPE,
    Run,
    batch,
    difference,
    distribute,
    needs_addons,
    replicas,
    with_masks,
)

STEPS = 20
BATCHES = [batch(seed) for seed in range(STEPS)]


@pytest.fixture(scope="module")
def one_device():
    """Start, losses and end of a run on one device, batch normalisation frozen."""
    run = Run(replicas(1), freeze_bn=True)
    start = run.weights()
    return start, run.steps(BATCHES), run.weights()


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("number", [1, 2, slow(4)])
def test_replicas_xla_and_accumulation_give_the_same_weights(
    number: int, xla: bool, accumulation: int, one_device: Any
) -> None:
    start, losses, expected = one_device
    run = Run(replicas(number), freeze_bn=True, xla=xla, accumulation=accumulation)
    assert difference(run.weights(), start) == 0
    np.testing.assert_allclose(run.steps(BATCHES), losses, rtol=0, atol=1e-5)
    assert difference(run.weights(), expected) < 1e-5
    assert difference(expected, start) > 1e-2
    assert run.step.traces == 1
    assert int(run.step.step.read_value()) == STEPS


@pytest.fixture(scope="module")
def one_device_with_masks():
    """Batches with masks; start, losses and end of a decoder's run on them on one device."""
    batches = [with_masks(*one) for one in BATCHES[:3]]
    run = Run(replicas(1), segmentation=True, freeze_bn=True)
    start = run.weights()
    return batches, start, run.steps(batches), run.weights()


@pytest.mark.parametrize(
    ("number", "xla", "accumulation"), [(2, False, 2), slow(1, True, 4), slow(4, True, 1)]
)
def test_masks_on_replicas_with_xla_and_accumulation(
    number: int, xla: bool, accumulation: int, one_device_with_masks: Any
) -> None:
    """Examples with many annotated classes, few or none lie in other parts each time."""
    batches, start, losses, expected = one_device_with_masks
    run = Run(
        replicas(number), segmentation=True, freeze_bn=True, xla=xla, accumulation=accumulation
    )
    np.testing.assert_allclose(run.steps(batches), losses, rtol=0, atol=1e-5)
    assert difference(run.weights(), expected) < 1e-5
    assert difference(expected, start) > 1e-2


@pytest.mark.parametrize(
    ("number", "xla", "accumulation"), [slow(2, True, 1), slow(1, True, 4), slow(4, False, 2)]
)
def test_the_average_teaches_on_replicas_with_xla_and_accumulation(
    number: int, xla: bool, accumulation: int
) -> None:
    settings = {"segmentation": True, "freeze_bn": True, "ema_decay": 0.9, "self_training": 1.0}
    batches = [with_masks(*one) for one in BATCHES[:3]]
    one = Run(replicas(1), **settings)
    images, labels = batches[0]
    outputs = one.model(images, training=False)
    heat = HeatMapTeacher(one.model)(images, labels.labels, tf.constant(0, tf.int64))
    own = segmentation_loss((*labels, heat), outputs, self_training=1.0)
    losses = one.steps(batches)
    # At the first step the teacher is the network itself.
    np.testing.assert_allclose(losses[0], np.mean(own), rtol=1e-4)
    assert losses[0] > np.mean(segmentation_loss(labels, outputs)) + 0.01
    teacher = [weight.numpy() for weight in one.step.state["averages"]]
    assert difference(teacher, one.weights()) > 1e-4
    run = Run(replicas(number), xla=xla, accumulation=accumulation, **settings)
    np.testing.assert_allclose(run.steps(batches), losses, rtol=0, atol=1e-4)
    assert difference(run.weights(), one.weights()) < 1e-4
    averages = [weight.numpy() for weight in run.step.state["averages"]]
    assert difference(averages, teacher) < 1e-4


@pytest.mark.slow
def test_without_masks_a_step_is_that_of_a_classifier() -> None:
    plain = Run(replicas(1), freeze_bn=True)
    masked = Run(replicas(1), segmentation=True, freeze_bn=True)
    alone = classifier(masked.model)
    alone.set_weights(plain.weights())
    batches = [with_masks(*one) for one in BATCHES[:5]]
    unmasked = [(x, labels._replace(annotated=0 * labels.annotated)) for x, labels in batches]
    losses = plain.steps(BATCHES[:5])
    np.testing.assert_allclose(masked.steps(unmasked), losses, rtol=0, atol=1e-6)
    assert difference([x.numpy() for x in alone.weights], plain.weights()) < 1e-6


@pytest.mark.parametrize("number", [2, slow(4)])
def test_replicas_equal_the_average_of_their_parts(number: int) -> None:
    """Batch normalisation in training mode, whose statistics are each replica's own."""
    reference, mirrored = Run(replicas(1)), Run(replicas(number), xla=number == 2)
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)
    losses = [parts_step(reference.model, optimizer, number, *one) for one in BATCHES]
    np.testing.assert_allclose(mirrored.steps(BATCHES), losses, rtol=0, atol=1e-5)
    assert difference(reference.weights(), mirrored.weights()) < 1e-5


def parts_step(model, optimizer, number, images, labels):
    """One device, the batch in parts: gradients and batch statistics averaged."""
    statistics = model.non_trainable_variables
    before = [variable.numpy() for variable in statistics]
    gradients, after, losses = [], [], []
    parts = zip(np.split(images, number), np.split(labels, number), strict=True)
    for part_images, part_labels in parts:
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            logits = model(part_images, training=True)
            loss = tf.reduce_mean(weighted_binary_crossentropy(part_labels, logits))
        gradients.append(tape.gradient(loss, model.trainable_variables))
        after.append([variable.numpy() for variable in statistics])
        losses.append(float(loss))
    for variable, *values in zip(statistics, *after, strict=True):
        variable.assign(np.mean(values, axis=0))
    means = [tf.add_n(values) / number for values in zip(*gradients, strict=True)]
    optimizer.apply_gradients(zip(means, model.trainable_variables, strict=True))
    return sum(losses) / number


def test_parts_on_one_device_draw_dropout_as_replicas_do() -> None:
    one = Run(replicas(1), freeze_bn=True, dropout=0.5, accumulation=2)
    two = Run(replicas(2), freeze_bn=True, dropout=0.5, xla=True)
    other = Run(replicas(2), freeze_bn=True, dropout=0.5, seed=1)
    for run in (one, two, other):
        run.steps(BATCHES[:5])
    assert difference(one.weights(), two.weights()) < 1e-5
    assert difference(one.weights(), other.weights()) > 1e-3


def test_several_steps_in_one_execution() -> None:
    one_by_one, together = (Run(replicas(2), ema_decay=0.9) for _ in range(2))
    losses = one_by_one.steps(BATCHES[:5])
    pairs = [distribute(together.strategy, *one) for one in BATCHES[:5]]
    found = [*together.step(*pairs[:2]), *together.step(*pairs[2:4]), *together.step(pairs[4])]
    np.testing.assert_allclose(np.array(found), losses, rtol=0, atol=1e-6)
    assert difference(one_by_one.weights(), together.weights()) < 1e-6
    assert together.step.traces == 2


def test_a_batch_is_prepared_on_each_replica() -> None:
    """Step and place in the batch are given, and what a self-check measures is prepared alike."""
    images, labels = BATCHES[0]

    def prepare(images, labels, step, first):
        places = tf.range(first, first + labels.shape[0])
        shift = tf.cast(step, tf.int32) + places
        return images + tf.cast(shift, tf.uint8)[:, None, None, None], labels

    shifts = np.arange(BATCH, dtype=np.uint8)[:, None, None, None]
    plain, run = Run(replicas(1), freeze_bn=True), Run(replicas(2), freeze_bn=True, prepare=prepare)
    expected = plain.steps([(images + shifts + np.uint8(step), labels) for step in range(2)])
    parts = distribute(run.strategy, images, labels)
    assert float(run.step.gradients(*parts).loss) == pytest.approx(expected[0], abs=1e-5)
    np.testing.assert_allclose(run.steps([BATCHES[0]] * 2), expected, rtol=0, atol=1e-5)


@own_backbones.backbone
def start_of_resnet50(size: int, channels: int) -> keras.Model:
    """Two of its four stages: the graph of two synchronized replicas of all takes two minutes."""
    whole = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(size, size, channels)
    )
    return keras.Model(whole.input, whole.get_layer("conv3_block4_out").output)


@pytest.mark.parametrize("backbone", ["tiny", slow(f"{__name__}:start_of_resnet50")])
def test_gradients_of_synchronized_replicas_are_those_of_the_whole_batch(backbone: str) -> None:
    one = Run(replicas(1), backbone=backbone)
    two = Run(replicas(2), backbone=backbone, sync_bn=True)
    gradients, expected = gradients_of(two), gradients_of(one)
    np.testing.assert_allclose(gradients, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def gradients_of(run: Run) -> np.ndarray:
    return run.step.gradients(*distribute(run.strategy, *BATCHES[0])).gradients.numpy()


def test_synchronized_replicas_equal_one_device_on_the_whole_batch() -> None:
    """In training mode: weights and moving statistics; without synchronizing they do not."""
    one, two = (Run(replicas(n), learning_rate=0.01, sync_bn=n > 1) for n in (1, 2))
    apart, expected = gradients_of(Run(replicas(2))), gradients_of(Run(replicas(1)))
    assert np.abs(apart - expected).max() > 1e-2 * np.abs(expected).max()
    np.testing.assert_allclose(two.steps(BATCHES[:5]), one.steps(BATCHES[:5]), atol=1e-4)
    assert difference(two.weights(), one.weights()) < 1e-4
    check = WeightCheck(two.model, two.strategy)
    assert check() == ([], [])


def test_synchronized_channels_that_hardly_vary() -> None:
    """Whose mean square less the squared mean would be below 0 in float32."""
    strategy = replicas(2)
    values = np.random.default_rng(0).normal(1000, 0.01, (8, 4, 4, 3)).astype(np.float32)
    with strategy.scope():
        layer = keras.layers.BatchNormalization(epsilon=1e-5)
        model = keras.Sequential([keras.layers.InputLayer((4, 4, 3)), layer])
    synchronize(model)
    (parts,) = distribute(strategy, values)
    outputs = tf.function(lambda: strategy.run(lambda x: model(x, training=True), args=(parts,)))()
    found = np.concatenate([part.numpy() for part in strategy.experimental_local_results(outputs)])
    centered = values.astype(np.float64) - values.mean((0, 1, 2), np.float64)
    expected = centered / np.sqrt((centered**2).mean((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_large_seeds() -> None:
    run, other = (Run(replicas(1), dropout=0.5, seed=seed) for seed in (2**63 - 1, 2**63 - 2))
    assert np.isfinite(losses := run.steps(BATCHES[:2])).all()
    assert other.steps(BATCHES[:2]) != losses


@pytest.mark.parametrize("number", [slow(1), 2])
def test_few_operations_stand_outside_of_compiled_code(number: int) -> None:
    run = Run(replicas(number), xla=True, precision="float16", clip_norm=1.0, ema_decay=0.9)
    parts = distribute(run.strategy, *BATCHES[0])
    assert count_nodes(run.step.graph(parts)) < 30
    plain = Run(replicas(number), precision="float16", clip_norm=1.0, ema_decay=0.9)
    assert count_nodes(plain.step.graph(parts)) > 100


def test_the_graph_does_not_grow_with_the_steps_of_an_execution() -> None:
    run = Run(replicas(2))
    parts = distribute(run.strategy, *BATCHES[0])
    two, eight = (count_nodes(run.step.graph(*[parts] * steps)) for steps in (2, 8))
    assert two == eight


def test_moving_statistics_are_the_replicas_mean() -> None:
    run = Run(replicas(2))
    run.steps(BATCHES[:1])
    for layer in batch_normalizations(run.model):
        for variable in (layer.moving_mean, layer.moving_variance):
            first, second = (
                one.numpy() for one in run.strategy.experimental_local_results(variable)
            )
            np.testing.assert_array_equal(first, second)
    # Any replica scores alike, and as the saved model does.
    images, _ = batch(1)
    logits = make_logits_fn(run.model, run.strategy)(images)
    flipped = make_logits_fn(run.model, run.strategy)(images[::-1])[::-1]
    np.testing.assert_allclose(logits, flipped, atol=1e-6)


@pytest.mark.slow
def test_resnet50_replicas_equal_one_with_and_without_xla() -> None:
    settings = {"backbone": "resnet50", "freeze_bn": True, "learning_rate": 1e-3}
    one = Run(replicas(1), **settings)
    losses = one.steps(BATCHES[:1])
    for xla in (False, True):
        two = Run(replicas(2), xla=xla, **settings)
        np.testing.assert_allclose(two.steps(BATCHES[:1]), losses, rtol=1e-5)
        assert difference(one.weights(), two.weights()) < 1e-5


@pytest.mark.parametrize("number", [1, 2])
def test_clipping_follows_the_reduction(number: int) -> None:
    clip = 1e-3
    run = Run(replicas(number), freeze_bn=True, clip_norm=clip, learning_rate=1.0)
    run.optimizer.momentum = 0.0
    before = run.weights()
    run.steps(BATCHES[:1])
    norm = np.sqrt(
        sum(
            ((after.astype(np.float64) - value) ** 2).sum()
            for after, value in zip(run.weights(), before, strict=True)
        )
    )
    assert norm == pytest.approx(clip, rel=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_step(precision: str) -> None:
    run = Run(replicas(2), precision=precision, optimizer="adam", learning_rate=1e-3)
    losses = run.steps([batch(0)] * 5)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert {variable.dtype for variable in run.model.trainable_variables} == {tf.float32}


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("radam", marks=needs_addons)])
def test_float16_is_not_warned_of(optimizer: str, caplog: pytest.LogCaptureFixture) -> None:
    """Keras warned that the loss was not scaled, which the step does by itself."""
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        run = Run(replicas(1), precision="float16", optimizer=optimizer)
        caplog.clear()
        run.steps(BATCHES[:1])
    finally:
        logger.removeHandler(caplog.handler)
    assert caplog.messages == []


@pytest.mark.parametrize("accumulation", [1, 2])
def test_float16_skips_an_infinite_step_on_every_replica(accumulation: int) -> None:
    run = Run(replicas(2), precision="float16", learning_rate=0.01, accumulation=accumulation)
    before = run.weights()
    scale = float(run.optimizer.scale)
    images, labels = batch(0)
    labels[-1] = np.inf  # on the last replica alone
    run.steps([(images, labels)] * 2)
    assert difference(run.weights(), before) == 0
    for variable, value in zip(run.model.weights, before, strict=True):
        for local in run.strategy.experimental_local_results(variable):
            np.testing.assert_array_equal(local.numpy(), value)
    assert float(run.optimizer.scale) == scale / 4
    assert int(run.step.skipped.read_value()) == 2
    run.steps([batch(0)])
    assert int(run.step.skipped.read_value()) == 0
    assert difference(run.weights(), before) > 0


def test_moving_average_of_the_weights() -> None:
    run = Run(replicas(2), ema_decay=0.5, learning_rate=0.2)
    expected = run.weights()
    for number, one in enumerate(BATCHES[:6], 1):
        run.steps([one])
        # Shorter at first: (1 + n) / (10 + n), until it is the decay's turn.
        decay = min(0.5, (1 + number) / (10 + number))
        expected = [
            average * decay + value * (1 - decay)
            for average, value in zip(expected, run.weights(), strict=True)
        ]
    own = run.weights()
    with run.step.averaged_weights():
        assert difference(run.weights(), expected) < 1e-6
    assert difference(run.weights(), own) == 0
    assert difference(own, expected) > 1e-3


@pytest.mark.parametrize("precision", [slow("float32"), "float16"])
@pytest.mark.parametrize(
    ("optimizer", "lookahead"),
    [
        pytest.param("lamb", False, marks=needs_addons),
        pytest.param("radam", True, marks=[needs_addons, pytest.mark.slow]),
        pytest.param("sgd", True, marks=needs_addons),
        ("adamw", False),
        ("adam", False),
    ],
)
def test_optimizers_on_replicas(optimizer: str, lookahead: bool, precision: str) -> None:
    settings = {
        "optimizer": optimizer,
        "lookahead": lookahead,
        "precision": precision,
        "freeze_bn": True,
        "learning_rate": 1e-3,
    }
    batches = [batch(0)] * 8
    one, two = Run(replicas(1), **settings), Run(replicas(2), **settings)
    start = one.weights()
    losses = one.steps(batches)
    np.testing.assert_allclose(two.steps(batches), losses, rtol=0, atol=1e-3)
    assert losses[-1] < losses[0]
    tolerance = 1e-5 if precision == "float32" else 2e-3
    assert difference(one.weights(), two.weights()) < tolerance
    assert difference(one.weights(), start) > 1e-4


def test_batch_size_must_suit_replicas_and_parts() -> None:
    strategy = replicas(2)
    with strategy.scope():
        model = build_model("tiny", RECORD_SHAPE, 32)
        optimizer = make_optimizer(TrainConfig(), 10)
    with pytest.raises(ConfigError, match=r"batch_size is 7.*multiple of the 2 replicas\."):
        TrainingStep(model, optimizer, strategy, batch_size=7)
    with pytest.raises(ConfigError, match=r"multiple of the 2 replicas times 3 parts\."):
        TrainingStep(model, optimizer, strategy, batch_size=BATCH, accumulation=3)
