"""The whole way on synthetic patients: what `make demo` runs.

Phantoms -> TFRecords -> training -> evaluation on held-out patients -> submission, each by
the command that a user would type, and a summary at the end. Run again, it keeps what is
done. Everything goes to data/ and runs/, which git ignores.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

from ich_tf import command

_PHANTOMS = Path("data/phantoms")
_RECORDS = Path("data/tfrecords")
_RUN = Path("runs/resnet50")

# Phantoms are a function of seed and flags: written again, they are the same bytes.
_STEPS = (
    "tools.make_phantoms --flagfile=configs/demo_phantoms.flags --overwrite",
    "tools.make_tfrecords",
    "ich_tf.train --flagfile=configs/demo.flags --strategy=mirrored",
    "ich_tf.evaluate",
    "ich_tf.predict",
)


def main() -> None:
    """Runs the steps, draws the slices, sums up."""
    from ich_tf.errors import InputError

    if not Path("configs/demo.flags").is_file():
        raise InputError("configs/demo.flags: not found. Run the demo from the project's folder.")
    start = time.monotonic()
    seconds = {}
    for step in _STEPS:
        print(f"\n$ python -m {step}", flush=True)
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", *shlex.split(step)], check=False)
        if done.returncode:
            raise InputError(f"python -m {step} ended with exit code {done.returncode}; see above.")
        seconds[step.split()[0]] = time.monotonic() - begun
    print("\nDrawing.", flush=True)
    sheet = _draw()
    print(_summary(seconds, time.monotonic() - start, sheet))


def _draw() -> Path:
    from ich_tf.evaluation import pick_examples
    from ich_tf.figures import contact_sheet

    sheet = _RUN / "contact_sheet.png"
    predictions = _RUN / "evaluation/test/predictions.csv"
    contact_sheet(sheet, pick_examples(_RECORDS, "test", predictions, count=24))
    return sheet


def _summary(seconds: dict[str, float], total: float, sheet: Path) -> str:
    from ich_tf.evaluation import load_evaluation

    evaluation = load_evaluation(_RUN / "evaluation/test/metrics.json")
    paths = {
        "synthetic DICOMs": _PHANTOMS,
        "TFRecords": _RECORDS,
        "model and checkpoints": _RUN,
        "training curves": _RUN / "training_curves.png",
        "contact sheet": sheet,
        "scores by class": _RUN / "evaluation/test/metrics.json",
        "test predictions": _RUN / "evaluation/test/predictions.csv",
        "submission": _RUN / "submission.csv",
        "series summary": _RUN / "submission_series.csv",
    }
    lines = [
        "",
        "=" * 72,
        f"Done in {total / 60:.1f} minutes: "
        + ", ".join(f"{name.split('.')[1]} {value:.0f} s" for name, value in seconds.items()),
        "",
        evaluation.report(),
        "",
        *(f"{name:<22} {path}" for name, path in paths.items()),
        "",
        "Synthetic patients: these numbers say that the machinery works, and nothing about "
        "real CT.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main, __doc__)
