"""A series model is trained by the trainer, continues, and learns what neighbours tell."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.forward import make_logits_fn
from ich_tf.losses import exam_loss, series_loss, weighted_binary_crossentropy
from ich_tf.metrics import sigmoid, weighted_log_loss
from ich_tf.models import saved
from ich_tf.models.feature_axes import AXES, Axes, save_axes
from ich_tf.models.series_model import SeriesSpec, pack, turned_series
from ich_tf.records.feature_manifest import FeatureManifest, write_series
from ich_tf.records.series_features import SeriesFeatures, flat
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.strategies import make_strategy, worker_of
from ich_tf.training import trainer
from ich_tf.training.bag_loss import bag_loss
from ich_tf.training.config import TrainConfig
from ich_tf.training.series_task import SeriesTask, pack_labels, predict_series
from tests.support.commands import Command

DIM = 4


def one_series(rng: np.random.Generator, key: str, patient: str, network: int) -> SeriesFeatures:
    """Bleeds of three slices or more; the slice model sees them through much noise."""
    number = int(rng.integers(12, 30))
    labels = np.zeros((number, 6), np.float32)
    for column in range(5):
        if rng.uniform() < 0.4:
            start = int(rng.integers(0, number - 6))
            labels[start : start + int(rng.integers(3, 7)), column] = 1
    labels[:, 5] = labels.max(axis=1)
    logits = 2.5 * labels - 2 + rng.normal(0, 2, labels.shape)
    return SeriesFeatures(
        series_key=key, patient_key=patient, scanner="GE", network=network,
        source_id=tuple(f"ID_{key}_{i}" for i in range(number)),
        slice_index=np.arange(number), z_mm=(np.arange(number) * 5.0).astype(np.float32),
        spacing_mm=(0.5, 0.5), gantry_tilt_deg=0.0, labels=labels,
        logits=logits.astype(np.float32),
        features=rng.normal(size=(number, DIM)).astype(np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(0)
    shards, patients = [], {}
    for fold in range(2):
        split = f"fold-{fold}"
        patients[split] = [f"P{fold}_{i}" for i in range(64)]
        series = [one_series(rng, f"S{name}", name, fold) for name in patients[split]]
        shards.append(
            write_series(folder / f"{split}.network-{fold}.tfrecord", series, split, fold)
        )
    save_axes(folder / AXES, [Axes(np.zeros(DIM), np.eye(DIM))] * 2)
    FeatureManifest(
        folder=folder, feature_dim=DIM, data_sha256="x",
        axes_sha256=file_sha256(folder / AXES),
        networks=tuple(
            {"sha256": f"n{i}", "validation_fold": i, "work_dir": f"w{i}"} for i in range(2)
        ),
        origins={"networks": [], "patients": {}},
        shards=tuple(shards), patients=patients, num_folds=2,
    ).save()  # fmt: skip
    return folder


def config(features: Path, work_dir: Path, **changes) -> TrainConfig:
    values = {
        "data_dir": str(features), "work_dir": str(work_dir), "backbone": "bigru",
        "weights": "none", "units": 16, "layers": 1, "batch_size": 8, "epochs": 6,
        "learning_rate": 1e-2, "schedule": "constant", "mixed_precision": "float32",
        "tensorboard": False, **changes,
    }  # fmt: skip
    return TrainConfig(**values)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["bigru", "transformer"])
def test_it_beats_the_slice_model(features: Path, tmp_path: Path, backbone: str) -> None:
    rate = 1e-2 if backbone == "bigru" else 3e-3
    result = trainer.train(
        config(features, tmp_path, backbone=backbone, reverse=True, learning_rate=rate)
    )
    validation = list(FeatureManifest.load(features).read("fold-0"))
    labels = flat(validation, "labels")
    alone = weighted_log_loss(labels, sigmoid(flat(validation, "logits")))
    assert result.best_val_loss < 0.8 * alone
    # What is saved says what was validated.
    model, spec = saved.load_best(tmp_path)
    assert isinstance(spec, SeriesSpec) and spec.networks == ("n0", "n1")
    logits_fn = make_logits_fn(model, make_strategy("one"))
    found = np.concatenate(predict_series(validation, logits_fn, 40, len(validation)))
    assert weighted_log_loss(labels, sigmoid(found)) == pytest.approx(
        result.best_val_loss, abs=1e-5
    )


@pytest.mark.slow
def test_replicas_share_the_series(features: Path, tmp_path: Path) -> None:
    runs = [
        trainer.train(config(features, tmp_path / name, epochs=1, **changes))
        for name, changes in (
            ("one", {}),
            ("two", {"strategy": "mirrored", "cpu_replicas": 2}),
            ("parts", {"accumulation": 2}),
        )
    ]
    losses = [run.history[0].val_loss for run in runs]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-4)


@pytest.mark.slow
def test_stopped_between_epochs_it_goes_on_to_the_same_weights(
    features: Path, tmp_path: Path
) -> None:
    options = {"dropout": 0.3, "reverse": True}
    whole = trainer.train(config(features, tmp_path / "whole", epochs=3, **options))
    trainer.train(config(features, tmp_path / "part", epochs=3, patience=1, **options))
    again = trainer.train(config(features, tmp_path / "again", epochs=3, **options))
    assert [one.val_loss for one in again.history] == [one.val_loss for one in whole.history]


def test_batches_from_any_step_on(features: Path, tmp_path: Path) -> None:
    made = config(features, tmp_path, reverse=True)
    task = SeriesTask.load(made)
    task.deal(worker_of(make_strategy("one")))
    assert task.steps == 8
    every = list(task.batches(3, 0).as_numpy_iterator())
    late = list(task.batches(3, 5).as_numpy_iterator())
    assert len(every) == 8 and len(late) == 3
    for first, second in zip(every[5:], late, strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
    other = next(iter(task.batches(4, 0).as_numpy_iterator()))
    assert not np.array_equal(every[0][0], other[0])
    # Some are turned round: z rises in all, and labels follow their slices.
    packed = np.concatenate([x for x, _ in every])
    mask = packed[..., -1] > 0
    steps = np.diff(packed[..., -2])[mask[:, 1:]]
    assert (steps > 0).all()


def test_a_series_is_turned_with_its_labels(features: Path, tmp_path: Path) -> None:
    task = SeriesTask.load(config(features, tmp_path, reverse=True))
    task.deal(worker_of(make_strategy("one")))
    one = task._train[0]
    plain, labels = task._example(0, False)
    packed, turned = task._example(0, True)
    number = len(one)
    np.testing.assert_array_equal(packed[:number, :DIM], plain[:number, :DIM][::-1])
    np.testing.assert_array_equal(turned[1 : 1 + number], labels[1 : 1 + number][::-1])
    np.testing.assert_array_equal(turned[0], labels[0])
    assert not packed[number:].any() and not turned[1 + number :].any()
    np.testing.assert_array_equal(turned_series(packed, number), plain)


def test_the_loss_is_the_slices_mean_and_the_series_share(features: Path, tmp_path: Path) -> None:
    series = list(FeatureManifest.load(features).read("fold-1"))[:5]
    mean_length = np.mean([len(one) for one in series])
    weights = {"slice_weight": float(1 / mean_length), "series_weight": 0.25}
    labels = np.stack([pack_labels(one, 40, **weights) for one in series])
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 41, 6)).astype(np.float32)
    found = series_loss(tf.constant(labels), tf.constant(logits)).numpy().mean()
    of_slices = np.concatenate(
        [weighted_binary_crossentropy(one.labels, logits[i, 1 : 1 + len(one)])
         for i, one in enumerate(series)]
    ).mean()  # fmt: skip
    of_series = weighted_binary_crossentropy(
        np.stack([one.labels.max(axis=0) for one in series]), logits[:, 0]
    ).numpy().mean()  # fmt: skip
    assert found == pytest.approx(of_slices + 0.25 * of_series, rel=1e-5)


def test_what_only_images_have_is_refused(features: Path, tmp_path: Path) -> None:
    for changes, name in (
        ({"flip": True}, "flip"),
        ({"neighbours": 3}, "neighbours"),
        ({"weights": "imagenet"}, "weights"),
        ({"strategy": "multi_worker"}, "strategy"),
    ):
        with pytest.raises(ConfigError, match=name):
            config(features, tmp_path, **changes)
    with pytest.raises(InputError, match="holds no features"):
        trainer.train(config(tmp_path / "none", tmp_path / "w"))
    with pytest.raises(InputError, match="validation_fold is 7"):
        trainer.train(config(features, tmp_path / "w", validation_fold="7"))
    with pytest.raises(InputError, match="64 series to train on are less than one batch"):
        trainer.train(config(features, tmp_path / "w", batch_size=100))


@pytest.mark.slow
def test_a_run_on_other_features_is_not_continued(features: Path, tmp_path: Path) -> None:
    made = config(features, tmp_path / "w", epochs=1)
    trainer.train(made)
    other = Path(shutil.copytree(features, tmp_path / "f"))
    content = FeatureManifest.load(other)
    dataclasses.replace(content, data_sha256="y").save()
    with pytest.raises(InputError, match="other data"):
        trainer.train(dataclasses.replace(made, data_dir=str(other)))


@pytest.mark.slow
def test_the_recipe(run_command: Command, features: Path, tmp_path: Path) -> None:
    done = run_command(
        "ich_tf.train",
        "--flagfile=configs/series.flags",
        f"--data_dir={features}",
        f"--work_dir={tmp_path / 'w'}",
        "--epochs=2",
    )
    assert "best validation loss" in done.stderr
    failed = run_command(
        "ich_tf.evaluate", f"--work_dir={tmp_path / 'w'}", f"--data_dir={features}", code=1
    )
    assert "error" in failed.stderr
    assert pack(next(FeatureManifest.load(features).read("fold-0")), 40).shape[0] == 40


def with_unknown(series: SeriesFeatures, *, keep: bool) -> SeriesFeatures:
    """The exam's labels alone, or with those of its slices but of one class."""
    labels = np.full_like(series.labels, np.nan)
    if keep:
        labels[:, 1:] = series.labels[:, 1:]
    exam = series.whole.copy()
    exam[0], exam[5] = np.nan, exam[5] * 2 / 3
    return dataclasses.replace(series, labels=labels, exam_labels=exam)


