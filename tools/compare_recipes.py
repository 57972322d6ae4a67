"""Compares training recipes of configs/ on synthetic patients, at a size for small machines.

  python -m tools.compare_recipes --recipes=resnet50,resnet50_strong --seeds=0,1

Every recipe keeps its flags except --weights, --image_size, --batch_size, --epochs and
--bn_momentum, which are equal for all, so that all see the same number of slices. The table holds
the losses on held-out patients. It ranks recipes on phantoms, and says nothing about real CT. The
same command continues an interrupted comparison.

Exit codes: 0 done; 1 a step failed; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ich_tf.runtime import command
from tools.steps import make_records, run_step

command.add_headings({"recipes": "Comparison", "image_size": "Training"})
_RECIPES = flags.DEFINE_list(
    "recipes",
    ["resnet50", "resnet50_strong", "efficientnet_b4", "efficientnet_b4_strong"],
    "Recipes to compare: names of files in configs/ without .flags.",
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Seeds; each recipe is trained once with each.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/recipes", "Folder for phantoms, records, runs and the table."
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 150, "Number of synthetic patients.", lower_bound=10
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 96, "Height and width of the network's input, px.", lower_bound=32
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Slices of an optimizer step.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 6, "Passes over the training folds.", lower_bound=1)
_TRAIN_FLAGS = flags.DEFINE_list("train_flags", [], "More flags of ich_tf.train for all recipes.")


def main() -> None:
    """Makes the records, trains and evaluates every recipe, and writes the table."""
    from ich_tf.runtime.files import read_json, write_text

    out_dir = Path(_OUT_DIR.value)
    records = make_records(
        out_dir,
        "configs/demo_phantoms.flags",
        "--test_fraction=0.2",
        num_patients=_NUM_PATIENTS.value,
    )
    lines = [
        "| recipe | " + " | ".join(f"seed {seed}" for seed in _SEEDS.value) + " | constant |",
        "| --- |" + " ---: |" * (len(_SEEDS.value) + 1),
    ]
    for recipe in _RECIPES.value:
        losses = []
        for seed in _SEEDS.value:
            work_dir = out_dir / f"{recipe}-{seed}"
            _train(recipe, seed, records, work_dir)
            scores = read_json(work_dir / "evaluation" / "test" / "metrics.json")
            losses.append(f"{scores['loss']:.4f}")
        lines.append(f"| {recipe} | {' | '.join(losses)} | {scores['constant_loss']:.4f} |")
        # The table so far: the next recipe may take an hour.
        print("\n".join(lines), flush=True)
    write_text(out_dir / "recipes.md", "\n".join(lines) + "\n")


def _train(recipe: str, seed: str, records: Path, work_dir: Path) -> None:
    run_step(
        "ich_tf.train",
        f"--flagfile=configs/{recipe}.flags",
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        f"--seed={seed}",
        "--weights=none",
        f"--image_size={_IMAGE_SIZE.value}",
        f"--batch_size={_BATCH_SIZE.value}",
        f"--epochs={_EPOCHS.value}",
        # With so few steps the moving statistics must adapt faster than with 0.99.
        "--bn_momentum=0.9",
        *_TRAIN_FLAGS.value,
    )
    run_step("ich_tf.evaluate", f"--data_dir={records}", f"--work_dir={work_dir}", "--noreport")


if __name__ == "__main__":
    command.run(main, __doc__)
