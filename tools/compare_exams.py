"""Compares labels of exams with labels of slices, on synthetic patients.

  python -m tools.compare_exams --seeds=0,1

The same network with the same pool learns from the same slices, as many of them and in the same
order, of which it is told: every slice's labels; those of the exam alone; or those of the exam, and
of the slices of one exam in ten. All are scored on the same held-out patients, whose slices are
labelled. The exam's score is the pool's logit, a slice's its own logit. All of it is of phantoms,
and says nothing about real CT. The same command continues an interrupted comparison.

Exit codes: 0 done; 1 a step failed; 2 wrong usage.
"""

from __future__ import annotations

import csv
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags

from ich_tf.runtime import command
from tools.steps import run_step

command.add_headings({"seeds": "Comparison", "epochs": "Training"})
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Seeds; each model is trained once with each.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/exams", "Folder for phantoms, records, runs and the table."
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 300, "Synthetic patients to train and to validate on.", lower_bound=20
)
_NUM_TEST = flags.DEFINE_integer(
    "num_test", 150, "Further patients, held out for the scores.", lower_bound=10
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 64, "Height and width of records and of the network's input, px.", lower_bound=32
)
_SLICE_SHARE = flags.DEFINE_float(
    "slice_share",
    0.1,
    "Share of the exams of the mixed set whose slices are labelled.",
    lower_bound=0,
    upper_bound=1,
)
_POOLS = flags.DEFINE_list(
    "pools", ["attention"], "Pools; with each the network is trained on each set of labels."
)
_EPOCHS = flags.DEFINE_integer("epochs", 48, "Passes over the exams.", lower_bound=1)
_TRAIN_FLAGS = flags.DEFINE_list("train_flags", [], "More flags of ich_tf.train for all models.")

_ARMS = ("slices", "exams", "mixed")
_NAMES = {
    "slices": "labels of all slices",
    "exams": "labels of exams alone",
    "mixed": "labels of exams, slices of some",
}
_COLUMNS = (
    "pool",
    "labels",
    "seed",
    "exams: AUC of any",
    "exams: log loss",
    "slices: AUC of any",
    "slices read",
    "minutes",
)
# Bleeds that 64 px show. One study a patient. The recipe was chosen on patients of another seed.
_PHANTOMS = {
    "bleed_fraction": 0.5,
    "min_volume_ml": 10,
    "min_area_mm2": 60,
    "mimic_fraction": 0.25,
    "tilt_fraction": 0.25,
    "followup_fraction": 0,
    "test_fraction": 0,
    "matrix": 128,
    "seed": 25,
}
_RECIPE = (
    "--flagfile=@base",
    "--backbone=tools.exam_network:small",
    "--weights=none",
    "--slab=9",
    "--batch_size=8",
    "--learning_rate=2e-3",
    "--schedule=cosine",
    "--warmup_epochs=1",
    "--bn_momentum=0.9",
    "--flip",
    "--mixed_precision=float32",
    "--notensorboard",
)


def main() -> None:
    """Makes the records of each set of labels, trains and scores, and writes the table."""
    from ich_tf.models.own_backbones import VARIABLE
    from ich_tf.runtime.files import write_text

    # The scores are of a run whose network lies in tools/.
    os.environ[VARIABLE] = "tools.exam_network"

    out_dir = Path(_OUT_DIR.value)
    _make_records(out_dir)
    lines = [_row(_COLUMNS), _row(["---"] * 3 + ["---:"] * (len(_COLUMNS) - 3))]
    for seed in _SEEDS.value:
        for pool in _POOLS.value:
            for arm in _ARMS:
                work_dir = out_dir / f"{pool}-{arm}-{seed}"
                minutes = _train(out_dir / arm, work_dir, seed, pool)
                scores = _scores(out_dir / "slices", work_dir)
                lines.append(_row([pool, _NAMES[arm], seed, *scores, f"{minutes:.1f}"]))
                # The table so far: the next model takes minutes.
                print("\n".join(lines), flush=True)
                write_text(out_dir / "exams.md", "\n".join(lines) + "\n")


