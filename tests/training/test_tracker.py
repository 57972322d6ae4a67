"""A user's tracker follows a run, and never ends it."""

import dataclasses
import re
import sys
import types
from unittest.mock import MagicMock

import pytest

from ich_tf.errors import UsageError
from ich_tf.models import run_files
from ich_tf.runtime.files import write_json
from ich_tf.training.config import TrainConfig
from ich_tf.training.history import read_history
from ich_tf.training.tracker import load_tracker, tracking
from ich_tf.training.trainer import train
from tests.support.commands import ROOT
from tests.support.runs import assert_same_run, smoke_config

ROWS = [{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.4}]


class Recorder:
    """Writes down all calls; raises errors in those that `fails` names."""

    def __init__(self, *fails: str) -> None:
        self.calls, self.fails = [], set(fails)

    def _note(self, name, value):
        self.calls.append((name, value))
        if name in self.fails:
            raise RuntimeError(f"no {name}\nhere")

    def __call__(self, settings):
        self._note("make", settings)
        return self

    def epoch(self, row):
        self._note("epoch", row)

    def end(self, error):
        self._note("end", error)


@pytest.fixture
def config(tmp_path):
    write_json(tmp_path / run_files.RUN, {"id": "abc", "data": {"sha256": "0"}, "sessions": []})
    return TrainConfig(work_dir=str(tmp_path), tracker="my:Tracker")


def follow(recorder, config, error=None):
    with tracking(recorder, config, 3) as track:
        for row in ROWS:
            track(row)
        if error:
            raise error


def test_it_gets_settings_rows_and_the_end(config):
    recorder = Recorder()
    follow(recorder, config)
    settings = {**dataclasses.asdict(config), "run_id": "abc", "epochs_done": 3}
    rows = [("epoch", row) for row in ROWS]
    assert recorder.calls == [("make", settings), *rows, ("end", None)]


@pytest.mark.parametrize("error", [ValueError("two\nlines"), KeyboardInterrupt()])
def test_it_is_told_of_the_error_that_ends_a_run(config, error):
    recorder = Recorder()
    with pytest.raises(type(error)):
        follow(recorder, config, error)
    assert recorder.calls[-1] == ("end", f"{type(error).__name__}: {' '.join(str(error).split())}")


@pytest.mark.parametrize(
    ("fails", "calls", "failed"),
    [("epoch", 4, "2 of 4"), ("end", 4, "1 of 4"), ("make", 4, "4 of 4")],
)
def test_its_errors_are_one_warning(config, caplog, fails, calls, failed):
    recorder = Recorder(fails)
    follow(recorder, config)
    assert len(recorder.calls) == calls
    first, last = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"--tracker=my:Tracker: RuntimeError: no {fails} here. The training")
    assert last == f"--tracker=my:Tracker: {failed} calls failed"


def test_a_tracker_that_exits_ends_no_run(config, caplog):
    recorder = Recorder()
    recorder.epoch = lambda row: sys.exit(4)
    follow(recorder, config)
    assert recorder.calls[-1] == ("end", None)
    assert "SystemExit: 4. The training goes on" in caplog.records[0].getMessage()


def test_what_is_no_tracker_is_a_warning(config, caplog):
    with tracking(lambda settings: 7, config, 0) as track:
        track(ROWS[0])
    assert "'int' object has no attribute 'epoch'" in caplog.records[0].getMessage()


def test_a_tracker_that_cannot_be_imported_is_refused_before_anything_is_written(tmp_path):
    config = TrainConfig(work_dir=str(tmp_path / "run"), tracker="no_such_module:Tracker")
    with pytest.raises(UsageError, match="--tracker=no_such_module:Tracker: there is no module"):
        train(config)
    assert not (tmp_path / "run").exists()
    assert load_tracker(dataclasses.replace(config, tracker="")) is None


@pytest.mark.parametrize(("library", "name"), [("mlflow", "Mlflow"), ("wandb", "Wandb")])
def test_the_examples_of_the_guide_are_trackers(library, name, config, monkeypatch, caplog):
    server = MagicMock()
    monkeypatch.setitem(sys.modules, library, server)
    page = (ROOT / "docs/training.md").read_text("utf-8")
    (example,) = (text for text in re.findall(r"```text\n(.*?)```", page, re.S) if name in text)
    namespace = {}
    exec(example, namespace)
    follow(namespace[name], config)
    assert not caplog.records
    assert "'val_loss': 0.4" in str(server.mock_calls) and "abc" in str(server.mock_calls)


@pytest.mark.slow
def test_a_run_is_followed_and_extended(data_dir, tmp_path, monkeypatch):
    """Each epoch is told of once, under one id; two epochs are one and one more, to the bit."""
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "followers", types.SimpleNamespace(make=recorder))
    config = smoke_config(
        data_dir, tmp_path / "run", tracker="followers:make", epochs=1, max_steps_per_epoch=2,
        schedule="exponential", self_check=False, tensorboard=False,
    )  # fmt: skip
    train(config)
    train(dataclasses.replace(config, epochs=2, extend=True))
    history = read_history(tmp_path / "run" / run_files.HISTORY)
    rows = [call for call in recorder.calls if call[0] == "epoch"]
    assert rows == [("epoch", result.row()) for result in history]
    first, second = (settings for name, settings in recorder.calls if name == "make")
    assert first["run_id"] == second["run_id"] and len(first["run_id"]) == 32
    assert (first["epochs_done"], second["epochs_done"]) == (0, 1)
    train(dataclasses.replace(config, epochs=2, work_dir=str(tmp_path / "whole"), tracker=""))
    assert_same_run(tmp_path / "whole", tmp_path / "run")
