"""`--help`: what it prints of a flag, and that every command's reads like a reference."""

import ast
import doctest
import re

import pytest

from ich_tf.__main__ import GROUPS
from ich_tf.runtime import help_page
from ich_tf.runtime.help_page import FlagHelp, describe_flags
from tests.support.commands import ROOT, Command


def test_examples_in_docstrings_are_true() -> None:
    outcome = doctest.testmod(help_page)
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize(
    ("flag", "usage", "facts"),
    [
        (FlagHelp("out_dir", "Folder.", ""), "--out_dir=TEXT", "default: empty"),
        (FlagHelp("rate", "Rate.", 0.5, (), "in (0, 1]"), "--rate=NUMBER", "range: (0, 1]"),
        (FlagHelp("check", "Check.", True), "--check, --nocheck", "default: --check"),
        (FlagHelp("windows", "Windows.", ["a", "b"]), "--windows=A,B,...", "default: a,b"),
        (
            FlagHelp("crop", "Crop.", "none", ("none", "head")),
            "--crop=NAME",
            "default: none; choices: none, head",
        ),
    ],
)
def test_a_flag_is_shown_as_it_is_typed(flag: FlagHelp, usage: str, facts: str) -> None:
    first, meaning, last = describe_flags([flag], {}).splitlines()
    assert first == f"  {usage}"
    assert meaning.strip() == flag.meaning
    assert facts in last


def test_long_meanings_are_wrapped() -> None:
    lines = describe_flags([FlagHelp("seed", "word " * 60, 0)], {}).splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= 90


@pytest.mark.parametrize("module", ["ich_tf.make_tfrecords", "ich_tf.verify_tfrecords"])
def test_help_of_a_command(run_command: Command, module: str) -> None:
    shown = run_command(module, "--help").stdout
    top, _, flags = shown.partition("\n\nflags:\n")
    assert f"\n  python -m {module} --" in top
    assert "Exit codes: 0 " in " ".join(top.split())
    assert "\n Every command\n  --flagfile=TEXT\n" in flags
    assert "@resnet50" in flags
    blocks = re.findall(r"^  --(\w+).*\n((?:      .+\n?)+)", flags, re.MULTILINE)
    assert len(blocks) == len(re.findall(r"^  --", flags, re.MULTILINE))
    assert all("default:" in text for _, text in blocks)


COMMANDS = [name for names in GROUPS.values() for name in names]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_s_docstring_has_a_summary_an_example_and_exit_codes(name: str) -> None:
    path = ROOT / "ich_tf" / f"{name}.py"
    if not path.exists():  # a command that shares its name with a room
        path = ROOT / "ich_tf" / name / "__main__.py"
    source = path.read_text("utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    summary, rest = text.split("\n", 1)
    # Two columns of `ich-tf --help`, in a terminal of 100.
    assert summary.endswith(".") and len(summary) <= 79
    assert re.match(rf"\n  python -m ich_tf\.(train|{name}) --", rest)
    assert "\n\nExit codes: 0 " in rest