def _make_records(out_dir: Path) -> None:
    """Writes phantoms, and their records with each set of labels, in the same splits."""
    phantoms = out_dir / "phantoms"
    number = _NUM_PATIENTS.value + _NUM_TEST.value
    if not (phantoms / "stage_2_train.csv").is_file():
        settings = (f"--{name}={value}" for name, value in _PHANTOMS.items())
        run_step(
            "tools.make_phantoms",
            f"--out_dir={phantoms}",
            f"--num_patients={number}",
            "--overwrite",
            *settings,
        )
    slice_labels, exam_labels = phantoms / "stage_2_train.csv", out_dir / "exams.csv"
    some_slices = out_dir / "some_slices.csv"
    _convert(out_dir / "slices", f"--labels_csv={slice_labels}", number=number)
    _write_labels(out_dir / "slices", slice_labels, exam_labels, some_slices)
    for name, labels_csv in (("exams", ""), ("mixed", some_slices)):
        folder = out_dir / name
        folder.mkdir(exist_ok=True)
        # The same patients are held out, whatever their labels say.
        if not (folder / "splits.json").is_file():
            shutil.copy(out_dir / "slices" / "splits.json", folder)
        _convert(
            folder,
            f"--labels_csv={labels_csv}",
            f"--exam_labels_csv={exam_labels}",
            "--label_level=series",
            number=number,
        )


def _convert(folder: Path, *labels: str, number: int) -> None:
    run_step(
        "ich_tf.make_tfrecords",
        f"--dicom_dir={folder.parent / 'phantoms' / 'stage_2_train'}",
        f"--out_dir={folder}",
        f"--image_size={_IMAGE_SIZE.value}",
        f"--test_fraction={_NUM_TEST.value / number}",
        "--num_folds=6",
        "--shard_mb=8",
        "--encoding=raw",
        *labels,
    )


def _write_labels(records: Path, slice_labels: Path, exam_labels: Path, some_slices: Path) -> None:
    """Writes the labels of exams that follow from the slices', and the slices of some exams."""
    import numpy as np

    from ich_tf.labels import CLASSES
    from ich_tf.records.exam_labels import exam_of_slices
    from ich_tf.records.example import decode
    from ich_tf.records.manifest import Manifest
    from ich_tf.records.tfrecord import read_records

    series: dict[str, dict[str, Sequence[int]]] = {}
    for shard in Manifest.load(records).shards:
        for record in map(decode, read_records(shard.path)):
            series.setdefault(record.series_key, {})[record.source_id] = record.labels
    rows = (
        [key, *exam_of_slices(np.array(list(series[key].values()))).astype(int).tolist()]
        for key in sorted(series)
    )
    _write_csv(exam_labels, [["series", *CLASSES], *rows])
    rng = np.random.default_rng(7)
    keys = rng.permutation(sorted(series))[: round(_SLICE_SHARE.value * len(series))]
    kept = {source_id for key in keys.tolist() for source_id in series[key]}
    with slice_labels.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    rows = (line for line in lines if line[0].rpartition("_")[0] in kept)
    _write_csv(some_slices, [header, *rows])


def _write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def _train(records: Path, work_dir: Path, seed: str, pool: str) -> float:
    """Trains, and returns the minutes that it took, over all sittings."""
    from ich_tf.runtime.files import read_json, write_json

    path = work_dir / "minutes.json"
    earlier = float(read_json(path)) if path.is_file() else 0.0
    start = time.monotonic()
    run_step(
        "ich_tf.train",
        *_RECIPE,
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        f"--seed={seed}",
        f"--image_size={_IMAGE_SIZE.value}",
        f"--sequence={pool}",
        f"--epochs={_EPOCHS.value}",
        *_TRAIN_FLAGS.value,
    )
    minutes = earlier + (time.monotonic() - start) / 60
    write_json(path, minutes)
    return minutes


def _scores(records: Path, work_dir: Path) -> list[str]:
    """Cells of the table for a model, by the slices and exams of the test split."""
    import numpy as np
    import pandas as pd

    from ich_tf.inference.postprocessing.smoothing import rows_of
    from ich_tf.inference.series_predictor import load_predictor
    from ich_tf.labels import ANY
    from ich_tf.metrics import roc_auc, sigmoid, weighted_log_loss
    from ich_tf.models.run_files import HISTORY
    from ich_tf.records.manifest import Manifest
    from ich_tf.runtime.strategies import make_strategy

    predictor = load_predictor(work_dir, make_strategy("one"))
    slices = predictor.predict_split(Manifest.load(records), "test", 64)
    first = [rows[0] for rows in rows_of(slices.series_key).values()]
    assert slices.series_logits is not None, "a pool gives them"
    exams, logits = slices.exam_labels[first], slices.series_logits[0, first]
    history = pd.read_csv(work_dir / HISTORY)
    read = int(np.rint((history["seconds"] * history["slices_per_second"]).sum()))
    return [
        f"{roc_auc(exams[:, ANY], logits[:, ANY]):.4f}",
        f"{weighted_log_loss(exams, sigmoid(logits)):.4f}",
        f"{roc_auc(slices.labels[:, ANY], slices.logits[:, ANY]):.4f}",
        f"{read:,}",
    ]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    command.run(main, __doc__)
