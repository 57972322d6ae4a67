"""A fold of a cross-validation: its run, then its predictions, in a process of their own.

A fold takes hundreds of MiB for graphs and compiled code, which TensorFlow gives back only as the
process ends. finished.json tells a later call that nothing of the fold is left to do.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from ich_tf.errors import ConfigError, InputError, Terminated
from ich_tf.evaluation.config import EvaluateConfig
from ich_tf.models import run_files
from ich_tf.models.architectures import SERIES_BACKBONES
from ich_tf.records.data_files import MANIFEST
from ich_tf.records.feature_manifest import FEATURE_MANIFEST
from ich_tf.records.splits import fold_name
from ich_tf.runtime.executors.worker import Worker, WorkerDied, message_of
from ich_tf.runtime.files import file_sha256, read_json, write_json
from ich_tf.runtime.logs import start_logging
from ich_tf.runtime.permissions import restrict
from ich_tf.runtime.sigterm import Interruption
from ich_tf.training.config import TrainConfig
from ich_tf.training.history import read_history
from ich_tf.training.result import TrainResult


@dataclass(frozen=True)
class Fold:
    """A fold's run.

    Attributes:
      number: Number of the fold, from 0.
      config: Config of the run, which is validated on the fold.
      log_level: Level of the log lines of its process.
    """

    number: int
    config: TrainConfig
    log_level: int = logging.WARNING

    @classmethod
    def of(cls, config: TrainConfig, number: int) -> Fold:
        """A fold of `--validation_fold=all`, in a folder of its name."""
        work_dir = Path(config.work_dir) / fold_name(number)
        config = dataclasses.replace(config, validation_fold=str(number), work_dir=str(work_dir))
        return cls(number, config, logging.getLogger().getEffectiveLevel())

    @property
    def work_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.config.work_dir)

    @property
    def has_table(self) -> bool:
        """Whether its predictions are written; the slices of features are in another folder."""
        return self.config.backbone not in SERIES_BACKBONES

    @property
    def predictions_path(self) -> Path:
        """Predictions for the fold by the model that did not see its patients."""
        return self.evaluation.results_dir / "predictions.csv"

    @property
    def evaluation(self) -> EvaluateConfig:
        """Config of the evaluation that writes them."""
        return EvaluateConfig(
            data_dir=self.config.data_dir,
            work_dir=self.config.work_dir,
            split=fold_name(self.number),
            # A calibration is fitted on this very fold.
            calibrated=False,
            bootstrap=0,
            report=False,
        )

    def result(self) -> TrainResult | None:
        """Reads the result of a fold that is finished; None if something is left to do."""
        try:
            content = read_json(self.work_dir / run_files.FINISHED)
            # As given: the run's own config.json holds the batch that batch_per_replica comes to.
            former = TrainConfig.from_json(json.dumps(content["config"]))
            is_same = content["files"] == self._files()
            best_epoch, best_val_loss = int(content["best_epoch"]), float(content["best_val_loss"])
        except (OSError, ConfigError, InputError, KeyError, TypeError, ValueError):
            return None
        # An extended run is one that another number of epochs ended.
        config = dataclasses.replace(self.config, extend=False)
        if config.overwrite or config.differences(former) or not is_same:
            return None
        history = read_history(self.work_dir / run_files.HISTORY)
        return TrainResult(self.work_dir, best_epoch, best_val_loss, tuple(history))

    def finish(self, result: TrainResult) -> None:
        """Notes that nothing is left to do."""
        content = {
            "config": dataclasses.asdict(self.config),
            "best_epoch": result.best_epoch,
            "best_val_loss": result.best_val_loss,
            "files": self._files(),
        }
        write_json(self.work_dir / run_files.FINISHED, content)

    def _files(self) -> dict[str, str]:
        """Hashes of what the fold was made of, and of what it made."""
        data_dir = Path(self.config.data_dir)
        paths = {
            "data": data_dir / (MANIFEST if self.has_table else FEATURE_MANIFEST),
            "weights": self.work_dir / run_files.BEST_WEIGHTS,
            "history": self.work_dir / run_files.HISTORY,
        }
        if self.has_table:
            paths["predictions"] = self.predictions_path
        return {name: file_sha256(path) for name, path in paths.items()}


def run_fold(fold: Fold) -> TrainResult:
    """Trains and predicts a fold in a process that ends with this one.

    SIGTERM is passed on, so that the run saves its progress.

    Raises:
      Terminated: After SIGTERM.
      InputError: If the process died.
      Exception: What the run raised.
    """
    worker = Worker()
    try:
        with Interruption(worker.terminate) as interruption:
            worker.send(message_of(_work, [fold]))
            # It may have come while there was no process yet.
            if interruption.requested:
                worker.terminate()
            try:
                (result,) = worker.receive()
            except WorkerDied as death:
                if interruption.requested:
                    raise Terminated(
                        f"Terminated in fold {fold.number}; what was saved before stands."
                    ) from death
                raise InputError(
                    f"{fold.work_dir}: the process of fold {fold.number} died (code "
                    f"{death.code}): it ran out of memory, was killed, or a library crashed. The "
                    "folds before it and its last checkpoint are kept: run the same command again."
                ) from death
        if interruption.requested:
            raise Terminated(f"Terminated after fold {fold.number}, which is finished.")
    finally:
        worker.close()
    assert isinstance(result, TrainResult)
    return result


def _work(fold: Fold) -> TrainResult:
    """Trains and predicts a fold. Runs in the process."""
    start_logging(fold.log_level)
    from ich_tf.evaluation.evaluate import evaluate
    from ich_tf.training.trainer import train

    result = train(fold.config)
    if fold.has_table:
        # A run's files are for whoever may use its model; these list patients.
        restrict("owner")
        evaluate(fold.evaluation)
    fold.finish(result)
    return result
