"""`ich-tf`: the same commands under one name."""

import re
import subprocess
import sys

import pytest

from ich_tf import __version__
from ich_tf.__main__ import GROUPS
from ich_tf.conversion.config import ConversionConfig
from ich_tf.inference.config import PredictConfig
from ich_tf.serving.config import ServeConfig
from ich_tf.training.config import TrainConfig
from tests.support.commands import Command


@pytest.mark.parametrize("flag", ["--help", "help"])
def test_help_lists_every_command_once(run_command: Command, flag: str) -> None:
    shown = run_command("ich_tf", flag).stdout
    listed = re.findall(r"^  ([a-z-]+)  +[A-Z]", shown, re.MULTILINE)
    expected = [name.replace("_", "-") for names in GROUPS.values() for name in names]
    assert listed == expected
    assert all(f"\n{group}:\n" in shown for group in GROUPS)


def test_a_command_is_the_module_s(run_command: Command) -> None:
    assert run_command("ich_tf", "--version").stdout == f"ich_tf {__version__}\n"
    shown = run_command("ich_tf", "make-phantoms", "--help").stdout
    assert shown == run_command("ich_tf.make_phantoms", "--help").stdout
    assert shown == run_command("tools.make_phantoms", "--help").stdout
    assert run_command("ich_tf", "make_phantoms", "--help").stdout == shown
    wrong = run_command("ich_tf", "make-phantoms", "--matrix=0", code=2).stderr
    assert "matrix is 0" in wrong


def test_no_such_command(run_command: Command) -> None:
    said = run_command("ich_tf", "make-tfrecord", code=2).stderr
    assert (
        said
        == "error: make-tfrecord is no command. Did you mean make-tfrecords? See ich-tf --help.\n"
    )


@pytest.mark.parametrize("command", ["train", "make-tfrecords", "predict", "serve"])
def test_help_is_in_groups(run_command: Command, command: str) -> None:
    """Every heading stands before its flag: no heading names a flag that is gone."""
    shown = run_command("ich_tf", command, "--help").stdout
    configs = {
        "train": TrainConfig,
        "make-tfrecords": ConversionConfig,
        "predict": PredictConfig,
        "serve": ServeConfig,
    }
    headings = configs[command].HEADINGS
    assert len(headings) > 3
    for flag, heading in headings.items():
        assert re.search(rf"\n\n {heading}\n  --{flag}[=,]", shown)
    assert "|" not in shown.partition("flags:")[2], "choices are listed twice"


def test_help_may_be_read_in_part() -> None:
    """As `ich-tf train --help | head -1` does; its flags fill more than a pipe holds at a time."""
    code = "import sys; from ich_tf.runtime import command; command.show('x' * 10**6); sys.exit(0)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
