"""Compares options of training on synthetic patients: what is each worth, over several seeds?

  python -m tools.compare_options --seeds=0,1,2

Two tables: options of a training from random weights, and of a fine-tuning on a few patients, from
the weights of a run on others. Each row is a run with the flags of its first column beside the
first row's, on the same patients and with the same seeds; the interval of the mean difference is
Student's over the seeds. The tables say what a small network gains on phantoms, and nothing about
real CT. The same command continues an interrupted comparison.

Exit codes: 0 done; 1 a run failed; 2 wrong usage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command
from tools.steps import make_records

command.add_headings({"seeds": "Comparison", "backbone": "Training"})
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds; each row is trained once with each.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/options", "Folder for phantoms, records, runs and the tables."
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 80, "Number of synthetic patients of the first table.", lower_bound=20
)
_NUM_FEW = flags.DEFINE_integer(
    "num_few", 30, "Number of synthetic patients of the second table.", lower_bound=20
)
_BACKBONE = flags.DEFINE_string("backbone", "tiny", "Network.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 64, "Height and width of the network's input, px.", lower_bound=32
)
_EPOCHS = flags.DEFINE_integer("epochs", 6, "Passes over the training folds.", lower_bound=2)

_SCORES = "evaluation/test/metrics.json"
# Folder of the first row of a table.
_FIRST = "first"
# The flags of each row; the first is what the others are compared with.
FROM_RANDOM: tuple[dict[str, Any], ...] = (
    {},
    {"flip": True},
    {"shift": 0.06, "rotate": 10.0, "scale": 0.1},
    {"label_smoothing": 0.05},
    {"ema_decay": 0.98},
    {"schedule": "cosine", "warmup_epochs": 0.5},
)
FINE_TUNED: tuple[dict[str, Any], ...] = (
    {},
    {"weights": "none", "learning_rate": 3e-3},
    {"freeze_epochs": 2},
    {"head_lr_multiplier": 10.0},
    {"layer_decay": 0.1},
)


@dataclasses.dataclass(frozen=True)
class Row:
    """Losses of an option.

    Attributes:
      name: Its flags.
      losses: Loss on held-out patients with each seed.
    """

    name: str
    losses: tuple[float, ...]

    def cells(self, first: Row) -> str:
        """Mean and range of the losses, and their difference from the first row's."""
        low, high = min(self.losses), max(self.losses)
        mean = sum(self.losses) / len(self.losses)
        return f"| {self.name} | {mean:.4f} | {low:.4f} to {high:.4f} | {self._change(first)} |"

    def _change(self, first: Row) -> str:
        if self is first:
            return "| "
        import numpy as np
        from scipy.stats import t

        changes = np.subtract(self.losses, first.losses)
        mean, count = float(changes.mean()), len(changes)
        if count < 2:
            return f"{mean:+.4f} | one seed"
        half = float(t.ppf(0.975, count - 1) * changes.std(ddof=1) / count**0.5)
        verdict = "no clear difference" if abs(mean) <= half else "worse" if mean > 0 else "better"
        return f"{mean:+.4f} ± {half:.4f} | {verdict}"


def main() -> None:
    """Makes records, trains and evaluates every row, and writes the tables."""
    from ich_tf.runtime.files import write_text

    out_dir = Path(_OUT_DIR.value)
    patients = _records(out_dir / "patients", _NUM_PATIENTS.value, seed=0)
    few = _records(out_dir / "few", _NUM_FEW.value, seed=1)
    first = f"{_NUM_PATIENTS.value} patients, from random weights"
    tables = [*_table(first, FROM_RANDOM, patients, out_dir / "random", weights="none"), ""]
    start = out_dir / "random" / _FIRST / f"seed-{_SEEDS.value[0]}" / "best.weights.h5"
    second = f"{_NUM_FEW.value} patients, from the weights of the table above"
    tables += _table(second, FINE_TUNED, few, out_dir / "fine", weights=str(start))
    write_text(out_dir / "options.md", "\n".join(tables) + "\n")


def _records(folder: Path, num_patients: int, seed: int) -> Path:
    return make_records(
        folder,
        "configs/demo_phantoms.flags",
        "--test_fraction=0.4",
        num_patients=num_patients,
        seed=seed,
        matrix=128,
    )


def _table(
    heading: str, options: Sequence[dict[str, Any]], records: Path, out_dir: Path, weights: str
) -> Iterator[str]:
    """Trains the runs of a table, and yields and prints its lines as they come."""
    yield from _told(
        f"| {heading} | loss, mean | over the seeds | difference, 95 % interval | |",
        "| --- | ---: | --- | ---: | --- |",
    )
    first = None
    for changes in options:
        folder = out_dir / (_name(changes) or _FIRST)
        losses = [
            _loss(records, folder / f"seed-{seed}", int(seed), weights, changes)
            for seed in _SEEDS.value
        ]
        row = Row(f"`{_name(changes)}`" if changes else "none of these", tuple(losses))
        first = first or row
        yield from _told(row.cells(first))
    # The folder of the first row holds the runs of seeds, which are one model.
    mean, change = _evaluate(records, out_dir / _FIRST), 0.0
    if first is not None:
        change = mean - sum(first.losses) / len(first.losses)
    seeds = ",".join(_SEEDS.value)
    yield from _told(f"| `--seeds={seeds}`, one model | {mean:.4f} | | {change:+.4f} | |")


def _told(*lines: str) -> Iterator[str]:
    for line in lines:
        print(line, flush=True)
        yield line


def _name(changes: dict[str, Any]) -> str:
    return " ".join(
        f"--{name}" if value is True else f"--{name}={value}" for name, value in changes.items()
    )


def _loss(records: Path, work_dir: Path, seed: int, weights: str, changes: dict[str, Any]) -> float:
    """Trains a run unless it is finished, and returns its loss on held-out patients."""
    from ich_tf.runtime.keras2 import keras
    from ich_tf.training.config import TrainConfig
    from ich_tf.training.trainer import train

    values: dict[str, Any] = {
        "data_dir": str(records),
        "work_dir": str(work_dir),
        "seed": seed,
        "backbone": _BACKBONE.value,
        "weights": weights,
        "image_size": _IMAGE_SIZE.value,
        "batch_size": 16,
        "epochs": _EPOCHS.value,
        "learning_rate": 3e-3 if weights == "none" else 1e-3,
        # With so few steps the moving statistics must adapt faster than with 0.99.
        "bn_momentum": 0.9,
        "mixed_precision": "float32",
        "self_check": False,
        "tensorboard": False,
    }
    if not (work_dir / _SCORES).is_file():
        train(TrainConfig(**{**values, **changes}))
        keras.backend.clear_session()
    return _evaluate(records, work_dir)


def _evaluate(records: Path, work_dir: Path) -> float:
    """Loss of the model in a folder on held-out patients."""
    from ich_tf.evaluation.config import EvaluateConfig
    from ich_tf.evaluation.evaluate import evaluate
    from ich_tf.runtime.files import read_json

    if not (work_dir / _SCORES).is_file():
        evaluate(
            EvaluateConfig(data_dir=str(records), work_dir=str(work_dir), bootstrap=0, report=False)
        )
    return float(read_json(work_dir / _SCORES)["loss"])


if __name__ == "__main__":
    command.run(main, __doc__)
