"""Which config may continue the run in a folder."""

import contextlib
import dataclasses
from pathlib import Path

import pytest

from ich_tf.errors import ConfigError, InputError
from ich_tf.training import trainer
from ich_tf.training.config import TrainConfig
from ich_tf.training.work_dir import check_work_dir, delete_run, start_work_dir


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """The config of a run that can be continued."""
    config = TrainConfig(work_dir=str(tmp_path), epochs=5, patience=2)
    start_work_dir(tmp_path, config)
    monkeypatch.setattr("ich_tf.training.work_dir.can_resume", lambda _: True)
    return config


def check(config: TrainConfig, **changes: object) -> None:
    check_work_dir(config.work_dir, dataclasses.replace(config, **changes))


def test_more_epochs_are_said_to_need_extend(config: TrainConfig) -> None:
    with pytest.raises(
        InputError, match=r"epochs: 8 here, 5 there\). Give --extend to continue it"
    ):
        check(config, epochs=8)
    with pytest.raises(InputError, match=r"epochs: 8 here, 5 there\). Give --overwrite"):
        check(config, epochs=8, seed=1)


def test_extend_changes_when_a_run_ends_and_nothing_else(config: TrainConfig) -> None:
    check(config, extend=True)
    check(config, extend=True, epochs=8, patience=0)
    with pytest.raises(InputError, match=r"epochs: 4 here, 5 there\). Give --overwrite"):
        check(config, extend=True, epochs=4)
    with pytest.raises(InputError, match=r"config \(seed: 1 here, 0 there\)"):
        check(config, extend=True, epochs=8, seed=1)
    with pytest.raises(ConfigError, match="extend is True; it must be false with --overwrite"):
        check(config, extend=True, overwrite=True)


@pytest.mark.parametrize(
    ("schedule", "told"), [("exponential", "goes on as before"), ("cosine", "rises to where it")]
)
def test_what_becomes_of_the_learning_rate_is_said(
    config: TrainConfig, schedule: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    longer = dataclasses.replace(config, epochs=8, extend=True, schedule=schedule)
    with caplog.at_level("INFO"):
        trainer._log_extension(longer)
    assert "extended from 5 to 8 epochs; " in caplog.text and told in caplog.text


def test_a_deletion_that_was_cut_short_refuses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file was the last to go, the same command starts anew."""
    names = ("model.json", "best.weights.h5", "ensemble.json", "calibration.json")
    unlink = Path.unlink
    for deleted in range(len(names) + 1):
        for name in names:
            (tmp_path / name).touch()
        left = [deleted]

        def cut(path: Path, missing_ok: bool = False, left: list[int] = left) -> None:
            if path.exists():
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", cut)
        with contextlib.suppress(KeyboardInterrupt):
            delete_run(tmp_path)
        check_work_dir(tmp_path, TrainConfig(work_dir=str(tmp_path), overwrite=True))
