"""Compares training on basic and on full phantoms, each scored on both.

  python -m tools.compare_realism --seeds=0,1

The same recipe learns from the same number of patients of either realism; the table holds the
losses and areas under the curve on held-out patients of both. It says what a realism teaches of
phantoms, and nothing about real CT. The same command continues an interrupted comparison.

Exit codes: 0 done; 1 a step failed; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ich_tf.runtime import command
from tools.steps import make_records, run_step

command.add_headings({"recipe": "Comparison"})
_RECIPE = flags.DEFINE_string("recipe", "demo", "Recipe: a file of configs/ without .flags.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1"], "Seeds; each model is trained once with each.")
_OUT_DIR = command.define_path(
    "out_dir", "runs/realism", "Folder for phantoms, records, runs and the table."
)
_NUM_PATIENTS = flags.DEFINE_integer(
    "num_patients", 90, "Number of synthetic patients of each realism.", lower_bound=10
)
_TRAIN_FLAGS = flags.DEFINE_list("train_flags", [], "More flags of ich_tf.train for all models.")

_REALISMS = ("basic", "full")


def main() -> None:
    """Makes both sets, trains on each, evaluates on both, and writes the table."""
    from ich_tf.runtime.files import write_text

    out_dir = Path(_OUT_DIR.value)
    records = {
        realism: make_records(
            out_dir / realism,
            "configs/demo_phantoms.flags",
            "--test_fraction=0.3",
            realism=realism,
            # Patients of different seeds have different ids: none was trained on in the other set.
            seed=seed,
            num_patients=_NUM_PATIENTS.value,
        )
        for seed, realism in enumerate(_REALISMS)
    }
    lines = [
        "| trained on | seed | loss on basic | AUC of any | loss on full | AUC of any |",
        "| --- |" + " ---: |" * 5,
    ]
    for seed in _SEEDS.value:
        for realism in _REALISMS:
            work_dir = out_dir / f"{realism}-{seed}"
            run_step(
                "ich_tf.train",
                f"--flagfile=configs/{_RECIPE.value}.flags",
                f"--data_dir={records[realism]}",
                f"--work_dir={work_dir}",
                f"--seed={seed}",
                *_TRAIN_FLAGS.value,
            )
            scores = [_scores(records[other], work_dir, other) for other in _REALISMS]
            cells = [text for loss, auc, _ in scores for text in (f"{loss:.4f}", f"{auc:.4f}")]
            lines.append(f"| {realism} | {seed} | {' | '.join(cells)} |")
            # The table so far: the next model may take minutes.
            print("\n".join(lines), flush=True)
    constants = [f"{constant:.4f} | 0.5000" for _, _, constant in scores]
    lines.append(f"| constant | | {' | '.join(constants)} |")
    print(lines[-1])
    write_text(out_dir / "realism.md", "\n".join(lines) + "\n")


def _scores(records: Path, work_dir: Path, name: str) -> tuple[float, float, float]:
    """Loss, area under the curve of any, and loss of the constant predictor, held out."""
    from ich_tf.runtime.files import read_json

    out_dir = work_dir / "evaluation" / name
    run_step(
        "ich_tf.evaluate",
        f"--data_dir={records}",
        f"--work_dir={work_dir}",
        f"--out_dir={out_dir}",
        "--nocalibrated",
        "--bootstrap=0",
        "--noreport",
    )
    scores = read_json(out_dir / "metrics.json")
    area = scores["levels"]["slice"]["classes"]["any"]["roc_auc"]["value"]
    return float(scores["loss"]), float(area), float(scores["constant_loss"])


if __name__ == "__main__":
    command.run(main, __doc__)
