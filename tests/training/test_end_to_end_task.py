"""A network and a model over its series, trained as one and used as a series model is."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError, InputError
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.evaluate import evaluate
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig, ExportConfig, ExtractConfig, PredictConfig
from ich_tf.inference.export import TOLERANCE, answers_of, expected_answers, export
from ich_tf.inference.feature_extraction import extract
from ich_tf.inference.prediction.predict import predict
from ich_tf.inference.series_predictor import SeriesPredictor, load_predictor
from ich_tf.labels import CLASSES, read_submission
from ich_tf.metrics import logit, sigmoid
from ich_tf.models import run_files, saved
from ich_tf.models.end_to_end import EndToEndSpec, parts
from ich_tf.models.series_model import SeriesSpec, pack_arrays
from ich_tf.models.slice_model import with_features
from ich_tf.models.spec import ModelSpec
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker, make_strategy
from ich_tf.training import trainer
from ich_tf.training.config import TrainConfig
from ich_tf.training.end_to_end_task import weighted_labels
from ich_tf.training.trainer import make_task
from tests.support.commands import Command

WINDOWS = ("brain", "subdural", "soft")
SPEC = EndToEndSpec(
    network=ModelSpec("tiny", (32, 32, 3), 32, WINDOWS, dropout=0.1),
    series=SeriesSpec("transformer", 32, 8, 1, 0.1, True, (0.1,) * 6),
)


def config(data_dir: Path, work_dir: Path, **changes) -> TrainConfig:
    values = {
        "data_dir": str(data_dir), "work_dir": str(work_dir), "backbone": "tiny",
        "weights": "none", "image_size": 32, "sequence": "bigru", "slab": 5, "units": 8,
        "layers": 1, "batch_size": 4, "epochs": 2, "learning_rate": 3e-3, "schedule": "constant",
        "bn_momentum": 0.9, "mixed_precision": "float32", "tensorboard": False, "reverse": True,
        **changes,
    }  # fmt: skip
    return TrainConfig(**values)


@pytest.fixture(scope="module")
def run_dir(data_dir: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("both") / "w"
    trainer.train(config(data_dir, folder, flip=True))
    return folder


def learned() -> keras.Model:
    """As if trained: what the series model adds is not 0 any more."""
    keras.utils.set_random_seed(1)
    model = SPEC.build()
    head = parts(model)[1].get_layer("slices")
    head.kernel.assign(np.random.default_rng(2).normal(size=head.kernel.shape))
    return model


def test_apart_they_say_what_they_say_together() -> None:
    model = learned()
    network, series = parts(model)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    number = 3
    places = np.zeros((2, 5, 2), np.float32)
    places[:, :, 1] = 1
    places[:, :, 0] = 4.0 * np.arange(5)
    places[1, number:] = 0
    together = model((images, places), training=False).numpy()
    outputs = with_features(network)(images[1, :number], training=False).numpy()
    packed = pack_arrays(outputs[:, 6:], outputs[:, :6], places[1, :number, 0], 16)
    apart = series(packed[None], training=False).numpy()[0]
    np.testing.assert_allclose(together[1, : 1 + number], apart[: 1 + number], atol=1e-5)
    np.testing.assert_allclose(
        network(images[0], training=False), with_features(network)(images[0])[:, :6], atol=1e-6
    )
    # An empty slot's image is not seen.
    images[1, number:] = 0
    again = model((images, places), training=False).numpy()
    np.testing.assert_allclose(again[1, : 1 + number], together[1, : 1 + number], atol=1e-6)


def test_the_spec_and_the_weights_come_back(tmp_path: Path) -> None:
    model = learned()
    saved.save_best(tmp_path, model, SPEC, epoch=1, val_loss=0.5)
    loaded, spec = saved.load_best(tmp_path)
    assert spec == SPEC and spec.backbone == "tiny with transformer"
    for one, two in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy())


def test_weights_of_rows() -> None:
    labels = np.zeros((2, 4, 6), np.float32)
    labels[0, 1, [0, 5]] = 1
    present = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    found = weighted_labels(tf.constant(labels), tf.constant(present), series_weight=0.3).numpy()
    assert found.shape == (2, 5, 7)
    np.testing.assert_array_equal(found[:, 0, :6], labels.max(axis=1))
    np.testing.assert_array_equal(found[:, 1:, :6], labels)
    np.testing.assert_allclose(found[:, 0, 6], 0.3)
    np.testing.assert_allclose(found[:, 1:, 6], present / 4)


@pytest.mark.slow
def test_the_whole_slab_starts_at_the_prior_of_slabs(data_dir: Path, tmp_path: Path) -> None:
    made = config(data_dir, tmp_path)
    task = make_task(made)
    task.deal(Worker(0, 1, 1))
    _, series = parts(task.build())
    whole = sigmoid(series.get_layer("whole").bias.numpy())
    # By the batches of some epochs, each of which cuts the shards elsewhere.
    rows = [labels[:, 0, :6] for epoch in range(5) for _, labels in task.batches(epoch, 0)]
    trained = np.concatenate(rows).mean(axis=0)
    np.testing.assert_allclose(whole, trained, atol=0.06)
    assert whole[-1] > task.prior[-1] + 0.05


@pytest.mark.slow
def test_replicas_parts_and_resume_come_to_the_same_weights(data_dir: Path, tmp_path: Path) -> None:
    options = {"max_steps_per_epoch": 3, "freeze_bn": True, "optimizer": "sgd"}
    losses = {}
    for name, changes in (
        ("one", {}),
        ("two", {"strategy": "mirrored", "cpu_replicas": 2}),
        ("parts", {"accumulation": 2}),
        ("again", {"epochs": 1}),
        ("again", {}),
    ):
        made = config(data_dir, tmp_path / name, **options, **changes)
        if name in losses:
            # As if the run had been ended after its first epoch.
            (tmp_path / name / run_files.CONFIG).write_text(made.to_json())
        losses[name] = [one.val_loss for one in trainer.train(made).history]
    np.testing.assert_allclose(losses["two"], losses["one"], rtol=1e-4)
    np.testing.assert_allclose(losses["parts"], losses["one"], rtol=1e-4)
    assert losses["again"] == losses["one"]


@pytest.mark.slow
def test_what_was_validated_is_what_is_evaluated(data_dir: Path, run_dir: Path) -> None:
    predictor = load_predictor(run_dir, make_strategy("one"))
    assert isinstance(predictor, SeriesPredictor)
    assert "1 network over slices (tiny), and 1 model over their features" in predictor.describe()
    found = evaluate(
        EvaluateConfig(
            data_dir=str(data_dir), work_dir=str(run_dir), split="fold-0",
            out_dir=str(run_dir.parent / "e"), bootstrap=0, report=False,
        )
    )  # fmt: skip
    history = pd.read_csv(run_dir / run_files.HISTORY)
    assert found.loss == pytest.approx(history["val_loss"].min(), abs=1e-6)


@pytest.mark.slow
def test_from_files_to_a_submission_whatever_the_batch(
    phantom_dir: Path, data_dir: Path, run_dir: Path, tmp_path: Path
) -> None:
    work_dir = Path(shutil.copytree(run_dir, tmp_path / "w"))
    places = {"data_dir": str(data_dir), "work_dir": str(work_dir)}
    assert "fold-0" in calibrate(CalibrateConfig(**places)).report()
    evaluate(EvaluateConfig(**places, out_dir=str(tmp_path), bootstrap=20))
    evaluated = pd.read_csv(tmp_path / "predictions.csv").set_index("source_id")
    files = tmp_path / "files"
    files.mkdir()
    for name in evaluated.index:
        shutil.copy(phantom_dir / "stage_2_train" / f"{name}.dcm", files)
    for batch_size in (3, 32):
        out = tmp_path / f"{batch_size}.csv"
        predict(
            PredictConfig(
                dicom_dir=str(files), work_dir=str(work_dir), out_csv=str(out),
                batch_size=batch_size, num_workers=1, heatmaps=("any",), max_heatmaps=1,
            )
        )  # fmt: skip
        found = read_submission(out).loc[evaluated.index]
        np.testing.assert_allclose(found, evaluated[list(CLASSES)], atol=1e-5)


@pytest.mark.slow
def test_runs_are_averaged_each_with_its_own_network(data_dir: Path, run_dir: Path) -> None:
    other = run_dir.parent / "other"
    trainer.train(config(data_dir, other, seed=3, epochs=1, units=4))
    both = run_dir.parent / "mean"
    calibrate(
        CalibrateConfig(
            data_dir=str(data_dir), work_dir=str(both), members=(str(run_dir), str(other))
        )
    )
    strategy = make_strategy("one")
    predictor = load_predictor(both, strategy, calibrated=False)
    manifest = Manifest.load(data_dir)
    alone = [
        load_predictor(one, strategy).predict_split(manifest, "test", 16).logits
        for one in (run_dir, other)
    ]
    shares = predictor.model_shares
    expected = logit(sum(s * sigmoid(one) for s, one in zip(shares, alone, strict=False)))
    found = predictor.predict_split(manifest, "test", 16).logits
    np.testing.assert_allclose(found, expected if len(shares) > 1 else alone[0], atol=1e-5)


@pytest.mark.slow
def test_it_is_exported(run_dir: Path, tmp_path: Path) -> None:
    folder = export(ExportConfig(work_dir=str(run_dir), out_dir=str(tmp_path), calibrated=False))
    predictor = load_predictor(run_dir, make_strategy("one"), calibrated=False)
    hu = np.random.default_rng(0).integers(-100, 200, (7, 96, 96)).astype(np.float32)
    z_mm = np.array([0, 5, 10, 30, 15, 20, 25], np.float32)
    expected = expected_answers(predictor, hu, z_mm, 0.0)["probabilities"]
    np.testing.assert_allclose(
        answers_of(folder, hu, z_mm)["probabilities"], expected, atol=TOLERANCE
    )


@pytest.mark.slow
def test_what_it_cannot_do_is_said(
    data_dir: Path, run_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    for changes, name in (
        ({"slab": 4}, "slab is 4; it must be odd"),
        ({"neighbours": 3}, "neighbours is 3"),
        ({"mixup": 0.2}, "mixup is 0.2"),
        ({"negative_fraction": 0.5}, "negative_fraction is 0.5"),
        ({"backbone": "bigru", "bn_momentum": 0.0}, "sequence is 'bigru'"),
    ):
        with pytest.raises(ConfigError, match=name):
            config(data_dir, tmp_path, **changes)
    with pytest.raises(InputError, match="examples to train on are less than one batch of 4000"):
        trainer.train(config(data_dir, tmp_path / "w", batch_size=4000))
    with pytest.raises(InputError, match="Average models of one kind"):
        calibrate(
            CalibrateConfig(
                data_dir=str(data_dir), work_dir=str(tmp_path / "m"),
                members=(str(run_dir), str(work_dir)),
            )
        )  # fmt: skip
    with pytest.raises(InputError):
        extract(ExtractConfig(data_dir=str(data_dir), work_dir=str(run_dir), out_dir=str(tmp_path)))
    with pytest.raises(ValueError, match="neighbours is 3"):
        dataclasses.replace(SPEC, network=dataclasses.replace(SPEC.network, neighbours=3))


@pytest.mark.slow
def test_the_recipe(run_command: Command, data_dir: Path, tmp_path: Path) -> None:
    done = run_command(
        "ich_tf.train",
        "--flagfile=configs/series_end_to_end.flags",
        f"--data_dir={data_dir}",
        f"--work_dir={tmp_path / 'w'}",
        "--backbone=tiny",
        "--weights=none",
        "--image_size=32",
        "--epochs=2",
        "--max_steps_per_epoch=3",
        "--units=8",
    )
    assert "best validation loss" in done.stderr
