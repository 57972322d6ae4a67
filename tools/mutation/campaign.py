"""A campaign: mutmut mutates a room's modules in a folder of its own; its verdicts are read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ich_tf.errors import DataError
from tools.mutation.rooms import LEFT_OUT, ROOT, Room
from tools.mutation.survivors import Survivor

# Texts for people are not mutated: lines that hold one string, and errors raised on one line.
_TEXTS = (r'^\s*[fr]?"([^"\\]|\\.)*"[,)\]]*$', r"\braise \w+\(.*[\"']")
_NOT_NOTICED = ("survived", "no tests")
_NOT_REACHED = ("not checked", "check was interrupted by user")


@dataclass
class Outcome:
    """What became of a module's mutants.

    Attributes:
      killed: Number of mutants that a test noticed, by failing or by taking too long.
      not_reached: Number of mutants that no time was left for.
      survivors: Mutants that no test noticed.
    """

    killed: int = 0
    not_reached: int = 0
    survivors: list[Survivor] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Share of the tried mutants that were noticed, percent."""
        number = self.killed + len(self.survivors)
        return 100 * self.killed / number if number else 100.0


def run(room: Room, folder: Path, seconds: float, jobs: int) -> dict[str, Outcome]:
    """Mutates the modules of a room, one fault at a time, and runs its tests on each.

    Args:
      room: The modules and their tests.
      folder: Folder for copies of the package and the tests; what it held goes.
      seconds: Longest time to run, s.
      jobs: Number of mutants that are tested at a time.

    Returns:
      Outcome of each module.

    Raises:
      DataError: If mutmut fails, which it does where a test fails without any mutant.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("ich_tf", "tests"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "._*")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(Path(__file__).with_name("in_forks.py"), folder / "tests")
    (folder / "setup.cfg").write_text(_configuration(room), "utf-8")
    log = folder / "mutmut.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mutmut", "run", f"--max-children={jobs}"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "PYTEST_PLUGINS": "tests.in_forks",
            },
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = 0
        finally:
            if process.poll() is None:
                # It ends its workers, and keeps the verdicts so far.
                process.send_signal(signal.SIGINT)
                process.wait()
    if code:
        raise DataError(f"mutmut ended with {code}: see the end of {log}.")
    return _outcomes(room, folder)


def _configuration(room: Room) -> str:
    options = ["--noconftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:pytest_cov"]
    options += ["-m", "not slow", *(f"--ignore={path}" for path in LEFT_OUT)]
    lists = {
        "source_paths": ["ich_tf"],
        "only_mutate": room.modules,
        "do_not_mutate_patterns": _TEXTS,
        "pytest_add_cli_args": options,
        "pytest_add_cli_args_test_selection": room.tests,
    }
    lines = ["[mutmut]", "use_git_change_detection = false"]
    for name, values in lists.items():
        # ConfigParser reads % as the start of a reference.
        lines += [f"{name} =", *(f"    {value}".replace("%", "%%") for value in values)]
    return "\n".join([*lines, ""])


def _outcomes(room: Room, folder: Path) -> dict[str, Outcome]:
    before = Path.cwd()
    os.chdir(folder)  # Where mutmut looks for its configuration, on import, and for the mutants.
    try:
        from mutmut.mutation.diff_apply import get_diff_for_mutant
        from mutmut.stats import status_by_exit_code
        from mutmut.utils.format_utils import orig_function_and_class_names_from_key

        outcomes: dict[str, Outcome] = {}
        for module in room.modules:
            outcome = outcomes[module] = Outcome()
            verdicts = json.loads(Path("mutants", f"{module}.meta").read_text("utf-8"))
            counts: Counter[str] = Counter()
            for name, code in verdicts["exit_code_by_key"].items():
                status = status_by_exit_code[code]
                counts[status] += 1
                if status in _NOT_NOTICED:
                    function, class_name = orig_function_and_class_names_from_key(name)
                    function = function.rpartition(".")[2]
                    full = f"{class_name}.{function}" if class_name else function
                    diff = get_diff_for_mutant(name, path=module)
                    outcome.survivors.append(Survivor.of_diff(module, full, diff))
            outcome.not_reached = sum(counts[status] for status in _NOT_REACHED)
            outcome.killed = counts.total() - outcome.not_reached - len(outcome.survivors)
        return outcomes
    finally:
        os.chdir(before)
