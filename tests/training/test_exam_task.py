"""A network learns through bags, from labels of exams, and is used as a series model is."""

from pathlib import Path

import numpy as np
import pytest

from ich_tf.inference.series_predictor import SeriesPredictor, load_predictor
from ich_tf.losses import exam_loss
from ich_tf.metrics import sigmoid
from ich_tf.models import run_files, saved
from ich_tf.models.end_to_end import parts
from ich_tf.records.manifest import Manifest
from ich_tf.records.shard_labels import known_shares
from ich_tf.runtime.strategies import Worker, make_strategy
from ich_tf.training import trainer
from ich_tf.training.bag_loss import bag_loss
from ich_tf.training.config import TrainConfig
from ich_tf.training.known_validation import known_losses, known_sums
from ich_tf.training.trainer import make_task
from tests.support.exam_records import a_third_labelled, exams_alone, with_exams
from tests.support.once import made_once


def config(data_dir: Path, work_dir: Path, **changes) -> TrainConfig:
    values = {
        "data_dir": str(data_dir), "work_dir": str(work_dir), "backbone": "tiny",
        "weights": "none", "image_size": 32, "sequence": "attention", "slab": 5, "units": 8,
        "batch_size": 2, "epochs": 2, "learning_rate": 3e-3, "schedule": "constant",
        "bn_momentum": 0.9, "mixed_precision": "float32", "tensorboard": False, **changes,
    }  # fmt: skip
    return TrainConfig(**values)


@pytest.fixture(scope="module")
def exams_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(
        tmp_path_factory, "exams", lambda folder: with_exams(data_dir, folder, exams_alone)
    )


