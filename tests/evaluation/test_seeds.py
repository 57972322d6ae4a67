"""Runs of several seeds are trained by one command, and are one model to the others."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import ConfigError, InputError
from ich_tf.evaluation import seeds
from ich_tf.evaluation.cross_validation import train_folds
from ich_tf.evaluation.fold import Fold
from ich_tf.evaluation.seeds import train_seeds
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig
from ich_tf.inference.ensemble import (
    FOLDS,
    RUN_ITSELF,
    SEEDS,
    Member,
    find_members,
    refuse_other_model,
    runs_of,
    seeds_of,
    write_ensemble,
)
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.metrics import sigmoid
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.strategies import make_strategy
from ich_tf.training.config import TrainConfig
from ich_tf.training.result import TrainResult
from ich_tf.training.trainer import train
from ich_tf.training.work_dir import check_work_dir
from tests.support.runs import smoke_config


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.parent


def test_the_runs_of_seeds_are_found_by_number(tmp_path: Path) -> None:
    runs = [touch(tmp_path / f"seed-{seed}" / "model.json") for seed in (2, 0, 10)]
    touch(tmp_path / "seed-1" / "config.json")  # not finished
    touch(tmp_path / "seed-x" / "model.json")
    ordered = [runs[1], runs[0], runs[2]]
    assert seeds_of(tmp_path) == ordered
    members = find_members(tmp_path)
    assert [member.work_dir for member in members] == ordered
    assert {member.share for member in members} == {1 / 3}


def test_seeds_of_all_folds_are_found(tmp_path: Path) -> None:
    for seed in (0, 1):
        for fold in (0, 1):
            touch(tmp_path / f"seed-{seed}" / f"fold-{fold}" / "model.json")
    assert seeds_of(tmp_path) == [tmp_path / "seed-0", tmp_path / "seed-1"]
    names = [member.work_dir.relative_to(tmp_path).as_posix() for member in find_members(tmp_path)]
    assert names == ["seed-0/fold-0", "seed-0/fold-1", "seed-1/fold-0", "seed-1/fold-1"]
    assert seeds_of(tmp_path / "seed-0") == [tmp_path / "seed-0"]
    assert runs_of(tmp_path / "none") == seeds_of(tmp_path / "none") == [tmp_path / "none"]


def test_each_run_gets_its_seed_and_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeds, "run_fold", lambda fold: fold)
    monkeypatch.setattr(seeds, "train_folds", lambda config: [config])
    config = TrainConfig(work_dir=str(tmp_path / "run"), seeds=("3", "07"), validation_fold="1")
    assert [(fold.number, fold.config) for fold in train_seeds(config)] == [
        (1, dataclasses.replace(config, seeds=(), seed=seed, work_dir=f"{config.work_dir}/{name}"))
        for seed, name in ((3, "seed-3"), (7, "seed-7"))
    ]
    folds = train_seeds(dataclasses.replace(config, validation_fold="all"))
    assert [(run.seed, run.validation_fold) for run in folds] == [(3, "all"), (7, "all")]


def test_runs_that_another_command_left_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(fold: Fold) -> TrainResult:
        return TrainResult(touch(fold.work_dir / "model.json"), 1, 0.5, ())

    monkeypatch.setattr(seeds, "run_fold", run)
    config = TrainConfig(work_dir=str(tmp_path), seeds=("0", "1"))
    with caplog.at_level("INFO"):
        train_seeds(config)
        assert "WARNING" not in caplog.text and "2 runs, of which" in caplog.text
        train_seeds(dataclasses.replace(config, seeds=("1", "2")))
    assert f"1 are not of this command: {tmp_path / 'seed-0'}. Move" in caplog.text
    assert "3 runs, of which other commands take the mean" in caplog.text


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("model.json", "a run"),
        ("fold-0/model.json", "the runs of folds"),
        ("seed-0/model.json", "the runs of seeds"),
        ("seed-0/fold-0/model.json", "the runs of seeds"),
        ("ensemble.json", ""),
    ],
)
def test_a_folder_is_one_model(name: str, allowed: str, tmp_path: Path) -> None:
    """What is there is neither deleted nor hidden by runs of another kind."""
    touch(tmp_path / name)
    for kind in (RUN_ITSELF, FOLDS, SEEDS):
        if kind == allowed or (name == "ensemble.json" and kind != RUN_ITSELF):
            refuse_other_model(tmp_path, kind)
            continue
        with pytest.raises(InputError, match=f"and cannot hold {kind} as well"):
            refuse_other_model(tmp_path, kind)


def test_every_way_of_training_asks_for_it(tmp_path: Path) -> None:
    config = TrainConfig(work_dir=str(tmp_path))
    touch(tmp_path / "fold-0" / "model.json")
    with pytest.raises(InputError, match="cannot hold the runs of seeds"):
        train_seeds(dataclasses.replace(config, seeds=("0",)))
    with pytest.raises(InputError, match="cannot hold a run"):
        check_work_dir(tmp_path, dataclasses.replace(config, overwrite=True))
    touch(tmp_path / "model.json")
    with pytest.raises(InputError, match="cannot hold the runs of folds"):
        train_folds(dataclasses.replace(config, validation_fold="all"))


def test_a_seed_that_the_ensemble_lacks_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        seeds, "run_fold", lambda fold: TrainResult(touch(fold.work_dir / "model.json"), 1, 0.5, ())
    )
    write_ensemble(tmp_path, [Member(tmp_path / "seed-0")])
    train_seeds(TrainConfig(work_dir=str(tmp_path), seeds=("0", "1")))
    assert "seed-1, which ensemble.json does not list: run calibrate again" in caplog.text


@pytest.mark.parametrize("given", [("0", "0"), ("1", "01"), ("-1",), ("a",), (str(2**63),)])
def test_what_are_no_seeds_is_refused(given: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"seeds is \[.*it must be different numbers in"):
        TrainConfig(seeds=given)


def test_several_hosts_and_one_run_take_no_seeds() -> None:
    with pytest.raises(ConfigError, match="empty with multi_worker"):
        TrainConfig(seeds=("0", "1"), strategy="multi_worker")
    with pytest.raises(ConfigError, match="it must be empty for one run"):
        train(TrainConfig(seeds=("0", "1")))


@pytest.mark.slow
def test_seeds_are_calibrated_and_averaged(data_dir: Path, tmp_path: Path) -> None:
    config = smoke_config(data_dir, tmp_path / "run", seeds=("0", "1"), epochs=1, self_check=False)
    results = train_seeds(config)
    assert [result.work_dir.name for result in results] == ["seed-0", "seed-1"]
    strategy, manifest = make_strategy("one"), Manifest.load(data_dir)
    both, *alone = (
        load_predictor(folder, strategy, calibrated=False).predict_split(manifest, "test", 16)
        for folder in (tmp_path / "run", *(result.work_dir for result in results))
    )
    mean = np.mean([sigmoid(one.logits) for one in alone], axis=0)
    np.testing.assert_allclose(sigmoid(both.logits), mean, atol=1e-6)
    assert not np.allclose(alone[0].logits, alone[1].logits, atol=1e-3)
    done = calibrate(CalibrateConfig(data_dir=str(data_dir), work_dir=str(tmp_path / "run")))
    assert sum(member.share for member in done.members) == pytest.approx(1)
    assert load_predictor(tmp_path / "run", strategy).postprocessing.is_fitted
