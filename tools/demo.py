"""The whole way on synthetic patients: what `make demo` runs.

Phantoms -> TFRecords -> training -> evaluation on held-out patients -> submission, each by
the command that a user would type, and a summary at the end. Run again, it keeps what is
done. Everything goes to data/ and runs/, which git ignores.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

from ich_tf.runtime import command
from tools.steps import run_step

_PHANTOMS = Path("data/phantoms")
_RECORDS = Path("data/tfrecords")
_RUN = Path("runs/resnet50")

# Phantoms are a function of seed and flags: written again, they are the same bytes.
_STEPS = (
    "tools.make_phantoms --flagfile=configs/demo_phantoms.flags --overwrite",
    "tools.make_tfrecords",
    "ich_tf.train --flagfile=configs/demo.flags --strategy=mirrored",
    "ich_tf.calibrate",
    "ich_tf.evaluate --masks_dir=data/phantoms/stage_2_train_masks",
    "ich_tf.predict",
)
# Of each kind, with a bleed and without.
_SHOWN = 12


def main() -> None:
    """Runs the steps, draws the slices, sums up."""
    from ich_tf.errors import InputError

    if not Path("configs/demo.flags").is_file():
        raise InputError("configs/demo.flags: not found. Run the demo from the project's folder.")
    start = time.monotonic()
    seconds = {}
    for step in _STEPS:
        begun = time.monotonic()
        run_step(*shlex.split(step))
        seconds[step.split()[0]] = time.monotonic() - begun
    print("\nDrawing.", flush=True)
    sheet = _draw()
    print(_summary(seconds, time.monotonic() - start, sheet))


def _draw() -> Path:
    import pandas as pd

    from ich_tf.labels import CLASSES
    from ich_tf.records.manifest import Manifest
    from ich_tf.records.stored_slices import read_stored
    from tools.figures import Example, contact_sheet

    manifest = Manifest.load(_RECORDS)
    table = pd.read_csv(_RUN / "evaluation/test/predictions.csv").set_index("source_id")
    chosen = [*_evenly(table[table["label_any"] == 1]), *_evenly(table[table["label_any"] == 0])]
    stored = read_stored(manifest.split_shards("test"), set(chosen))
    labels = table[[f"label_{name}" for name in CLASSES]]
    probabilities = table[list(CLASSES)]
    sheet = _RUN / "contact_sheet.png"
    contact_sheet(
        sheet,
        [
            Example(
                stored[one].grey(manifest.windows),
                labels.loc[one].to_numpy(),
                probabilities.loc[one].to_numpy(),
            )
            for one in chosen
        ],
    )
    return sheet


def _evenly(table: Any) -> list[str]:
    """Some slices of a table, whose order is by series: of many patients and levels."""
    count = min(_SHOWN, len(table))
    return [table.index[len(table) * place // count] for place in range(count)]


def _summary(seconds: dict[str, float], total: float, sheet: Path) -> str:
    paths = {
        "synthetic DICOMs": _PHANTOMS,
        "TFRecords": _RECORDS,
        "model and checkpoints": _RUN,
        "training curves": _RUN / "training_curves.png",
        "contact sheet": sheet,
        "report": _RUN / "evaluation/test/report.html",
        "model card": _RUN / "evaluation/test/model_card.md",
        "scores": _RUN / "evaluation/test/metrics.json",
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
        (_RUN / "evaluation/test/summary.txt").read_text("utf-8"),
        *(f"{name:<22} {path}" for name, path in paths.items()),
        "",
        "Synthetic patients: these numbers say that the machinery works, and nothing about "
        "real CT.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main, __doc__)