@pytest.fixture(scope="module")
def mixed_dir(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(
        tmp_path_factory, "mixed", lambda folder: with_exams(data_dir, folder, a_third_labelled)
    )


def dealt(made: TrainConfig):
    task = make_task(made)
    task.deal(Worker(0, 1, 1))
    return task


@pytest.mark.parametrize("pool", ["attention", "noisy_or"])
def test_a_network_of_exams_begins_at_their_prior(exams_dir: Path, tmp_path: Path, pool) -> None:
    task = dealt(config(exams_dir, tmp_path, sequence=pool, slab=0))
    network, _ = parts(task.build())
    bias = sigmoid(network.layers[-1].bias.numpy())
    prior = known_shares(Manifest.load(exams_dir).train_shards(0)).of_exams
    length = task.slices_per_step / task.batch_size
    expected = prior if pool == "attention" else 1 - (1 - prior) ** (1 / length)
    np.testing.assert_allclose(bias, np.clip(expected, 1e-4, 1 - 1e-4), atol=1e-5)
    assert task.spec.series.weakly_supervised


def test_slices_that_are_labelled_give_their_prior(mixed_dir: Path, tmp_path: Path) -> None:
    task = dealt(config(mixed_dir, tmp_path))
    network, _ = parts(task.build())
    shares = known_shares(Manifest.load(mixed_dir).train_shards(0))
    bias = sigmoid(network.layers[-1].bias.numpy())
    # Of epidural hematomas no slice's label tells in these records, and exams' labels do.
    assert np.isnan(shares.slices).tolist() == [True] + [False] * 5
    expected = np.append(shares.exams[0], shares.slices[1:])
    np.testing.assert_allclose(bias, np.clip(expected, 1e-4, 1 - 1e-4), atol=1e-5)
    assert not task.spec.series.weakly_supervised


def test_epochs_bring_other_slices_of_the_same_exams(mixed_dir: Path, tmp_path: Path) -> None:
    task = dealt(config(mixed_dir, tmp_path, flip=True))
    (images, places), labels = next(iter(task.batches(0, 0)))
    assert images.shape[:2] == places.shape[:2] == (2, 5) and labels.shape == (2, 6, 6)
    resumed = next(iter(task.batches(0, 1)))
    second = list(task.batches(0, 0))[1]
    np.testing.assert_array_equal(resumed[0][0], second[0][0])
    np.testing.assert_array_equal(resumed[1], second[1])


def test_exams_alone_teach_a_network_and_it_predicts_slices(
    exams_dir: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "w"
    result = trainer.train(config(exams_dir, work_dir, slab=0, slice_chunk=16))
    assert all(np.isfinite(epoch.val_loss) for epoch in result.history)
    predictor = load_predictor(work_dir, make_strategy("one"))
    assert isinstance(predictor, SeriesPredictor)
    spec = saved.read_spec(work_dir)
    assert spec.series.weakly_supervised and spec.series.backbone == "attention"
    predictions = predictor.predict_split(Manifest.load(exams_dir), "fold-0", 16)
    assert np.isfinite(predictions.logits).all() and np.isfinite(predictions.series_logits).all()


def test_validation_counts_the_labels_that_are_known() -> None:
    labels = np.array([[np.nan] * 5 + [0.25], [1.0] + [np.nan] * 5, [0.0] + [np.nan] * 5])
    probabilities = np.full((3, 6), 0.8)
    halves = (
        known_sums(part, probabilities[: len(part)], np.full(6, 0.5))
        for part in (labels[:1], labels[1:])
    )
    loss, per_class, constant = known_losses(sum(halves))
    log_losses = -np.log([0.8, 0.2]) @ [[0.25, 0.5], [0.75, 0.5]]
    np.testing.assert_allclose([per_class[5], per_class[0]], log_losses)
    assert loss == pytest.approx((2 * log_losses[0] + log_losses[1]) / 3)
    assert np.isnan(per_class[1:5]).all() and constant == pytest.approx(np.log(2))


@pytest.mark.slow
def test_replicas_parts_chunks_and_resume_come_to_the_same_weights(
    mixed_dir: Path, tmp_path: Path
) -> None:
    options = {"max_steps_per_epoch": 3, "freeze_bn": True, "optimizer": "sgd"}
    losses = {}
    for name, changes in (
        ("one", {}),
        ("two", {"strategy": "mirrored", "cpu_replicas": 2}),
        ("parts", {"accumulation": 2}),
        ("chunks", {"slice_chunk": 3}),
        ("both", {"strategy": "mirrored", "cpu_replicas": 2, "slice_chunk": 3, "xla": "on"}),
        ("again", {"epochs": 1, "slice_chunk": 3}),
        ("again", {"slice_chunk": 3}),
    ):
        made = config(mixed_dir, tmp_path / name, **options, **changes)
        if name in losses:
            # As if the run had been ended after its first epoch.
            (tmp_path / name / run_files.CONFIG).write_text(made.to_json())
        losses[name] = [one.val_loss for one in trainer.train(made).history]
    for name in ("two", "parts", "chunks", "both"):
        np.testing.assert_allclose(losses[name], losses["one"], rtol=1e-4, err_msg=name)
    assert losses["again"] == losses["chunks"]


def test_slices_have_the_exams_loss_by_their_smooth_maximum() -> None:
    rng = np.random.default_rng(0)
    labels = np.full((2, 4, 6), np.nan, np.float32)
    labels[:, 0] = [[1, 0, np.nan, 0.25, 1, 1], [0] * 6]
    logits = rng.normal(size=(2, 4, 6)).astype(np.float32)
    # The second bag has two slices, and a slot without one.
    logits[1, 3] = -1e9
    settings = {"exam_weight": 0.5, "label_smoothing": 0.1}
    plain = bag_loss(labels, logits, **settings)
    np.testing.assert_array_equal(plain, exam_loss(labels, logits, **settings))
    both = bag_loss(labels, logits, instance_weight=0.3, **settings)
    for i, number in enumerate((3, 2)):
        pooled = np.log(np.exp(4 * logits[i, 1 : 1 + number]).mean(axis=0)) / 4
        rows = np.concatenate([[pooled], logits[i, 1:]])[None]
        expected = 0.3 * exam_loss(labels[i : i + 1], rows, **settings)[0]
        assert float(both[i] - plain[i]) == pytest.approx(float(expected), abs=1e-6)
