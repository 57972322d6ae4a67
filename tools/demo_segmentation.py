"""Masks and volumes on synthetic patients: what `make demo-segmentation` runs.

Phantoms with exact masks -> TFRecords -> training of a network with a decoder -> calibration,
thresholds of the masks included -> evaluation on held-out patients -> masks and volumes of new
patients, each by the command that a user would type. The end compares the volumes of the new
patients with the true ones. Run again, it keeps what is done. All files go to data/ and runs/,
which git ignores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich_tf.runtime import command
from tools.demo_steps import Step, demo_summary, run_demo

if TYPE_CHECKING:
    from ich_tf.metrics import MaskScores

_DATA = Path("data/demo_segmentation")
_PHANTOMS = _DATA / "phantoms"
_RECORDS = _DATA / "tfrecords"
_RUN = Path("runs/demo_segmentation")
_DATA_FLAGS = f"--data_dir={_RECORDS} --work_dir={_RUN}"

_STEPS = (
    Step(
        "draw synthetic patients with masks",
        40,
        "tools.make_phantoms --flagfile=configs/demo_segmentation_phantoms.flags --overwrite",
    ),
    Step(
        "convert them into TFRecords with masks",
        8,
        f"tools.make_tfrecords --dicom_dir={_PHANTOMS}/stage_2_train "
        f"--labels_csv={_PHANTOMS}/stage_2_train.csv --masks_dir={_PHANTOMS}/stage_2_train_masks "
        f"--out_dir={_RECORDS} --image_size=96 --crop=head",
    ),
    Step(
        "train ResNet50 with a decoder from random weights",
        200,
        "ich_tf.train --flagfile=configs/demo_segmentation.flags --strategy=mirrored",
    ),
    Step("calibrate probabilities and masks", 20, f"ich_tf.calibrate {_DATA_FLAGS}"),
    Step("evaluate on held-out patients", 60, f"ich_tf.evaluate {_DATA_FLAGS}"),
    Step(
        "predict masks and volumes of new patients",
        10,
        f"ich_tf.predict --dicom_dir={_PHANTOMS}/stage_2_test --work_dir={_RUN} --masks=png",
    ),
)


def main() -> None:
    """Runs the steps, compares the volumes of the new patients, and prints the summary."""
    done = run_demo(_STEPS)
    scores = (_RUN / "evaluation/test/summary.txt").read_text("utf-8")
    paths = {
        "synthetic DICOMs": _PHANTOMS,
        "TFRecords": _RECORDS,
        "model and checkpoints": _RUN,
        "training curves": _RUN / "training_curves.png",
        "report": _RUN / "evaluation/test/report.html",
        "scores": _RUN / "evaluation/test/metrics.json",
        "masks of new patients": _RUN / "submission_masks",
        "their volumes": _RUN / "submission_series.csv",
    }
    print(demo_summary(done, f"{scores}\n{volume_table(_PHANTOMS, _RUN)}\n", paths))


def volume_table(phantoms: Path, run: Path) -> str:
    """Compares the masks of new patients with the true ones.

    Args:
      phantoms: Folder of the phantoms, with masks.
      run: Folder of the run, with the prediction of `phantoms/stage_2_test`.

    Returns:
      A line for each series: its volumes of `any`, and their Dice.
    """
    content = json.loads((run / "submission_series.json").read_text("utf-8"))
    lines = [
        "volumes of the bleeds of new patients, ml, and Dice:",
        f"{'series':<8} {'true':>8} {'predicted':>10} {'Dice':>6}",
    ]
    for number, series in enumerate(content["series"], 1):
        scores = _score(phantoms, run, series["slices"])
        dice = f"{scores.dice:.2f}" if scores.reference_ml else "-"
        lines.append(
            f"{number:<8} {scores.reference_ml:>8.1f} {series['volumes']['ml']['any']:>10.1f} "
            f"{dice:>6}"
        )
    return "\n".join(lines)


def _score(phantoms: Path, run: Path, slices: Sequence[dict[str, Any]]) -> MaskScores:
    """Scores the masks of `any` of a series against those of the phantoms."""
    import numpy as np

    from ich_tf.dicom.reader import read_slice
    from ich_tf.metrics import score_series

    names = [slice_["image_id"] for slice_ in slices]
    reference = _masks(phantoms / "stage_2_test_masks", names)
    prediction = _masks(run / "submission_masks", names)
    first = read_slice((phantoms / "stage_2_test" / f"{names[0]}.dcm").read_bytes())
    distances = np.diff([slice_["z_mm"] for slice_ in slices])
    return score_series(reference, prediction, (distances, *first.header.spacing_mm))


def _masks(folder: Path, names: Sequence[str]) -> Any:
    """Masks of `any` of slices, bool [n, rows, columns], from PNG files."""
    import cv2
    import numpy as np

    from ich_tf.labels import ANY
    from ich_tf.masks.bits import unpack

    files = [str(folder / f"{name}.png") for name in names]
    return np.stack([unpack(cv2.imread(file, cv2.IMREAD_UNCHANGED))[ANY] for file in files])


if __name__ == "__main__":
    command.run(main, __doc__)
