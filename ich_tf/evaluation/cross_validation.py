"""Cross-validation: a run for each fold, and the predictions for the fold that it did not see."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from ich_tf import metrics
from ich_tf.evaluation.fold import Fold, run_fold
from ich_tf.inference.ensemble import FOLDS, refuse_other_model
from ich_tf.labels import CLASSES
from ich_tf.models.architectures import SERIES_BACKBONES
from ich_tf.models.origins import origin_of_weights
from ich_tf.records.feature_manifest import FeatureManifest
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.files import write_text
from ich_tf.training.config import TrainConfig
from ich_tf.training.leakage import refuse_seen
from ich_tf.training.result import TrainResult

OUT_OF_FOLD = "oof_predictions.csv"
_LOG = logging.getLogger(__name__)


def train_folds(config: TrainConfig) -> list[TrainResult]:
    """Trains a model for each fold, and predicts that fold with it.

    The runs are `work_dir/fold-0` and so on, each in a process of its own; a second call continues
    where the first one stopped. Then `work_dir/oof_predictions.csv` holds each slice of the folds
    once, with the columns of `result.predictions_table` and a column `fold`. Models over features
    get no such table: their slices are in another folder.

    A script must call it below `if __name__ == "__main__":`, since the processes import the script.

    Args:
      config: Config of the runs; `validation_fold` and `work_dir` are replaced for each.

    Returns:
      The result of each run, in the order of the folds.

    Raises:
      InputError: As `trainer.train`; the runs of the folds before it are kept.
      Terminated: After SIGTERM, once the state of the present fold is saved.
    """
    refuse_other_model(config.work_dir, FOLDS)
    is_series = config.backbone in SERIES_BACKBONES
    manifest = (FeatureManifest if is_series else Manifest).load(config.data_dir)
    folds = [Fold.of(config, number) for number in range(manifest.num_folds)]
    # Before the first one is trained: hours later another would be refused.
    start = origin_of_weights(config.weights)
    for fold in folds:
        refuse_seen(fold.config, manifest.patients, [start])
    results = []
    for fold in folds:
        _LOG.info("fold %d of %d: %s", fold.number + 1, len(folds), fold.work_dir)
        result = fold.result()
        if result is not None:
            _LOG.info("fold %d is finished: loss %.4f", fold.number, result.best_val_loss)
        results.append(result or run_fold(fold))
    if not is_series:
        tables = [pd.read_csv(fold.predictions_path).assign(fold=fold.number) for fold in folds]
        _write_table(
            Path(config.work_dir) / OUT_OF_FOLD,
            pd.concat(tables, ignore_index=True),
            "each predicted by the model that did not see its patient"
            if start.exposure((), patient_keys=manifest.patient_keys).is_known
            else f"each predicted by a model that started from {start.describe()}",
        )
    return results


def _write_table(path: Path, predictions: pd.DataFrame, by_whom: str) -> None:
    write_text(path, predictions.to_csv(index=False), is_private=True)
    labels = predictions[[f"label_{name}" for name in CLASSES]].to_numpy(np.float64)
    if np.isnan(labels).all():
        _LOG.info("%s: %d slices, %s; none is labelled", path, len(predictions), by_whom)
        return
    loss = metrics.known_log_loss(labels, predictions[list(CLASSES)].to_numpy(np.float64))
    _LOG.info("%s: %d slices, %s: loss %.4f", path, len(predictions), by_whom, loss)
