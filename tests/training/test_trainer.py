import csv
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError, InputError, Terminated
from ich_tf.inference.forward import make_logits_fn, predict_records
from ich_tf.metrics import weighted_log_loss
from ich_tf.models import saved
from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest, num_records
from ich_tf.training import trainer
from ich_tf.training.config import TrainConfig
from ich_tf.training.epoch import DivergenceError
from ich_tf.training.loop import RetracedError, TrainingLoop
from ich_tf.training.step import TrainingStep
from tests.support.marks import slow
from tests.support.runs import assert_same_run, smoke_config
from tests.support.steps import needs_addons, replicas


def test_train_writes_what_evaluation_needs(data_dir: Path, tmp_path: Path) -> None:
    config = smoke_config(data_dir, tmp_path / "run", strategy="mirrored", cpu_replicas=2)
    result = trainer.train(config)
    assert [epoch.epoch for epoch in result.history] == [1, 2]
    assert result.best_val_loss == min(epoch.val_loss for epoch in result.history)
    work_dir = result.work_dir
    assert sorted(path.name for path in work_dir.iterdir()) == [
        "best.weights.h5",
        "checkpoints",
        "config.json",
        "history.csv",
        "model.json",
        "run.json",
        "tensorboard",
        "training_curves.png",
    ]
    assert len(list((work_dir / "checkpoints").glob("*.index"))) == 3
    assert TrainConfig.from_json((work_dir / "config.json").read_text()) == config
    with open(work_dir / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert json.loads((work_dir / "model.json").read_text())["epoch"] == result.best_epoch
    assert (work_dir / "training_curves.png").read_bytes().startswith(b"\x89PNG")

    model, spec = saved.load_best(work_dir)
    manifest = Manifest.load(data_dir)
    assert spec.record_shape == manifest.image_shape
    shards = manifest.fold_shards(0)
    found = predict_records(
        make_logits_fn(model, replicas(1)),
        eval_batches(shards, manifest.image_shape, batch_size=5, encoding=manifest.encoding),
        expected=num_records(shards),
    )
    # Other batches, other replicas, another process's model: the same loss.
    loss = weighted_log_loss(found.labels, found.probabilities)
    assert loss == pytest.approx(result.best_val_loss, abs=1e-6)


def test_a_decoder_needs_masks_heat_maps_or_pixels_that_are_pooled(
    data_dir: Path, masked_dir: Path, tmp_path: Path
) -> None:
    config = smoke_config(data_dir, tmp_path, segmentation=True, dropout=0.0)
    with pytest.raises(InputError, match="no slice has a mask.*--masks_dir.*--self_training=1"):
        trainer.make_task(config)
    trainer.make_task(dataclasses.replace(config, pooling="lse", mask_weight=0.0))
    trainer.make_task(dataclasses.replace(config, self_training=1.0, ema_decay=0.9))
    trainer.make_task(dataclasses.replace(config, data_dir=str(masked_dir)))


def test_run_json_tells_where_a_run_came_from(data_dir: Path, tmp_path: Path) -> None:
    config = smoke_config(data_dir, tmp_path, epochs=1)
    trainer.train(config)
    trainer.train(config)
    run = json.loads((tmp_path / "run.json").read_text())
    manifest = Manifest.load(data_dir)
    assert run["data"]["records"] == num_records(manifest.shards)
    assert len(run["data"]["sha256"]) == 64
    assert len(run["sessions"]) == 2
    session = run["sessions"][0]
    assert session["versions"]["tensorflow"] == tf.__version__
    assert session["precision"] in ("float32", "bfloat16") and session["xla"] == "off"
    assert session["cpu"] and session["cpus"] == os.cpu_count()


@pytest.mark.slow
def test_tensorboard_gets_losses(data_dir: Path, tmp_path: Path) -> None:
    config = smoke_config(data_dir, tmp_path, max_steps_per_epoch=26, epochs=2, batch_size=4)
    result = trainer.train(config)
    (path,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(float(tf.make_ndarray(value.tensor)))
    expected = [epoch.val_loss for epoch in result.history]
    np.testing.assert_allclose(found["epoch/val_loss"], expected, rtol=1e-6)
    assert len(found["epoch/val_loss"]) == 2
    assert found["loss"] and found["input_wait"]
    trainer.train(smoke_config(data_dir, tmp_path / "none", epochs=1, tensorboard=False))
    assert not (tmp_path / "none" / "tensorboard").exists()


RUNS = {
    "plain": {},
    "averaged": {"ema_decay": 0.9, "optimizer": "adamw", "weight_decay": 0.01, "patience": 3},
    "replicas": {
        "strategy": "mirrored",
        "cpu_replicas": 2,
        "accumulation": 2,
        "mixed_precision": "float16",
        "negative_fraction": 0.6,
    },
    "lookahead": {"optimizer": "radam", "lookahead": True, "mixup": 0.4, "cutout": 0.3},
    "neighbours": {"neighbours": 3, "steps_per_execution": 2, "optimizer": "sgd"},
}


@pytest.mark.parametrize(
    "name",
    [
        *map(slow, ("plain", "averaged", "replicas", "neighbours")),
        pytest.param("lookahead", marks=[needs_addons, pytest.mark.slow]),
    ],
)
def test_terminated_at_any_step_and_continued_to_the_bit(
    name: Any, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = smoke_config(data_dir, tmp_path / "whole", **RUNS[name])
    trainer.train(whole)
    config = dataclasses.replace(whole, work_dir=str(tmp_path / "cut"))
    per_call = config.steps_per_execution
    real_call = TrainingStep.__call__
    stops = 0
    for after in (1, 2, 3):
        calls = 0

        def call(self, *batches, after=after):
            nonlocal calls
            calls += 1
            if calls == after:
                os.kill(os.getpid(), signal.SIGTERM)
            return real_call(self, *batches)

        with monkeypatch.context() as patch:
            patch.setattr(TrainingStep, "__call__", call)
            with pytest.raises(Terminated, match="saved"):
                trainer.train(config)
        stops += after
        saved = tf.train.load_checkpoint(str(tmp_path / "cut" / "checkpoints"))
        progress = json.loads(saved.get_tensor("progress/.ATTRIBUTES/py_state"))
        steps = progress["epoch"] * 5 + progress["step"]
        assert steps == stops if per_call == 1 else stops <= steps <= stops * per_call
    trainer.train(config)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    # And a finished run trains no more.
    again = trainer.train(config)
    assert [epoch.epoch for epoch in again.history] == [1, 2]
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_terminated_in_validation(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.train(smoke_config(data_dir, tmp_path / "whole"))
    config = smoke_config(data_dir, tmp_path / "cut")

    def validate(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return real_validate(self)

    real_validate = TrainingLoop._validate
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_validate", validate)
        with pytest.raises(Terminated, match="validation of epoch 1; its steps are saved"):
            trainer.train(config)
    trainer.train(config)
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_train_refuses_another_config(data_dir: Path, tmp_path: Path) -> None:
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


def test_train_refuses_other_data_and_follows_the_same_elsewhere(
    data_dir: Path, data_copy: Path, tmp_path: Path
) -> None:
    config = smoke_config(data_dir, tmp_path / "run", epochs=1, max_steps_per_epoch=1)
    trainer.train(config)
    moved = dataclasses.replace(config, data_dir=str(data_copy))
    assert len(trainer.train(moved).history) == 1
    path = data_copy / "manifest.json"
    content = json.loads(path.read_text())
    content["shards"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"on other data \(sha256: .* there\)"):
        trainer.train(moved)


@pytest.mark.parametrize("split", ["fold-1", "fold-0"])
def test_a_damaged_shard_is_named(split: str, data_copy: Path, tmp_path: Path) -> None:
    """Of the training folds, and of the validation fold."""
    manifest = Manifest.load(data_copy)
    (shard,) = manifest.split_shards(split)
    data = bytearray(shard.path.read_bytes())
    data[len(data) // 2] ^= 1
    shard.path.write_bytes(data)
    config = smoke_config(data_copy, tmp_path / "run", max_steps_per_epoch=0, epochs=1)
    with pytest.raises(InputError, match=rf"{split}-00000.*damaged.*verify_tfrecords"):
        trainer.train(config)


def test_train_without_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        trainer.train(smoke_config(tmp_path / "none", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_window_jitter_needs_hounsfield_units(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"encoding png; --window_jitter.*--encoding=hu16"):
        trainer.train(smoke_config(data_dir, tmp_path / "run", window_jitter=0.1))
    assert not (tmp_path / "run").exists()


def test_one_fold_at_a_time(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a fold's number"):
        trainer.train(smoke_config(data_dir, tmp_path / "run", validation_fold="all"))


@pytest.mark.slow
def test_patience(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.5, 0.4, 0.41, 0.42, 0.1])
    monkeypatch.setattr(TrainingLoop, "_validate", lambda self: (next(losses), [0.1] * 6, 0.5))
    config = smoke_config(data_dir, tmp_path, epochs=5, max_steps_per_epoch=1, patience=2)
    result = trainer.train(config)
    assert (len(result.history), result.best_epoch, result.best_val_loss) == (4, 2, 0.4)
    # It stays so.
    assert len(trainer.train(config).history) == 4


@pytest.mark.slow
def test_a_divergence_keeps_the_last_good_checkpoint(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = smoke_config(data_dir, tmp_path, self_check=False)
    real_call = TrainingStep.__call__
    calls = 0

    def call(self, *batches):
        nonlocal calls
        calls += 1
        loss = real_call(self, *batches)
        if calls == 4:
            self.model.layers[-1].bias.assign([np.nan] * 6)
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", call)
        with pytest.raises(DivergenceError, match=r"bias:0 holds .* not finite, in"):
            trainer.train(config)
    for value in final_state_of_checkpoint(tmp_path):
        assert np.isfinite(value).all()
    trainer.train(config)
    trainer.train(dataclasses.replace(config, work_dir=str(tmp_path / "whole")))
    assert_same_run(tmp_path, tmp_path / "whole")


def final_state_of_checkpoint(work_dir):
    reader = tf.train.load_checkpoint(str(work_dir / "checkpoints"))
    return [
        reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(("model", "optimizer"))
    ]


def test_one_compilation_too_many_is_an_error(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingStep, "traces", property(lambda self: 3))
    with pytest.raises(RetracedError, match="compiled 3 times; expected 1"):
        trainer.train(smoke_config(data_dir, tmp_path))


@pytest.mark.slow
@pytest.mark.second_stack
def test_a_damaged_last_checkpoint_falls_back_on_the_one_before(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer.train(smoke_config(data_dir, tmp_path / "whole"))
    config = smoke_config(data_dir, tmp_path / "cut")
    trainer.train(config)
    newest = max(
        (tmp_path / "cut/checkpoints").glob("*.data-*"), key=lambda p: p.stat().st_mtime_ns
    )
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level("WARNING"):
        trainer.train(config)
    assert "not readable" in caplog.text
    assert_same_run(tmp_path / "whole", tmp_path / "cut")

    # Where none is left, the refusal changes nothing.
    for data in (tmp_path / "cut/checkpoints").glob("*.data-*"):
        data.write_bytes(data.read_bytes()[:1000])
    before = (tmp_path / "cut/run.json").read_bytes()
    with pytest.raises(InputError, match="damaged or of another model"):
        trainer.train(config)
    assert (tmp_path / "cut/run.json").read_bytes() == before
