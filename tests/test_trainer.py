import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf import checkpoints, trainer
from ich_tf.config import TrainConfig
from ich_tf.errors import ConfigError, InputError
from ich_tf.history import EpochResult, read_history, write_history
from ich_tf.inference import make_logits_fn, predict_records
from ich_tf.labels import CLASSES
from ich_tf.losses import weighted_binary_crossentropy
from ich_tf.metrics import weighted_log_loss
from ich_tf.models import batch_normalizations, build_model
from ich_tf.optimizers import make_optimizer
from ich_tf.precision import policy_scope
from ich_tf.strategies import make_strategy, split_batch
from ich_tf.training_step import TrainingStep, average_batch_statistics

RECORD_SHAPE = (32, 32, 3)
BATCH = 8


def one_device():
    return make_strategy("one")


def two_replicas():
    return make_strategy("mirrored", cpu_replicas=2)


def batch(seed, size=BATCH, shape=RECORD_SHAPE):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, *shape), np.uint8)
    labels = rng.integers(0, 2, (size, len(CLASSES))).astype(np.float32)
    return images, labels


def distribute(strategy, *arrays):
    return split_batch(strategy, *(tf.constant(array) for array in arrays))


class Run:
    """A model, its optimizer and its step, on some strategy, from the same weights each time."""

    def __init__(
        self,
        strategy,
        *,
        backbone="tiny",
        freeze_bn=False,
        xla=False,
        precision="float32",
        optimizer="sgd",
        learning_rate=0.05,
        clip_norm=0.0,
    ):
        self.strategy = strategy
        config = TrainConfig(
            optimizer=optimizer, learning_rate=learning_rate, schedule="constant", epochs=1
        )
        tf.keras.utils.set_random_seed(1)
        with strategy.scope(), policy_scope(precision):
            self.model = build_model(
                backbone, RECORD_SHAPE, RECORD_SHAPE[0], freeze_bn=freeze_bn, bn_momentum=0.9
            )
            self.optimizer = make_optimizer(config, 100, loss_scaling=precision == "float16")
        self.step = TrainingStep(
            self.model, self.optimizer, strategy, batch_size=BATCH, xla=xla, clip_norm=clip_norm
        )

    def steps(self, batches):
        return [float(self.step(*distribute(self.strategy, *one))) for one in batches]


def assert_same_weights(left, right, atol):
    for a, b in zip(left.weights, right.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=atol, err_msg=a.name)


@pytest.mark.parametrize("xla", [False, True])
def test_two_replicas_equal_one_with_frozen_batch_normalization(xla):
    batches = [batch(seed) for seed in range(5)]
    one = Run(one_device(), freeze_bn=True)
    two = Run(two_replicas(), freeze_bn=True, xla=xla)
    assert_same_weights(one.model, two.model, 0)
    start = [weight.numpy() for weight in one.model.weights]
    np.testing.assert_allclose(one.steps(batches), two.steps(batches), rtol=0, atol=1e-5)
    assert_same_weights(one.model, two.model, 1e-5)
    moved = [np.abs(w.numpy() - s).max() for w, s in zip(one.model.weights, start, strict=True)]
    assert max(moved) > 1e-3
    assert two.step.traces == 1


@pytest.mark.parametrize("xla", [False, True])
def test_two_replicas_equal_the_average_of_two_halves(xla):
    """Batch normalisation in training mode: its statistics are each replica's own."""
    batches = [batch(seed) for seed in range(3)]
    reference, mirrored = Run(one_device()), Run(two_replicas(), xla=xla)
    losses = [halves_step(reference, *one) for one in batches]
    np.testing.assert_allclose(mirrored.steps(batches), losses, rtol=0, atol=1e-5)
    assert_same_weights(reference.model, mirrored.model, 1e-5)


def halves_step(run, images, labels):
    """One device, two half batches: gradients and batch statistics averaged."""
    model, half = run.model, BATCH // 2
    statistics = model.non_trainable_variables
    before = [variable.numpy() for variable in statistics]
    gradients, after, losses = [], [], []
    for part in (slice(0, half), slice(half, BATCH)):
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            logits = model(images[part], training=True)
            loss = tf.reduce_mean(weighted_binary_crossentropy(labels[part], logits))
        gradients.append(tape.gradient(loss, model.trainable_variables))
        after.append([variable.numpy() for variable in statistics])
        losses.append(float(loss))
    for variable, first, second in zip(statistics, *after, strict=True):
        variable.assign((first + second) / 2)
    means = [(a + b) / 2 for a, b in zip(*gradients, strict=True)]
    run.optimizer.apply_gradients(zip(means, model.trainable_variables, strict=True))
    return sum(losses) / 2