def test_unknown_labels_survive_the_disk_and_known_ones_keep_their_bytes() -> None:
    known = one_series(np.random.default_rng(0), "S", "P", 0)
    assert b"exam_labels" not in known.encode()
    series = with_unknown(known, keep=True)
    again = SeriesFeatures.decode(series.encode())
    for field in dataclasses.fields(series):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(series, field.name))
    assert SeriesFeatures.decode(known.encode()).exam_labels is None
    np.testing.assert_array_equal(known.whole, known.labels.max(axis=0))


@pytest.mark.parametrize(
    ("backbone", "few"), [("attention", True), ("attention", False), ("bigru", True)]
)
def test_exams_are_learned_from_what_is_known(
    features: Path, tmp_path: Path, backbone: str, few: bool
) -> None:
    manifest = FeatureManifest.load(features)
    series = [
        with_unknown(one, keep=few and number % 3 == 0)
        for number, one in enumerate(manifest.read("fold-1"))
    ]
    weight = "exam_weight" if backbone == "attention" else "series_weight"
    made = config(features, tmp_path, backbone=backbone, **{weight: 0.5})
    task = SeriesTask(made, manifest, series, series[:9])
    task.deal(worker_of(make_strategy("one")))
    assert task.spec.weakly_supervised is not few
    exams = np.stack([one.exam_labels for one in series])
    if few:
        slices = flat(series[::3], "labels")[:, 1:]
        np.testing.assert_allclose(task.prior[1:], slices.mean(axis=0), rtol=1e-6)
    else:
        np.testing.assert_allclose(task.prior[1:], exams[:, 1:].mean(axis=0), rtol=1e-6)
    model = task.build()
    by_key = {pack(one, 32).tobytes(): one for one in series}
    packed, labels = next(iter(task.batches(0, 0)))
    for inputs, rows in zip(packed.numpy(), labels.numpy(), strict=True):
        one = by_key[inputs.tobytes()]
        np.testing.assert_array_equal(rows[0], one.exam_labels)
        np.testing.assert_array_equal(rows[1 : 1 + len(one)], one.labels)
        assert np.isnan(rows[1 + len(one) :]).all()
    with tf.GradientTape() as tape:
        loss = task.loss(labels, model(packed, training=True))
    outputs = model(packed, training=True)
    expected = exam_loss(labels, outputs, exam_weight=0.5)
    if backbone == "attention":
        expected = bag_loss(labels, outputs, exam_weight=0.5, instance_weight=0.5)
    np.testing.assert_array_equal(loss, expected)
    gradients = [g for g in tape.gradient(loss, model.trainable_variables) if g is not None]
    assert all(np.isfinite(g).all() for g in gradients) and any(np.any(g) for g in gradients)


