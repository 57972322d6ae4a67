"""Paths: what a user means by one, and what TensorFlow takes for a pattern."""

import dataclasses
import re
from pathlib import Path

import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.inference.config import CalibrateConfig, ExportConfig, ExtractConfig, PredictConfig
from ich_tf.runtime.paths import plain_path, user_path
from ich_tf.serving.config import ServeConfig
from ich_tf.training.config import TrainConfig
from tests.support.commands import ROOT, Command


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/reader")
    assert user_path("~") == "/home/reader"
    assert user_path("~/a/~b/") == "/home/reader/a/~b/"
    assert [user_path(path) for path in ("", "./~", "a~", "imagenet")] == [
        "", "./~", "a~", "imagenet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("~nobody-of-this-name/x", "no user of that name"),
        ("a\0b", "NUL byte"),
        ("a/" * 2100, "4200 bytes"),
        ("é" * 200, "400 bytes"),
    ],
)
def test_what_no_file_can_have_is_refused(path: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        user_path(path)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / "loop" / "x"):
        with pytest.raises(ValueError, match="is a link that leads to itself"):
            user_path(str(path))


def test_flags_are_expanded_and_refused_in_a_paragraph(
    run_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_command("tools.verify_tfrecords", "--data_dir=~/none", code=1)
    assert f"{tmp_path}/none" in done.stderr
    (tmp_path / "x.flags").write_text("--data_dir=~/other")
    done = run_command("tools.verify_tfrecords", "--flagfile=~/x.flags", code=1)
    assert f"{tmp_path}/other" in done.stderr
    done = run_command("tools.verify_tfrecords", f"--data_dir={'x' * 300}", code=2)
    assert "data_dir" in done.stderr and "300 bytes" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "config",
    [ConversionConfig, TrainConfig, CalibrateConfig, EvaluateConfig, ExtractConfig, ExportConfig,
     PredictConfig, ServeConfig],
)  # fmt: skip
def test_every_option_that_is_a_path_is_one(config: type) -> None:
    fields = dataclasses.fields(config)
    paths = {field.name for field in fields if field.metadata["is_path"]}
    ends = ("_dir", "_csv", "_file", "_results", "members", "weights")
    assert paths == {field.name for field in fields if field.name.endswith(ends)}


def test_no_command_defines_a_path_as_a_text() -> None:
    for path in (ROOT / "ich_tf").glob("*.py"):
        assert not re.search(r'DEFINE_string\(\s*"\w+_(dir|csv|file|png)"', path.read_text()), path


def test_a_folder_with_a_patterns_characters_has_a_plain_path(tmp_path: Path) -> None:
    assert plain_path(tmp_path) == tmp_path
    folder = tmp_path / "run[1]*?"
    plain = plain_path(folder)
    assert not set("[]*?") & set(str(plain))
    folder.mkdir()
    (folder / "x").write_text("x")
    assert (plain / "x").read_text() == "x"
    assert plain_path(folder) == plain
