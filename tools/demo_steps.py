"""What the demos have in common: the plan, the steps, and the text at the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ich_tf.errors import InputError
from tools.steps import run_step


class Step(NamedTuple):
    """A command of a demo.

    Attributes:
      title: Description of the step, a few words.
      seconds: Duration on two cores of an AMD EPYC with AVX512_BF16, start-up included.
      command: Module and flags, as after `python -m`.
    """

    title: str
    seconds: int
    command: str

    @property
    def module(self) -> str:
        """Name of the command's module, without its package."""
        return self.command.split()[0].split(".")[1]


def run_demo(steps: Sequence[Step]) -> str:
    """Prints what a demo is going to do, and runs its steps.

    Returns:
      How long it took, and each of its steps.

    Raises:
      InputError: If a command fails, or the project's folder is another.
    """
    if not Path("configs/demo.flags").is_file():
        raise InputError("configs/demo.flags: not found. Run the demo from the project's folder.")
    print(_plan(steps), flush=True)
    start = time.monotonic()
    seconds = {}
    for step in steps:
        begun = time.monotonic()
        run_step(*shlex.split(step.command))
        seconds[step.module] = time.monotonic() - begun
    total = time.monotonic() - start
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return f"Done in {total / 60:.1f} minutes: {parts}"


def _plan(steps: Sequence[Step]) -> str:
    minutes = sum(step.seconds for step in steps) / 60
    lines = [
        f"About {minutes:.0f} minutes on two cores, without a GPU or a download:",
        *(
            f"  {number}. {step.title:<50} {step.seconds:>4} s"
            for number, step in enumerate(steps, 1)
        ),
        "All files go to data/ and runs/. If it is stopped, run it again: it continues.",
    ]
    return "\n".join(lines)


def demo_summary(done: str, scores: str, paths: Mapping[str, Path]) -> str:
    """Text at the end of a demo.

    Args:
      done: Result of `run_demo`.
      scores: The scores, as text.
      paths: Name -> path of what the demo made; `report` is shown first.
    """
    lines = [
        "",
        "=" * 72,
        done,
        "",
        scores,
        *(f"{name:<22} {path}" for name, path in paths.items()),
        "",
        "Synthetic patients: these numbers show that the machinery works, and nothing about "
        "real CT.",
        "",
        f"Look at the report first: {paths['report'].absolute().as_uri()}",
    ]
    return "\n".join(lines)
