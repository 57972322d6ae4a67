"""The whole way on synthetic patients: what `make demo` runs.

Phantoms -> TFRecords -> training -> calibration -> evaluation on held-out patients -> submission,
each by the command that a user would type, and a summary at the end. Run again, it keeps what is
done. All files go to data/ and runs/, which git ignores.
"""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

from ich_tf.runtime import command
from tools.steps import run_step

_PHANTOMS = Path("data/phantoms")
_RECORDS = Path("data/tfrecords")
_RUN = Path("runs/resnet50")
_REPORT = _RUN / "evaluation/test/report.html"


class _Step(NamedTuple):
    """A command of the demo.

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


# Phantoms are a function of seed and flags: written again, they are the same bytes.
_STEPS = (
    _Step(
        "draw synthetic patients, as DICOM files",
        40,
        "tools.make_phantoms --flagfile=configs/demo_phantoms.flags --overwrite",
    ),
    # Cropped to the head and about as large as the report shows them: less to read, more to see.
    _Step(
        "convert them into TFRecords",
        5,
        "tools.make_tfrecords --image_size=128 --crop=head",
    ),
    _Step(
        "train ResNet50 from random weights",
        120,
        "ich_tf.train --flagfile=configs/demo.flags --strategy=mirrored",
    ),
    _Step("calibrate it on validation patients", 12, "ich_tf.calibrate"),
    _Step(
        "evaluate it on held-out patients, with heat maps",
        65,
        "ich_tf.evaluate --masks_dir=data/phantoms/stage_2_train_masks",
    ),
    _Step("predict new patients, as a submission", 10, "ich_tf.predict"),
)
# Number of slices on the contact sheet, with a bleed and as many without.
_SHOWN = 12


def main() -> None:
    """Runs the steps, draws the contact sheet, prints the plan first and the summary last."""
    from ich_tf.errors import InputError

    if not Path("configs/demo.flags").is_file():
        raise InputError("configs/demo.flags: not found. Run the demo from the project's folder.")
    print(_plan(), flush=True)
    start = time.monotonic()
    seconds = {}
    for step in _STEPS:
        begun = time.monotonic()
        run_step(*shlex.split(step.command))
        seconds[step.module] = time.monotonic() - begun
    print("\nDrawing the contact sheet.", flush=True)
    sheet = _draw()
    print(_summary(seconds, time.monotonic() - start, sheet))


def _plan() -> str:
    minutes = sum(step.seconds for step in _STEPS) / 60
    lines = [
        f"About {minutes:.0f} minutes on two cores, without a GPU or a download:",
        *(
            f"  {number}. {step.title:<50} {step.seconds:>4} s"
            for number, step in enumerate(_STEPS, 1)
        ),
        "All files go to data/ and runs/. If it is stopped, run it again: it continues.",
    ]
    return "\n".join(lines)


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
                stored[slice_].grey(manifest.windows),
                labels.loc[slice_].to_numpy(),
                probabilities.loc[slice_].to_numpy(),
            )
            for slice_ in chosen
        ],
    )
    return sheet


def _evenly(table: Any) -> list[str]:
    """Ids of at most `_SHOWN` slices, evenly spaced in a table ordered by series."""
    count = min(_SHOWN, len(table))
    return [table.index[len(table) * place // count] for place in range(count)]


def _summary(seconds: dict[str, float], total: float, sheet: Path) -> str:
    paths = {
        "synthetic DICOMs": _PHANTOMS,
        "TFRecords": _RECORDS,
        "model and checkpoints": _RUN,
        "training curves": _RUN / "training_curves.png",
        "contact sheet": sheet,
        "report": _REPORT,
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
        + ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()),
        "",
        (_RUN / "evaluation/test/summary.txt").read_text("utf-8"),
        *(f"{name:<22} {path}" for name, path in paths.items()),
        "",
        "Synthetic patients: these numbers show that the machinery works, and nothing about "
        "real CT.",
        "",
        f"Look at the report first: {_REPORT.absolute().as_uri()}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main, __doc__)