def test_batch_statistics_are_averaged_before_validation():
    run = Run(two_replicas())
    run.steps([batch(0)])
    moving_mean = batch_normalizations(run.model)[0].moving_mean

    def replicas_values():
        return [value.numpy() for value in run.strategy.experimental_local_results(moving_mean)]

    first, second = replicas_values()
    assert np.abs(first - second).max() > 1e-6
    average_batch_statistics(run.model, run.strategy)
    for value in replicas_values():
        np.testing.assert_allclose(value, (first + second) / 2, rtol=0, atol=1e-6)
    # The two replicas now score alike, and as the saved model does.
    images, _ = batch(1)
    logits = make_logits_fn(run.model, run.strategy)(images)
    flipped = make_logits_fn(run.model, run.strategy)(images[::-1])[::-1]
    np.testing.assert_allclose(logits, flipped, atol=1e-6)


@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_resnet50_replicas_equal_one(xla):
    one = Run(one_device(), backbone="resnet50", freeze_bn=True, learning_rate=1e-3)
    two = Run(two_replicas(), backbone="resnet50", freeze_bn=True, learning_rate=1e-3, xla=xla)
    batches = [batch(0)]
    np.testing.assert_allclose(one.steps(batches), two.steps(batches), rtol=1e-5)
    assert_same_weights(one.model, two.model, 1e-5)


def test_clipping_follows_the_reduction():
    images, labels = batch(0)
    clip = 1e-3
    for strategy in (one_device(), two_replicas()):
        run = Run(strategy, freeze_bn=True, clip_norm=clip, learning_rate=1.0)
        run.optimizer.momentum = 0.0
        before = [variable.numpy() for variable in run.model.trainable_variables]
        run.steps([(images, labels)])
        moved = [
            variable.numpy() - value
            for variable, value in zip(run.model.trainable_variables, before, strict=True)
        ]
        norm = np.sqrt(sum((m.astype(np.float64) ** 2).sum() for m in moved))
        assert norm == pytest.approx(clip, rel=1e-3)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_step(precision):
    run = Run(two_replicas(), precision=precision, optimizer="adam", learning_rate=1e-3)
    losses = run.steps([batch(0)] * 5)
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert {variable.dtype for variable in run.model.trainable_variables} == {tf.float32}


def test_float16_skips_an_infinite_step_on_every_replica():
    run = Run(two_replicas(), precision="float16", learning_rate=0.01)
    before = [variable.numpy() for variable in run.model.trainable_variables]
    scale = float(run.optimizer.loss_scale)
    images, labels = batch(0)
    labels[0] = np.inf  # on the first replica alone
    run.steps([(images, labels)])
    for variable, value in zip(run.model.trainable_variables, before, strict=True):
        for local in run.strategy.experimental_local_results(variable):
            np.testing.assert_array_equal(local.numpy(), value)
    assert float(run.optimizer.loss_scale) == scale / 2


def test_batch_size_must_suit_the_replicas():
    strategy = two_replicas()
    with strategy.scope():
        model = build_model("tiny", RECORD_SHAPE, 32)
        optimizer = make_optimizer(TrainConfig(), 10)
    with pytest.raises(ConfigError, match=r"batch_size is 7.*multiple of the 2"):
        TrainingStep(model, optimizer, strategy, batch_size=7)


def dataset(*batches):
    return tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature=(
            tf.TensorSpec((BATCH, *RECORD_SHAPE), tf.uint8),
            tf.TensorSpec((BATCH, len(CLASSES)), tf.float32),
        ),
    )


def test_run_epoch_gives_the_mean_loss():
    batches = [batch(seed) for seed in range(3)]
    losses = Run(two_replicas()).steps(batches)
    run = Run(two_replicas())
    trained = trainer.run_epoch(run.step, run.strategy, dataset(*batches), 3, 1)
    assert trained.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert trained.seconds > 0 and 0 <= trained.input_wait <= 1


def test_run_epoch_refuses_a_short_data_set():
    run = Run(one_device())
    with pytest.raises(InputError, match="records ended before the epoch"):
        trainer.run_epoch(run.step, run.strategy, dataset(batch(0)), 2, 1)


