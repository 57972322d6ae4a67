import dataclasses
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ich_tf.errors import InputError
from ich_tf.evaluation.cross_validation import train_folds
from ich_tf.evaluation.fold import Fold
from ich_tf.labels import CLASSES
from ich_tf.metrics import weighted_log_loss
from ich_tf.records.manifest import Manifest, num_records
from ich_tf.training.config import TrainConfig
from tests.support.processes import alive, descendants, wait_until


@pytest.fixture
def config(data_dir, tmp_path):
    return TrainConfig(
        data_dir=str(data_dir),
        work_dir=str(tmp_path / "run"),
        validation_fold="all",
        backbone="tiny",
        weights="none",
        image_size=32,
        batch_size=16,
        epochs=1,
        max_steps_per_epoch=2,
        tensorboard=False,
    )


@pytest.mark.slow
def test_each_slice_is_predicted_by_the_model_that_did_not_see_its_patient(
    data_dir: Path, folds_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(folds_dir, tmp_path / "run"))
    of_a_fold = TrainConfig.from_json((folder / "fold-0" / "config.json").read_text())
    config = dataclasses.replace(of_a_fold, work_dir=str(folder), validation_fold="all")
    before = (folder / "oof_predictions.csv").read_bytes()
    # Everything is finished: no process is started, and the same comes out.
    monkeypatch.setattr("ich_tf.evaluation.cross_validation.run_fold", None)
    results = train_folds(config)
    assert (folder / "oof_predictions.csv").read_bytes() == before
    assert [result.work_dir.name for result in results] == ["fold-0", "fold-1", "fold-2"]
    table = pd.read_csv(folder / "oof_predictions.csv")
    folds = [f"fold-{i}" for i in range(3)]
    trained_on = [s for s in Manifest.load(data_dir).shards if s.split in folds]
    assert len(table) == num_records(trained_on)
    assert not table["source_id"].duplicated().any()
    assert not table[["patient_key", "fold"]].drop_duplicates()["patient_key"].duplicated().any()
    for fold, part in table.groupby("fold"):
        labels = part[[f"label_{name}" for name in CLASSES]].to_numpy()
        loss = weighted_log_loss(labels, part[list(CLASSES)].to_numpy())
        assert loss == pytest.approx(results[fold].best_val_loss, abs=1e-4)
        assert results[fold].history[-1].val_loss >= results[fold].best_val_loss


@pytest.mark.slow
def test_a_fold_is_not_finished_where_something_differs(folds_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folds_dir, tmp_path / "run"))
    of_a_fold = TrainConfig.from_json((folder / "fold-0" / "config.json").read_text())
    config = dataclasses.replace(of_a_fold, work_dir=str(folder), validation_fold="all")
    assert Fold.of(config, 0).result() is not None
    # What it was given is compared, and not the batch that a run makes of it.
    per_replica = dataclasses.replace(config, batch_per_replica=4, batch_size=2)
    Fold.of(per_replica, 2).finish(Fold.of(config, 2).result())
    assert Fold.of(per_replica, 2).result() is not None
    for change in ({"overwrite": True}, {"seed": 5}, {"extend": True, "epochs": config.epochs + 1}):
        assert Fold.of(dataclasses.replace(config, **change), 0).result() is None
    (folder / "fold-0" / "history.csv").write_text("")
    assert Fold.of(config, 0).result() is None
    (folder / "fold-1" / "evaluation" / "fold-1" / "predictions.csv").unlink()
    assert Fold.of(config, 1).result() is None


@pytest.mark.slow
def test_a_run_of_it_goes_on_where_a_fold_is_missing(config: Any, tmp_path: Path) -> None:
    train_folds(config)
    table = pd.read_csv(tmp_path / "run" / "oof_predictions.csv")
    (tmp_path / "run" / "oof_predictions.csv").unlink()
    for path in sorted((tmp_path / "run" / "fold-1").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    train_folds(dataclasses.replace(config, checkpoint_steps=1))
    again = pd.read_csv(tmp_path / "run" / "oof_predictions.csv")
    assert again.drop(columns=list(CLASSES)).equals(table.drop(columns=list(CLASSES)))
    np.testing.assert_allclose(again[list(CLASSES)], table[list(CLASSES)], atol=1e-6)


def test_weights_that_saw_a_fold_are_refused_before_the_first_one(
    config: Any, work_dir: Path, tmp_path: Path
) -> None:
    weights = str(work_dir / "best.weights.h5")
    with pytest.raises(InputError, match="patients of fold-1"):
        train_folds(dataclasses.replace(config, weights=weights))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_a_fold_raises_is_raised_here(config: Any) -> None:
    with pytest.raises(InputError, match=r"less than one batch of 100000\. Lower --batch_size"):
        train_folds(dataclasses.replace(config, batch_size=100_000))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_the_command_reaches_the_fold(
    number: int, data_dir: Path, tmp_path: Path
) -> None:
    """SIGTERM saves the progress; a command that is killed leaves no process behind."""
    folder = tmp_path / "run"
    command = [
        sys.executable, "-m", "ich_tf.train", "--flagfile=configs/smoke.flags",
        f"--data_dir={data_dir}", f"--work_dir={folder}", "--validation_fold=all",
        "--epochs=500", "--checkpoint_steps=1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    checkpoints = folder / "fold-0" / "checkpoints"
    assert wait_until(lambda: list(checkpoints.glob("*.index")), seconds=300)
    children = descendants(process.pid)
    process.send_signal(number)
    assert process.wait(120) == (143 if number == signal.SIGTERM else -number)
    assert children and wait_until(lambda: not alive(children), seconds=30)
    assert process.stderr is not None
    if number == signal.SIGTERM:
        assert "Run the same command again to continue." in process.stderr.read()
        assert not (folder / "fold-0" / "finished.json").exists()
    process.stderr.close()
