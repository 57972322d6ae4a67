"""Measures this checkout beside another commit: the same commands, in turn.

  python -m tools.benchmark.commits --base=REV

Conversion, training, evaluation and prediction of the same phantoms run as commands in both, one
after the other and several times, so that what else the machine does strikes both alike. Imports
are part of each time. A ratio below 1 means that this checkout is faster.
"""

from __future__ import annotations

import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from ich_tf.runtime import command

_BASE = flags.DEFINE_string("base", "HEAD", "The other commit: whatever git calls a revision.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each runs; medians count.", lower_bound=1)
_NUM_PATIENTS = flags.DEFINE_integer("num_patients", 24, "Synthetic patients.", lower_bound=6)
_MATRIX = flags.DEFINE_integer("matrix", 512, "Rows and columns of their slices.")

# What runs in a checkout, with {d} for the phantoms and {o} for what it makes itself.
_PHANTOMS = "tools.make_phantoms --out_dir={d} --num_patients={n} --matrix={m} --test_fraction=0.3"
_STEPS = {
    "convert": (
        "tools.make_tfrecords --dicom_dir={d}/stage_2_train --labels_csv={d}/stage_2_train.csv "
        "--out_dir={o}/tfrecords --num_folds=3 --overwrite"
    ),
    "train": (
        "ich_tf.train --flagfile=configs/demo.flags --data_dir={o}/tfrecords --work_dir={o}/run "
        "--epochs=1 --overwrite"
    ),
    "evaluate": "ich_tf.evaluate --data_dir={o}/tfrecords --work_dir={o}/run --bootstrap=100",
    "predict": (
        "ich_tf.predict --dicom_dir={d}/stage_2_test --work_dir={o}/run --out_csv={o}/s{r}.csv"
    ),
}


def main() -> None:
    """A worktree of the other commit; rounds; a table."""
    root = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        base, data = Path(folder) / "base", Path(folder) / "phantoms"
        _git("worktree", "add", "--detach", str(base), _BASE.value)
        try:
            about = {"d": data, "n": _NUM_PATIENTS.value, "m": _MATRIX.value}
            _run(root, _PHANTOMS.format(**about))
            seconds = _measure({"base": base, "here": root}, Path(folder), about)
        finally:
            _git("worktree", "remove", "--force", str(base))
    print(f"{'':<10} {'base s':>8} {'here s':>8} {'ratio':>7}   ratios of the rounds")
    for step in _STEPS:
        there, here = seconds["base", step], seconds["here", step]
        ratios = sorted(one / other for one, other in zip(here, there, strict=True))
        print(
            f"{step:<10} {statistics.median(there):8.2f} {statistics.median(here):8.2f} "
            f"{statistics.median(ratios):7.3f}   {ratios[0]:.3f} to {ratios[-1]:.3f}"
        )


def _measure(
    checkouts: dict[str, Path], folder: Path, about: dict[str, object]
) -> dict[tuple[str, str], list[float]]:
    """Seconds by checkout and step, one a round."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(_ROUNDS.value):
        for step, line in _STEPS.items():
            # Who is first changes with each round.
            order = list(checkouts)[:: -1 if number % 2 else 1]
            for name in order:
                out = folder / name.upper()
                out.mkdir(exist_ok=True)
                begun = time.perf_counter()
                _run(checkouts[name], line.format(**about, o=out, r=number))
                seconds.setdefault((name, step), []).append(time.perf_counter() - begun)
        print(f"round {number + 1} of {_ROUNDS.value}", file=sys.stderr, flush=True)
    return seconds


def _run(checkout: Path, line: str) -> None:
    from ich_tf.errors import InputError

    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"{line.split()[0]} failed in {checkout}: {done.stderr.strip()[-500:]}")


def _git(*arguments: str) -> None:
    from ich_tf.errors import InputError

    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(
            f"git {' '.join(arguments[:2])}: {done.stderr.strip()}. Give --base a commit of this "
            "repository, and run it from the project's folder."
        )


if __name__ == "__main__":
    command.run(main, __doc__)
