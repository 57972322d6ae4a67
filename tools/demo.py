"""The whole way on synthetic patients: what `make demo` runs.

Phantoms -> TFRecords -> training -> calibration -> evaluation on held-out patients -> submission,
each by the command that a user would type, and a summary at the end. Run again, it keeps what is
done. All files go to data/ and runs/, which git ignores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ich_tf.runtime import command
from tools.demo_steps import Step, demo_summary, run_demo

_PHANTOMS = Path("data/phantoms")
_RECORDS = Path("data/tfrecords")
_RUN = Path("runs/resnet50")

# Phantoms are a function of seed and flags: written again, they are the same bytes.
_STEPS = (
    Step(
        "draw synthetic patients, as DICOM files",
        40,
        "tools.make_phantoms --flagfile=configs/demo_phantoms.flags --overwrite",
    ),
    # Cropped to the head and about as large as the report shows them: less to read, more to see.
    Step(
        "convert them into TFRecords",
        5,
        "tools.make_tfrecords --image_size=128 --crop=head",
    ),
    Step(
        "train ResNet50 from random weights",
        120,
        "ich_tf.train --flagfile=configs/demo.flags --strategy=mirrored",
    ),
    Step("calibrate it on validation patients", 12, "ich_tf.calibrate"),
    Step(
        "evaluate it on held-out patients, with heat maps",
        65,
        "ich_tf.evaluate --masks_dir=data/phantoms/stage_2_train_masks",
    ),
    Step("predict new patients, as a submission", 10, "ich_tf.predict"),
)
# Number of slices on the contact sheet, with a bleed and as many without.
_SHOWN = 12


def main() -> None:
    """Runs the steps, draws the contact sheet, and prints the summary."""
    done = run_demo(_STEPS)
    print("\nDrawing the contact sheet.", flush=True)
    paths = {
        "synthetic DICOMs": _PHANTOMS,
        "TFRecords": _RECORDS,
        "model and checkpoints": _RUN,
        "training curves": _RUN / "training_curves.png",
        "contact sheet": _draw(),
        "report": _RUN / "evaluation/test/report.html",
        "model card": _RUN / "evaluation/test/model_card.md",
        "scores": _RUN / "evaluation/test/metrics.json",
        "test predictions": _RUN / "evaluation/test/predictions.csv",
        "submission": _RUN / "submission.csv",
        "series summary": _RUN / "submission_series.csv",
    }
    print(demo_summary(done, (_RUN / "evaluation/test/summary.txt").read_text("utf-8"), paths))


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


if __name__ == "__main__":
    command.run(main, __doc__)
