"""Measures a segmenter beside a classifier of the same training, on synthetic patients.

  python -m tools.compare_segmentation --seeds=0,1

Both are trained from random weights on the same patients with the same flags and seeds. The first
table holds, of test patients that neither training nor calibration saw: the loss of slices, and
Dice and volumes of `any`, of the series with a bleed. What follows compares the masks of each
segmenter with the heat maps of the classifier beside it. All of it is of phantoms, and says nothing
about real CT. The same command continues an interrupted comparison.

Exit codes: 0 done; 1 a step failed; 2 wrong usage.
"""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ich_tf.labels import ANY, CLASSES
from ich_tf.runtime import command
from tools.steps import make_records, run_step

command.add_headings({"seeds": "Comparison", "image_size": "Training"})
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Seeds; each model is trained once with each.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/segmentation", "Folder for phantoms, records, runs and the table."
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 200, "Number of synthetic patients; a fifth is for the test.", lower_bound=20
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size",
    96,
    "Height and width of the records and of the network's input, px.",
    lower_bound=32,
)
_EPOCHS = flags.DEFINE_integer("epochs", 7, "Passes over the training folds.", lower_bound=1)
_TRAIN_FLAGS = flags.DEFINE_list("train_flags", [], "More flags of ich_tf.train for both models.")

_MODELS: dict[str, list[str]] = {"classifier": [], "segmenter": ["--segmentation"]}
_LARGE_ML = 10.0
# Heat maps of all slices would take longer than the training.
_MAX_SLICES = 200
_CPU_MINUTES = "cpu_minutes.json"
_COLUMNS = (
    "model",
    "seed",
    "CPU minutes",
    "loss of slices",
    "Dice",
    f"Dice from {_LARGE_ML:g} ml",
    "median volume error",
    "median, uncalibrated",
)


def main() -> None:
    """Makes the records, trains and evaluates every model, and writes the table."""
    from ich_tf.runtime.files import write_text

    out_dir = Path(_OUT_DIR.value)
    records = make_records(
        out_dir,
        "configs/demo_phantoms.flags",
        f"--masks_dir={out_dir / 'phantoms' / 'stage_2_train_masks'}",
        "--test_fraction=0.2",
        f"--image_size={_IMAGE_SIZE.value}",
        num_patients=_NUM_PATIENTS.value,
        test_fraction=0,
        min_volume_ml=2,
    )
    lines = [_row(_COLUMNS), _row(["---"] + ["---:"] * (len(_COLUMNS) - 1))]
    for seed in _SEEDS.value:
        for model, options in _MODELS.items():
            work_dir = out_dir / f"{model}-{seed}"
            _train(records, work_dir, seed, options)
            lines.append(_row([model, seed, *_scores(work_dir)]))
            # The table so far: the next model may take half an hour.
            print("\n".join(lines), flush=True)
        run_step(
            "tools.compare_masks",
            f"--data_dir={records}",
            f"--work_dir={out_dir / f'segmenter-{seed}'}",
            f"--heat_maps_of={out_dir / f'classifier-{seed}'}",
            f"--max_slices={_MAX_SLICES}",
        )
    write_text(out_dir / "segmentation.md", "\n".join(lines) + "\n")


def _train(records: Path, work_dir: Path, seed: str, options: Sequence[str]) -> None:
    """Trains, evaluates before and after calibration; what an earlier call has done is kept."""
    from ich_tf.runtime.files import read_json, write_json

    before = _cpu_s()
    run_step(
        "ich_tf.train",
        "--flagfile=configs/demo.flags",
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        f"--seed={seed}",
        f"--image_size={_IMAGE_SIZE.value}",
        f"--epochs={_EPOCHS.value}",
        *options,
        *_TRAIN_FLAGS.value,
    )
    # An interrupted training is paid for in parts.
    path = work_dir / _CPU_MINUTES
    earlier = read_json(path) if path.is_file() else 0.0
    write_json(path, earlier + (_cpu_s() - before) / 60)
    places = [f"--data_dir={records}", f"--work_dir={work_dir}"]
    run_step("ich_tf.calibrate", *places)
    run_step("ich_tf.evaluate", *places, "--noreport")
    run_step(
        "ich_tf.evaluate", *places, "--noreport", "--nocalibrated",
        f"--out_dir={work_dir / 'evaluation' / 'uncalibrated'}",
    )  # fmt: skip


def _scores(work_dir: Path) -> list[str]:
    """Cells of the table for a model."""
    import pandas as pd

    from ich_tf.runtime.files import read_json

    evaluation = work_dir / "evaluation"
    minutes = read_json(work_dir / _CPU_MINUTES)
    loss = read_json(evaluation / "uncalibrated" / "metrics.json")["loss"]
    cells = [f"{minutes:.0f}", f"{loss:.4f}"]
    if not (evaluation / "test" / "masks.csv").is_file():
        return [*cells, *["-"] * (len(_COLUMNS) - 2 - len(cells))]
    bleeds = []
    for name in ("test", "uncalibrated"):
        table = pd.read_csv(evaluation / name / "masks.csv")
        bleeds.append(table[(table["class"] == CLASSES[ANY]) & (table["reference_ml"] > 0)])
    dice = bleeds[0]["dice"]
    large = dice[bleeds[0]["reference_ml"] >= _LARGE_ML]
    errors = [(table["predicted_ml"] / table["reference_ml"] - 1).abs() for table in bleeds]
    return [
        *cells,
        f"{dice.mean():.3f} ({len(dice)})",
        f"{large.mean():.3f} ({len(large)})",
        *(f"{error.median():.1%}" for error in errors),
    ]


def _cpu_s() -> float:
    """CPU time of the steps that have ended, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    command.run(main, __doc__)
