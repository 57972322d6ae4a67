"""Seed ensembles: runs that differ in their seed alone, whose probabilities are averaged."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from ich_tf.evaluation.cross_validation import train_folds
from ich_tf.evaluation.fold import Fold, run_fold
from ich_tf.inference.ensemble import SEED, SEEDS, find_members, refuse_other_model
from ich_tf.models import run_files
from ich_tf.training.config import ALL_FOLDS, TrainConfig
from ich_tf.training.result import TrainResult

_LOG = logging.getLogger(__name__)


def train_seeds(config: TrainConfig) -> list[TrainResult]:
    """Trains a run with each of `seeds`, or with each the runs of all folds.

    The runs are `work_dir/seed-0` and so on, each in a process of its own; a second call continues
    where the first one stopped. `ensemble.find_members` takes all of them as one model.

    A script must call it below `if __name__ == "__main__":`, since the processes import the script.

    Args:
      config: Config of the runs; `seed` and `work_dir` are replaced for each.

    Returns:
      The result of each run, by seed and then by fold.

    Raises:
      InputError: If the folder holds a run itself, and as `trainer.train`; the runs of the seeds
        before it are kept.
      Terminated: After SIGTERM, once the state of the present run is saved.
    """
    work_dir = Path(config.work_dir)
    refuse_other_model(work_dir, SEEDS)
    results = []
    for seed in config.seeds:
        run = dataclasses.replace(
            config, seed=int(seed), seeds=(), work_dir=str(work_dir / f"{SEED}{int(seed)}")
        )
        _LOG.info("seed %s of %s: %s", seed, ", ".join(config.seeds), run.work_dir)
        if config.validation_fold == ALL_FOLDS:
            results += train_folds(run)
            continue
        fold = Fold(int(config.validation_fold), run, logging.getLogger().getEffectiveLevel())
        results.append(fold.result() or run_fold(fold))
    members = find_members(work_dir)
    taken, trained = ({Path(one.work_dir).resolve() for one in ones} for ones in (members, results))
    others = taken - trained
    if trained - taken:
        _LOG.warning(
            "%s: other commands do not take %s, which %s does not list: run calibrate again",
            *(work_dir, ", ".join(sorted(map(str, trained - taken))), run_files.ENSEMBLE),
        )
    if others:
        _LOG.warning(
            "%s: of the models that other commands take for it, %d are not of this command: %s. "
            "Move what does not belong to it elsewhere.",
            *(work_dir, len(others), ", ".join(sorted(str(other) for other in others))),
        )
    _LOG.info("%s: %d runs, of which other commands take the mean", work_dir, len(members))
    return results
