"""Compares models by how many slices of a series they see, on synthetic patients.

  python -m tools.compare_context --seeds=0,1,2

Trains slice models with 1 and with 3 slices at once on phantoms whose hemorrhages are near the
noise, extracts their features out of fold, trains a model over the series, and writes a table of
the losses on held-out patients: a column a seed, a row a model. Averages over the folds' networks
are compared with each other, single networks with each other. The results say nothing about real
CT. The same command continues an interrupted comparison.

Exit codes: 0 done; 1 a step failed; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ich_tf.runtime import command
from tools.steps import make_records, run_step

command.add_headings({"seeds": "Comparison", "train_flags": "Training"})
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of the trainings, one column each.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/context", "Folder for phantoms, records, runs and the table."
)
_TRAIN_FLAGS = flags.DEFINE_list("train_flags", [], "More flags of ich_tf.train for slice models.")
_SERIES_FLAGS = flags.DEFINE_list(
    "series_flags", [], "More flags of ich_tf.train for models over series."
)

_ROWS = (
    "one slice, one network",
    "three neighbours, one network",
    "one slice, mean of the folds' networks",
    "these, smoothed",
    "these, smoothed and calibrated",
    "series models, mean of the folds'",
    "these, calibrated",
)


def main() -> None:
    """Makes the records, trains and evaluates for each seed, and writes the table."""
    from ich_tf.runtime.files import write_text

    out_dir = Path(_OUT_DIR.value)
    records = make_records(
        out_dir,
        "configs/context_phantoms.flags",
        "--num_folds=3",
        "--test_fraction=0.3",
    )
    columns = []
    for seed in _SEEDS.value:
        columns.append(_losses(records, out_dir / f"seed-{seed}", seed))
        seeds = _SEEDS.value[: len(columns)]
        lines = [
            "| weighted log loss | " + " | ".join(f"seed {name}" for name in seeds) + " | mean |",
            "| --- |" + " ---: |" * (len(columns) + 1),
        ]
        for number, row in enumerate(_ROWS):
            values = [column[number] for column in columns]
            cells = [*values, sum(values) / len(values)]
            lines.append(f"| {row} | " + " | ".join(f"{loss:.4f}" for loss in cells) + " |")
        # The table so far: the next seed may take an hour.
        print("\n".join(lines), flush=True)
        write_text(out_dir / "context.md", "\n".join(lines) + "\n")


def _losses(records: Path, folder: Path, seed: str) -> list[float]:
    """Losses on held-out patients of one seed, in the order of `_ROWS`."""
    data = f"--data_dir={records}"
    recipe = ("--flagfile=configs/demo.flags", data, f"--seed={seed}", *_TRAIN_FLAGS.value)
    folds, wide, features = folder / "folds", folder / "neighbours", folder / "features"
    run_step("ich_tf.train", *recipe, f"--work_dir={folds}", "--validation_fold=all")
    run_step("ich_tf.train", *recipe, f"--work_dir={wide}", "--neighbours=3")
    run_step("ich_tf.extract_features", data, f"--work_dir={folds}", f"--out_dir={features}")
    series = folder / "series"
    run_step(
        "ich_tf.train",
        "--flagfile=configs/context_series.flags",
        f"--data_dir={features}",
        f"--work_dir={series}",
        f"--seed={seed}",
        "--validation_fold=all",
        *_SERIES_FLAGS.value,
    )
    losses = [
        _evaluate(records, folds / "fold-0", "plain"),
        _evaluate(records, wide, "plain"),
        _evaluate(records, folds, "plain"),
    ]
    # Smoothing alone, with its best width; then the best smoothing and calibration.
    for name, method in (("smoothed", "none"), ("calibrated", "auto")):
        run_step("ich_tf.calibrate", data, f"--work_dir={folds}", f"--method={method}")
        losses.append(_evaluate(records, folds, name))
    run_step("ich_tf.calibrate", data, f"--work_dir={series}")
    return [*losses, _evaluate(records, series, "plain"), _evaluate(records, series, "calibrated")]


def _evaluate(records: Path, work_dir: Path, name: str) -> float:
    """Evaluates a work dir, with its calibration unless `name` is `plain`; returns the loss."""
    from ich_tf.runtime.files import read_json

    out_dir = work_dir / "evaluation" / name
    run_step(
        "ich_tf.evaluate",
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        f"--out_dir={out_dir}",
        f"--calibrated={name != 'plain'}",
        "--bootstrap=0",
        "--noreport",
    )
    return float(read_json(out_dir / "metrics.json")["loss"])


if __name__ == "__main__":
    command.run(main, __doc__)
