"""Compares the speed of this checkout with another commit.

  python -m tools.benchmark.commits --base=REV

Conversion, training, evaluation and prediction of the same phantoms run as commands in both
checkouts, in turn and several times, so that other load of the machine slows both. Times include
imports. A ratio below 1 means that this checkout is faster.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
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

command.add_headings({"base": "Comparison", "num_patients": "Phantoms"})
_BASE = flags.DEFINE_string("base", "HEAD", "Revision of the other commit, as git accepts it.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Rounds, of which the medians are printed.", lower_bound=1
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 24, "Number of synthetic patients.", lower_bound=6
)
_MATRIX = flags.DEFINE_integer("matrix", 512, "Rows and columns of their slices, px.")

# Commands to run in a checkout. {d}: folder of the phantoms; {o}: its folder for results; {n}:
# patients; {m}: rows and columns; {r}: round.
_PHANTOMS = "tools.make_phantoms --out_dir={d} --num_patients={n} --matrix={m} --test_fraction=0.3"
_STEPS = {
    "convert": (
        "tools.make_tfrecords --dicom_dir={d}/stage_2_train --labels_csv={d}/stage_2_train.csv "
        "--out_dir={o}/tfrecords --num_folds=3 --overwrite"
    ),
    "train": (
        # In full, since recipes may differ between the commits.
        "ich_tf.train --data_dir={o}/tfrecords --work_dir={o}/run --weights=none --image_size=64 "
        "--batch_size=16 --mixed_precision=float32 --bn_momentum=0.9 --epochs=1 --overwrite"
    ),
    "evaluate": "ich_tf.evaluate --data_dir={o}/tfrecords --work_dir={o}/run --bootstrap=100",
    "predict": (
        "ich_tf.predict --dicom_dir={d}/stage_2_test --work_dir={o}/run --out_csv={o}/s{r}.csv"
    ),
}


def main() -> None:
    """Checks out the other commit, measures both and prints a table."""
    root = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        base, data = Path(folder) / "base", Path(folder) / "phantoms"
        _git("worktree", "add", "--detach", str(base), _BASE.value)
        try:
            values = {"d": data, "n": _NUM_PATIENTS.value, "m": _MATRIX.value}
            _run(root, _PHANTOMS.format(**values))
            seconds = _measure({"base": base, "here": root}, Path(folder), values)
        finally:
            _git("worktree", "remove", "--force", str(base))
    print(f"{'':<10} {'base s':>8} {'here s':>8} {'ratio':>7}   ratios of the rounds")
    for step in _STEPS:
        base_seconds, here_seconds = seconds["base", step], seconds["here", step]
        ratios = sorted(a / b for a, b in zip(here_seconds, base_seconds, strict=True))
        medians = [statistics.median(values) for values in (base_seconds, here_seconds, ratios)]
        print(
            f"{step:<10} {medians[0]:8.2f} {medians[1]:8.2f} {medians[2]:7.3f}   "
            f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        )


def _measure(
    checkouts: dict[str, Path], folder: Path, values: dict[str, object]
) -> dict[tuple[str, str], list[float]]:
    """Seconds of each step in each checkout, one value a round."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(_ROUNDS.value):
        for step, line in _STEPS.items():
            # The order alternates, so that neither checkout always comes first.
            order = list(checkouts)[:: -1 if number % 2 else 1]
            for name in order:
                out = folder / name.upper()
                out.mkdir(exist_ok=True)
                begun = time.perf_counter()
                _run(checkouts[name], line.format(**values, o=out, r=number))
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
