"""Notes scores of shared weights on their card: of the weights themselves, or of a run from them.

  python -m tools.note_score --weights_dir=F --work_dir=RUN --data="66 patients of site A" --real

RUN must have been evaluated, and must be a copy of the weights' folder or have started from them:
others' scores are refused. The card then says on whom the scores were measured, and how the weights
were trained further.

Exit codes: 0 done; 1 the run is another's, or a file is missing; 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from ich_tf.runtime import command

command.add_headings({"weights_dir": "Weights and scores"})
_WEIGHTS = command.define_path(
    "weights_dir", "runs/pretrained", "Folder of the weights and their card."
)
_WORK_DIR = command.define_path("work_dir", "runs/mine", "Folder of the run that was evaluated.")
_SPLIT = flags.DEFINE_string("split", "test", "Name of the folder in --work_dir/evaluation.")
_DATA = flags.DEFINE_string("data", "", "Description of the patients, for the card; needed.")
_REAL = flags.DEFINE_bool("real", False, "Whether they are real patients.")


def main() -> None:
    """Adds the scores of an evaluation to the card, and prints what the card claims now."""
    from ich_tf.errors import InputError, UsageError
    from ich_tf.models.origins import read_origin
    from ich_tf.models.run_files import BEST_WEIGHTS, CARD
    from ich_tf.models.shared_weights import read_card
    from ich_tf.runtime.files import file_sha256
    from tools.weights_card import add_scores, scores_of

    if not _DATA.value.strip():
        raise UsageError("--data is empty. Give a description of the patients, in a few words.")
    folder, work_dir = Path(_WEIGHTS.value), Path(_WORK_DIR.value)
    card = read_card(folder)
    if card is None:
        raise InputError(f"{folder}: has no {CARD}. Give the folder that tools.pretrain made.")
    origin = read_origin(work_dir)
    if not (work_dir / BEST_WEIGHTS).is_file():
        raise InputError(f"{work_dir}: has no {BEST_WEIGHTS}. Give the run that was evaluated.")
    sha256 = file_sha256(work_dir / BEST_WEIGHTS)
    if sha256 == card.weights_sha256:
        task = "as they are"
    elif card.weights_sha256 in [before.weights_sha256 for before in origin.ancestors]:
        trained = sum(len(ids) for fold, ids in origin.folds.items() if fold != origin.held_out)
        task = f"trained further on {trained} patients"
    else:
        raise InputError(
            f"{work_dir}: neither holds the weights of {folder} nor started from them, so that its "
            "scores are not theirs. Give a run with --weights of that folder."
        )
    scores = scores_of(
        work_dir / "evaluation" / _SPLIT.value / "metrics.json",
        _DATA.value.strip(),
        f"python -m ich_tf.evaluate --work_dir={work_dir} --split={_SPLIT.value}",
        is_real=_REAL.value,
        task=task,
        weights_sha256=sha256,
    )
    print(add_scores(folder, card, scores).claim)


if __name__ == "__main__":
    command.run(main, __doc__)
