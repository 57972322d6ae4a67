"""A run a fold, one after the other, and what each model says of the fold it did not see."""

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
    """Trains a model for each fold, in `work_dir/fold-0` and so on, and predicts that fold with it.

    Run again, it goes on where it stopped. `work_dir/oof_predictions.csv` then holds each slice
    of the folds once, as `evaluation.predictions_table`, with a column `fold`; not of models over
    features, whose slices lie elsewhere.

    Raises:
      InputError: As `trainer.train`; the folds before stand.
    """
    of_series = config.backbone in SERIES_BACKBONES
    num_folds = (FeatureManifest if of_series else Manifest).load(config.data_dir).num_folds
    strategy = make_strategy(config.strategy, config.cpu_replicas)
    results, tables = [], []
    for fold in range(num_folds):
        work_dir = Path(config.work_dir) / fold_name(fold)
        one = dataclasses.replace(config, validation_fold=str(fold), work_dir=str(work_dir))
        _LOG.info("fold %d of %d: %s", fold + 1, num_folds, work_dir)
        results.append(train(one, strategy))
        # The models of former folds would stay in memory.
        keras.backend.clear_session()
        if of_series:
            continue
        evaluated = EvaluateConfig(
            data_dir=config.data_dir,
            work_dir=str(work_dir),
            split=fold_name(fold),
            # A calibration is fitted on this very fold.
            calibrated=False,
            bootstrap=0,
            report=False,
        )
        evaluate(evaluated)
        table = pd.read_csv(evaluated.results_dir / "predictions.csv")
        tables.append(table.assign(fold=fold))
        keras.backend.clear_session()
    if of_series:
        return results
    predictions = pd.concat(tables, ignore_index=True)
    write_text(Path(config.work_dir) / OUT_OF_FOLD, predictions.to_csv(index=False))
    labels = predictions[[f"label_{name}" for name in CLASSES]].to_numpy(np.float64)
    loss = metrics.weighted_log_loss(labels, predictions[list(CLASSES)].to_numpy(np.float64))
    _LOG.info(
        "%s: %d slices, each by the model that did not see its patient: loss %.4f",
        *(Path(config.work_dir) / OUT_OF_FOLD, len(predictions), loss),
    )
    return results