def test_run_epoch_stops_at_a_loss_that_is_not_finite():
    run = Run(one_device())
    images, labels = batch(0)
    labels[0] = np.nan
    with pytest.raises(trainer.DivergenceError, match="training loss is nan in epoch 4"):
        trainer.run_epoch(run.step, run.strategy, dataset((images, labels), batch(1)), 2, 4)


def test_history_round_trip(tmp_path):
    rows = [
        EpochResult(i, 1e-3, 0.3, 0.2 / i, tuple(0.01 * k for k in range(6)), 12.5, 30.0, 0.02)
        for i in (1, 2)
    ]
    write_history(tmp_path / "history.csv", rows)
    assert read_history(tmp_path / "history.csv") == rows
    assert read_history(tmp_path / "none.csv") == []


# From here on: whole runs on phantoms.


def smoke_config(data_dir: Path, work_dir: Path, **changes) -> TrainConfig:
    values = {
        "data_dir": str(data_dir),
        "work_dir": str(work_dir),
        "backbone": "tiny",
        "weights": "none",
        "image_size": 32,
        "batch_size": BATCH,
        "epochs": 2,
        "max_steps_per_epoch": 4,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "flip": True,
    }
    return TrainConfig(**{**values, **changes})


def test_train_writes_what_evaluation_needs(data_dir, tmp_path):
    config = smoke_config(data_dir, tmp_path / "run", strategy="mirrored", cpu_replicas=2)
    result = trainer.train(config)
    assert [epoch.epoch for epoch in result.history] == [1, 2]
    assert result.best_val_loss == min(epoch.val_loss for epoch in result.history)
    assert TrainConfig.from_json((result.work_dir / "config.json").read_text()) == config
    with open(result.work_dir / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert json.loads((result.work_dir / "model.json").read_text())["epoch"] == result.best_epoch

    from ich_tf.input_pipeline import eval_batches
    from ich_tf.shards import Manifest, num_records

    model, spec = checkpoints.load_best(result.work_dir)
    manifest = Manifest.load(data_dir)
    assert spec.record_shape == manifest.image_shape
    shards = manifest.fold_shards(0)
    found = predict_records(
        make_logits_fn(model, one_device()),
        eval_batches(shards, manifest.image_shape, batch_size=5, encoding=manifest.encoding),
        expected=num_records(shards),
    )
    # Other batches, other replicas, another process's model: the same loss.
    loss = weighted_log_loss(found.labels, found.probabilities)
    assert loss == pytest.approx(result.best_val_loss, abs=1e-6)


def test_train_continues_after_the_last_finished_epoch(data_dir, tmp_path, monkeypatch):
    whole = trainer.train(smoke_config(data_dir, tmp_path / "whole"))

    real_save = checkpoints.TrainingState.save

    def killed_after_first(self, epoch, val_loss):
        if epoch == 2:
            raise KeyboardInterrupt
        real_save(self, epoch, val_loss)

    config = smoke_config(data_dir, tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.TrainingState, "save", killed_after_first)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(config)
    resumed = trainer.train(config)
    assert [epoch.epoch for epoch in resumed.history] == [1, 2]
    for left, right in zip(whole.history, resumed.history, strict=True):
        assert right.val_loss == pytest.approx(left.val_loss, abs=1e-6)
        assert right.learning_rate == left.learning_rate

    again = trainer.train(config)  # finished: trains no more
    assert again.history == resumed.history
    assert again.best_val_loss == resumed.best_val_loss


def test_train_refuses_another_config(data_dir, tmp_path):
    config = smoke_config(data_dir, tmp_path, epochs=1, max_steps_per_epoch=1)
    trainer.train(config)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = dataclasses.replace(config, seed=5)
    with pytest.raises(InputError, match=r"seed: 5 here, 0 there.*--overwrite"):
        trainer.train(other)
    with pytest.raises(InputError, match="no such file"):
        trainer.train(dataclasses.replace(other, overwrite=True, weights="nowhere.h5"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept
    trainer.train(dataclasses.replace(other, overwrite=True))
    assert TrainConfig.from_json((tmp_path / "config.json").read_text()).seed == 5


def test_train_without_data(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        trainer.train(smoke_config(tmp_path / "none", tmp_path / "run"))
    assert not (tmp_path / "run").exists()
