"""The epochs of a run: train, validate, save the best weights and a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf import metrics
from ich_tf.errors import InputError, Terminated
from ich_tf.metrics.known_labels import all_hard
from ich_tf.models import run_files, saved
from ich_tf.records.input_pipeline import read_batches
from ich_tf.runtime.sigterm import Interruption
from ich_tf.runtime.strategies import split_batch, sum_over_workers
from ich_tf.training.checkpoints import RunProgress, TrainingState
from ich_tf.training.config import TrainConfig
from ich_tf.training.epoch import check_skipped, divergence, run_epoch
from ich_tf.training.fine_tuning import Freezing
from ich_tf.training.hardware import Hardware
from ich_tf.training.history import EpochResult
from ich_tf.training.known_validation import known_losses, known_sums
from ich_tf.training.run_log import RunLog
from ich_tf.training.self_check import check_step
from ich_tf.training.step import TrainingStep
from ich_tf.training.task import Task, Validate
from ich_tf.training.tracker import TrackEpoch
from ich_tf.training.weight_check import WeightCheck

_LOG = logging.getLogger(__name__)
_STEPS_BETWEEN_LOGS = 50


class RetracedError(InputError):
    """A step was compiled more often than its shapes explain."""


@dataclasses.dataclass
class TrainingLoop:
    """The epochs of one run in one process.

    Attributes:
      config: Config of the run.
      task: Data and model, dealt to this worker.
      hardware: Devices of the run.
      step: Optimizer step of the model.
      freezing: Layers of it that rest in the first epochs.
      validate: Function that predicts the validation slices.
      state: State of the run, restored if the run continues.
      history: Results of the epochs that are finished.
      log: Log of the run.
      track: Function to call with the row of each epoch, for the user's tracker.
      folder: Folder for the best weights: the work dir, or a temporary one if this worker is not
        the chief.
      interruption: Tells whether SIGTERM was received.
    """

    config: TrainConfig
    task: Task
    hardware: Hardware
    step: TrainingStep
    freezing: Freezing
    validate: Validate
    state: TrainingState
    history: list[EpochResult]
    log: RunLog
    track: TrackEpoch
    folder: Path
    interruption: Interruption

    def __post_init__(self) -> None:
        self._check_weights = WeightCheck(self.step.model, self.hardware.strategy)

    @property
    def progress(self) -> RunProgress:
        """How far the run has come."""
        return self.state.progress

    def run(self) -> None:
        """Trains the epochs that are left.

        Raises:
          DivergenceError: If the loss becomes infinite or NaN.
          SelfCheckError: If replicas or compiled code do not compute what they should.
          Terminated: After SIGTERM, once the state is saved.
        """
        config, progress = self.config, self.progress
        if progress.epoch >= config.epochs:
            _LOG.info("%s: finished, %d epochs", config.work_dir, progress.epoch)
        elif progress.epoch or progress.step:
            _LOG.info(
                "%s: continuing after %d epochs and %d of %d steps",
                *(config.work_dir, progress.epoch, progress.step, self.task.steps),
            )
        self.freezing.follow(progress)
        if config.self_check and progress.epoch < config.epochs:
            self._check_step()
        while progress.epoch < config.epochs and not self._is_out_of_patience():
            self._train_epoch()
            self._finish_epoch()
        _LOG.info(
            "best validation loss %.4f, epoch %d: %s",
            *(progress.best_loss, progress.best_epoch),
            Path(config.work_dir) / run_files.BEST_WEIGHTS,
        )

    def _check_step(self) -> None:
        """Compares replicas with one device and XLA with none, on the epoch's first batch."""
        if self.hardware.worker.count > 1:
            _LOG.info("self-check: not over several workers")
            return
        batch = next(read_batches(self.task.batches(self.progress.epoch, 0).take(1)))
        differences = check_step(
            self.step,
            self.hardware.strategy,
            *split_batch(self.hardware.strategy, *batch),
            precision=self.hardware.precision.value,
            xla=self.hardware.xla.value,
        )
        references = {"replicas": "one device's", "xla": "those without XLA"}
        for name, difference in differences.items():
            _LOG.info(
                "self-check: gradients differ from %s by %.1e of their norm",
                *(references[name], difference),
            )

    def _train_epoch(self) -> None:
        progress = self.progress
        if progress.step == self.task.steps:
            return
        self.freezing.follow(progress)
        run_epoch(
            self.step,
            self.hardware.strategy,
            self.task.batches(progress.epoch, progress.step),
            progress,
            self.task.steps,
            per_execution=self.config.steps_per_execution,
            pause_every=self.config.checkpoint_steps,
            pause=self._pause,
            should_pause=self._must_stop,
            on_losses=self._log_losses,
        )
        # One trace for whole executions, and one for the steps that are left over.
        expected = 1 + (self.config.steps_per_execution > 1)
        if self.step.traces > expected:
            raise RetracedError(
                f"the step was compiled {self.step.traces} times; expected {expected}. Shapes "
                "change between batches; please report it with config.json."
            )

    def _must_stop(self) -> bool:
        if self.interruption.requested and self.hardware.worker.count > 1:
            # The other workers are not at this step: nobody can save now.
            raise Terminated("Terminated; the last checkpoint stands.")
        return self.interruption.requested

    def _pause(self) -> None:
        """Saves the state, and ends the run after SIGTERM."""
        progress = self.progress
        check_skipped(self.step, progress.epoch + 1)
        flaws = self._check_weights()
        if flaws.not_finite:
            problem = f"{flaws.not_finite[0]} holds a value that is not finite"
            raise divergence(problem, progress.epoch + 1)
        flaws.require_equal()
        self.state.save()
        if self._must_stop():
            raise Terminated(
                f"Terminated after {progress.epoch} epochs and {progress.step} steps, all of them "
                "saved."
            )

    def _log_losses(self, done: int, count: int, loss: float) -> None:
        """Logs the mean loss of `count` steps, once every `_STEPS_BETWEEN_LOGS` steps.

        Nothing is read from the devices, which are at the next step.
        """
        progress = self.progress
        step = progress.epoch * self.task.steps + done
        if step // _STEPS_BETWEEN_LOGS == (step - count) // _STEPS_BETWEEN_LOGS:
            return
        values = {"loss": loss, "learning_rate": self._learning_rate(step)}
        if progress.seconds:
            values["input_wait"] = progress.waited / progress.seconds
        self.log.step(step, values)

    def _finish_epoch(self) -> None:
        """Validates, logs, keeps the best weights, and saves the state."""
        progress, config = self.progress, self.config
        with self.step.averaged_weights():
            val_loss, per_class, constant_loss = self._validate()
            result = self._result(val_loss, per_class)
            if progress.finish_epoch(val_loss):
                saved.save_best(
                    self.folder,
                    self.step.model,
                    self.task.spec,
                    epoch=progress.epoch,
                    val_loss=val_loss,
                )
            if config.keep_epochs:
                saved.save_epoch(self.folder, self.step.model, progress.epoch)
        _LOG.info(
            "epoch %d of %d: loss %.4f; validation %.4f, the training prior %.4f; %.1f slices/s, "
            "waited for input %.1f %%",
            *(result.epoch, config.epochs, result.train_loss, val_loss, constant_loss),
            *(result.slices_per_second, 100 * result.input_wait),
        )
        self.history.append(result)
        if self.hardware.worker.is_chief:
            self.log.epoch(self.history, progress.epoch * self.task.steps, constant_loss)
        self.track(result.row())
        self.state.save()
        if self._must_stop():
            raise Terminated(f"Terminated after {progress.epoch} epochs, all of them saved.")

    def _result(self, val_loss: float, per_class: list[float]) -> EpochResult:
        """The row of the history for the epoch whose steps are taken."""
        progress, steps = self.progress, self.task.steps
        seconds = max(progress.seconds, 1e-9)
        return EpochResult(
            epoch=progress.epoch + 1,
            learning_rate=self._learning_rate((progress.epoch + 1) * steps),
            train_loss=progress.loss_sum / steps,
            val_loss=val_loss,
            val_per_class=tuple(per_class),
            seconds=progress.seconds,
            slices_per_second=steps * self.task.slices_per_step / seconds,
            input_wait=progress.waited / seconds,
        )

    def _validate(self) -> tuple[float, list[float], float]:
        """Computes the validation losses of the model's present weights.

        Returns:
          Weighted log loss, log loss of each class, and weighted log loss of the constant training
          prior. Where labels may be unknown each class counts its known ones.
        """
        labels, logits = self.validate(self._until_terminated)
        if not np.isfinite(logits).all():
            raise divergence("a validation logit is not finite", self.progress.epoch + 1)
        probabilities = metrics.sigmoid(logits)
        strategy = self.hardware.strategy
        # Workers decide alike: what one of them does not know, all leave out. Where the rows are
        # not as many as the slices they are exams.
        checked = np.array([not all_hard(labels), len(labels)], np.float64)
        unknown, rows = sum_over_workers(strategy, checked).tolist()
        if unknown or rows != self.task.num_validation:
            sums = known_sums(labels, probabilities, self.task.prior)
            return known_losses(sum_over_workers(strategy, sums))
        constant = np.broadcast_to(self.task.prior, labels.shape)
        means = [
            metrics.weighted_log_loss(labels, probabilities),
            metrics.weighted_log_loss(labels, constant),
            *metrics.per_class_log_loss(labels, probabilities),
        ]
        shares = np.array(means) * len(labels) / self.task.num_validation
        totals = sum_over_workers(strategy, shares).tolist()
        loss, constant_loss, *per_class = totals
        return loss, per_class, constant_loss

    def _until_terminated(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            if self._must_stop():
                raise Terminated(
                    f"Terminated in the validation of epoch {self.progress.epoch + 1}; its steps "
                    "are saved."
                )
            yield batch

    def _is_out_of_patience(self) -> bool:
        progress, patience = self.progress, self.config.patience
        if not patience or progress.epoch - progress.best_epoch < patience or not progress.epoch:
            return False
        _LOG.info("stopping: no lower validation loss in %d epochs", patience)
        return True

    def _learning_rate(self, steps: int) -> float:
        """Learning rate of the last of the run's first `steps` steps."""
        return self.step.optimizer.schedule.rate_of(max(steps, 1) - 1)