def test_validation_is_by_exams(features: Path, tmp_path: Path) -> None:
    manifest = FeatureManifest.load(features)
    series = [with_unknown(one, keep=False) for one in manifest.read("fold-1")]
    task = SeriesTask(config(features, tmp_path, backbone="attention"), manifest, series, series)
    task.deal(worker_of(make_strategy("one")))
    strategy = make_strategy("one")
    with strategy.scope():
        model = task.build()
    labels, logits = task.validator(model, strategy)(iter)
    np.testing.assert_array_equal(labels, [one.exam_labels for one in series])
    packed = np.stack([pack(one, 32) for one in series[:3]])
    np.testing.assert_allclose(logits[:3], model(packed, training=False)[:, 0], atol=1e-5)


def test_a_loss_of_exams_is_their_mean(features: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(features, tmp_path / "f"))
    manifest = FeatureManifest.load(folder)
    shards = []
    for shard in manifest.shards:
        series = [
            dataclasses.replace(one, exam_labels=one.whole) for one in manifest.read(shard.split)
        ]
        blank = [
            dataclasses.replace(one, labels=np.full_like(one.labels, np.nan)) for one in series
        ]
        shards.append(write_series(folder / shard.name, blank, shard.split, shard.network))
    dataclasses.replace(manifest, shards=tuple(shards)).save()
    result = trainer.train(config(folder, tmp_path / "w", backbone="attention", epochs=1))
    model, spec = saved.load_best(tmp_path / "w")
    validation = list(FeatureManifest.load(folder).read("fold-0"))
    logits = model(np.stack([pack(one, 32) for one in validation]), training=False)[:, 0].numpy()
    loss = weighted_log_loss(np.stack([one.whole for one in validation]), sigmoid(logits))
    assert result.best_val_loss == pytest.approx(loss, abs=1e-5)
    assert spec.weakly_supervised
