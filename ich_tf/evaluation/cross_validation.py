"""Cross-validation: a run for each fold, and the predictions for the fold that it did not see."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from ich_tf import metrics
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.evaluation.evaluate import evaluate
from ich_tf.labels import CLASSES
from ich_tf.models.architectures import SERIES_BACKBONES
from ich_tf.records.feature_manifest import FeatureManifest
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import write_text
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import make_strategy
from ich_tf.training.config import TrainConfig
from ich_tf.training.trainer import TrainResult, train

OUT_OF_FOLD = "oof_predictions.csv"
_LOG = logging.getLogger(__name__)


def train_folds(config: TrainConfig) -> list[TrainResult]:
    """Trains a model for each fold, and predicts that fold with it.

    The runs are `work_dir/fold-0` and so on; a second call continues where the first one stopped.
    Then `work_dir/oof_predictions.csv` holds each slice of the folds once, with the columns of
    `result.predictions_table` and a column `fold`. Models over features get no such table: their
    slices are in another folder.

    Args:
      config: Config of the runs; `validation_fold` and `work_dir` are replaced for each.

    Returns:
      The result of each run, in the order of the folds.

    Raises:
      InputError: As `trainer.train`; the runs of the folds before it are kept.
    """
    has_table = config.backbone not in SERIES_BACKBONES
    num_folds = (Manifest if has_table else FeatureManifest).load(config.data_dir).num_folds
    strategy = make_strategy(config.strategy, config.cpu_replicas)
    results, tables = [], []
    for fold in range(num_folds):
        work_dir = Path(config.work_dir) / fold_name(fold)
        fold_config = dataclasses.replace(config, validation_fold=str(fold), work_dir=str(work_dir))
        _LOG.info("fold %d of %d: %s", fold + 1, num_folds, work_dir)
        results.append(train(fold_config, strategy))
        # The models of former folds would stay in memory.
        keras.backend.clear_session()
        if has_table:
            tables.append(_predict_fold(config.data_dir, work_dir, fold))
            keras.backend.clear_session()
    if has_table:
        _write_table(Path(config.work_dir) / OUT_OF_FOLD, pd.concat(tables, ignore_index=True))
    return results


def _predict_fold(data_dir: str, work_dir: Path, fold: int) -> pd.DataFrame:
    """The predictions of a run for its validation fold, with a column `fold`."""
    config = EvaluateConfig(
        data_dir=data_dir,
        work_dir=str(work_dir),
        split=fold_name(fold),
        # A calibration is fitted on this very fold.
        calibrated=False,
        bootstrap=0,
        report=False,
    )
    evaluate(config)
    return pd.read_csv(config.results_dir / "predictions.csv").assign(fold=fold)


def _write_table(path: Path, predictions: pd.DataFrame) -> None:
    write_text(path, predictions.to_csv(index=False))
    labels = predictions[[f"label_{name}" for name in CLASSES]].to_numpy(np.float64)
    loss = metrics.weighted_log_loss(labels, predictions[list(CLASSES)].to_numpy(np.float64))
    _LOG.info(
        "%s: %d slices, each predicted by the model that did not see its patient: loss %.4f",
        *(path, len(predictions), loss),
    )
