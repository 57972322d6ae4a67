"""A training run: epochs over replicas, validation, the best model, resume at any step."""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf import metrics
from ich_tf.errors import ConfigError, InputError, Terminated
from ich_tf.models import run_files, saved
from ich_tf.models.architectures import SERIES_BACKBONES
from ich_tf.records.input_pipeline import read_batches
from ich_tf.records.manifest import damage_named
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import choose_precision, choose_xla, devices_of, policy_scope
from ich_tf.runtime.sigterm import Interruption
from ich_tf.runtime.strategies import make_strategy, split_batch, sum_over_workers, worker_of
from ich_tf.training import checkpoints, run_log
from ich_tf.training.config import ALL_FOLDS, TrainConfig
from ich_tf.training.end_to_end_task import EndToEndTask
from ich_tf.training.epoch import check_skipped, divergence, run_epoch
from ich_tf.training.history import EpochResult, read_history
from ich_tf.training.optimizers import make_optimizer, make_schedule
from ich_tf.training.self_check import check_replicas, check_step
from ich_tf.training.series_task import SeriesTask
from ich_tf.training.slice_task import SliceTask
from ich_tf.training.step import TrainingStep
from ich_tf.training.task import Task

_LOG = logging.getLogger(__name__)
_STEPS_BETWEEN_LOGS = 50


class RetracedError(InputError):
    """A step was compiled more often than its shapes explain."""


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
      work_dir: Holds the files that `checkpoints` describes.
      best_epoch: Counted from 1.
      best_val_loss: The weighted log loss of the saved weights on the validation fold.
      history: An entry an epoch.
    """

    work_dir: Path
    best_epoch: int
    best_val_loss: float
    history: tuple[EpochResult, ...]


def train(config: TrainConfig, strategy: tf.distribute.Strategy | None = None) -> TrainResult:
    """Trains a classifier, or continues a run where its last checkpoint stands.

    Before anything of a former run is touched, data, config and weights have been checked.

    Args:
      config: Of the run; its `validation_fold` is a number (`cross_validation` trains all).
      strategy: For several runs in one process; None makes the config's.

    Raises:
      InputError: If the data, the work dir or the weights cannot be worked with.
      DivergenceError: If the loss becomes infinite or NaN; the work dir keeps the last checkpoint.
      SelfCheckError: If replicas or compiled code do not compute what they should.
      UsageError: If the strategy cannot be had.
      Terminated: After SIGTERM, once the state is saved.
    """
    if config.validation_fold == ALL_FOLDS:
        raise ConfigError("validation_fold is 'all'; it must be a fold's number for one run.")
    with Interruption() as interruption:
        run = _Run(config, strategy, interruption)
        try:
            with damage_named(run.task.shards):
                return run.train()
        finally:
            run.log.close()


def make_task(config: TrainConfig) -> Task:
    """What a config asks to be trained.

    Raises:
      InputError: If its data cannot be trained on.
    """
    if config.backbone in SERIES_BACKBONES:
        return SeriesTask(config)
    return SliceTask(config) if config.sequence == "none" else EndToEndTask(config)


class _Run:
    """One run in one process, from the data to the last epoch."""

    def __init__(
        self,
        config: TrainConfig,
        strategy: tf.distribute.Strategy | None,
        interruption: Interruption,
    ) -> None:
        self.config = config
        self.interruption = interruption
        self.task = make_task(config)
        data = self.task.data
        checkpoints.check_work_dir(config.work_dir, config, data)

        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.strategy = strategy or make_strategy(
            config.strategy, config.cpu_replicas, lambda: interruption.requested
        )
        self.worker = worker_of(self.strategy)
        choices = self._choose()
        precision, xla = choices["precision"], choices["xla"] == "on"
        self.task.deal(self.worker)
        self.steps = self.task.steps
        _LOG.info(
            "%s: %d slices to train on, %d to validate on (fold %s)",
            *(config.data_dir, self.task.num_train, self.task.num_validation),
            config.validation_fold,
        )

        keras.utils.set_random_seed(config.seed)
        with self.strategy.scope(), policy_scope(precision):
            self.model = self.task.build()
            self.optimizer = make_optimizer(config, self.steps, loss_scaling=precision == "float16")
        self.schedule = make_schedule(config, self.steps)
        self.step = TrainingStep(
            self.model,
            self.optimizer,
            self.strategy,
            batch_size=config.batch_size,
            seed=config.seed,
            xla=xla,
            clip_norm=config.clip_norm,
            accumulation=config.accumulation,
            ema_decay=config.ema_decay,
            loss=self.task.loss,
        )
        self.check = functools.partial(check_step, precision=precision, xla=xla)
        self.validate = self.task.validator(self.model, self.strategy)

        # Every worker must save when the chief does, but only the chief's files count.
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.out_dir = Path(config.work_dir)
        resumes = checkpoints.can_resume(config.work_dir) and not config.overwrite
        if self.worker.is_chief:
            checkpoints.start_work_dir(config.work_dir, config, resumed=resumes)
            self.task.prepare(self.out_dir)
            run_log.write_run(self.out_dir, data, run_log.describe_session(choices))
        else:
            self._scratch = tempfile.TemporaryDirectory()
            self.out_dir = Path(self._scratch.name)
        with self.strategy.scope():
            self.state = checkpoints.TrainingState(
                config.work_dir,
                self.model,
                self.optimizer,
                self.step.state,
                write_to=self.out_dir,
            )
            if resumes:
                self.state.restore()
        self.progress = self.state.progress
        history = read_history(Path(config.work_dir) / run_files.HISTORY)
        self.history = [result for result in history if result.epoch <= self.progress.epoch]
        self.log = run_log.RunLog(
            self.out_dir, tensorboard=config.tensorboard and self.worker.is_chief
        )

    def train(self) -> TrainResult:
        """Trains the epochs that are left."""
        config, progress = self.config, self.progress
        if progress.epoch >= config.epochs:
            _LOG.info("%s: finished, %d epochs", config.work_dir, progress.epoch)
        elif progress.epoch or progress.step:
            _LOG.info(
                "%s: continuing after %d epochs and %d of %d steps",
                *(config.work_dir, progress.epoch, progress.step, self.steps),
            )
        if config.self_check and progress.epoch < config.epochs:
            self._check_step()
        while progress.epoch < config.epochs and not self._out_of_patience():
            self._train_epoch()
            self._finish_epoch()
        _LOG.info(
            "best validation loss %.4f, epoch %d: %s",
            *(progress.best_loss, progress.best_epoch),
            Path(config.work_dir) / run_files.BEST_WEIGHTS,
        )
        return TrainResult(
            Path(config.work_dir), progress.best_epoch, progress.best_loss, tuple(self.history)
        )

    def _choose(self) -> dict[str, str]:
        """Precision and XLA by hardware, and why."""
        config = self.config
        devices = devices_of(self.strategy)
        precision = choose_precision(config.mixed_precision, devices)
        xla = choose_xla(config.xla, devices)
        state = "on" if xla.value else "off"
        replicas = f"{self.strategy.num_replicas_in_sync} {devices[0].kind} replica(s)"
        if self.worker.count > 1:
            replicas += f", worker {self.worker.index} of {self.worker.count}"
        _LOG.info("strategy %s: %s", config.strategy, replicas)
        _LOG.info("precision %s: %s", precision.value, precision.reason)
        _LOG.info("XLA %s: %s", state, xla.reason)
        return {
            "replicas": replicas,
            "precision": precision.value,
            "precision_reason": precision.reason,
            "xla": state,
            "xla_reason": xla.reason,
        }

    def _check_step(self) -> None:
        """Compares replicas with one device and XLA with none, on the epoch's first batch."""
        if self.worker.count > 1:
            _LOG.info("self-check: not over several workers")
            return
        batch = next(read_batches(self.task.batches(self.progress.epoch, 0).take(1)))
        parts = split_batch(self.strategy, *batch)
        found = self.check(self.step, self.strategy, *parts)
        other = {"replicas": "one device's", "xla": "those without XLA"}
        for name, difference in found.items():
            _LOG.info(
                "self-check: gradients differ from %s by %.1e of their norm",
                *(other[name], difference),
            )

    def _train_epoch(self) -> None:
        progress = self.progress
        if progress.step == self.steps:
            return
        run_epoch(
            self.step,
            self.strategy,
            self.task.batches(progress.epoch, progress.step),
            progress,
            self.steps,
            per_execution=self.config.steps_per_execution,
            pause_every=self.config.checkpoint_steps,
            pause=self._pause,
            should_pause=self._must_stop,
            settled=self._settled,
        )
        # One trace for whole executions, and one for the steps that are left over.
        expected = 1 + (self.config.steps_per_execution > 1)
        if self.step.traces > expected:
            raise RetracedError(
                f"the step was compiled {self.step.traces} times; expected {expected}. Shapes "
                "change between batches; please report it with config.json."
            )

    def _must_stop(self) -> bool:
        if self.interruption.requested and self.worker.count > 1:
            # The others are not at this step: nobody can save now.
            raise Terminated("Terminated; the last checkpoint stands.")
        return self.interruption.requested

    def _pause(self) -> None:
        """Saves, and ends the run if it was asked to end."""
        check_skipped(self.step, self.progress.epoch + 1)
        for variable in [*self.model.trainable_variables, *self.step.statistics]:
            if not bool(tf.reduce_all(tf.math.is_finite(variable.read_value()))):
                what = f"{variable.name} holds a value that is not finite"
                raise divergence(what, self.progress.epoch + 1)
        check_replicas(self.model, self.strategy)
        self.state.save()
        if self._must_stop():
            raise Terminated(
                f"Terminated after {self.progress.epoch} epochs and {self.progress.step} steps, "
                "all of them saved."
            )

    def _settled(self, number: int, loss: float) -> None:
        """Logs now and then."""
        step = self.progress.epoch * self.steps + self.progress.step
        if step // _STEPS_BETWEEN_LOGS > (step - number) // _STEPS_BETWEEN_LOGS:
            check_skipped(self.step, self.progress.epoch + 1)
            values = {"loss": loss, "learning_rate": self._learning_rate()}
            if self.progress.seconds:
                values["input_wait"] = self.progress.waited / self.progress.seconds
            self.log.step(step, values)

    def _finish_epoch(self) -> None:
        """Validates, logs, keeps the best, and saves."""
        progress, config = self.progress, self.config
        with self.step.averaged_weights():
            val_loss, per_class, constant_loss = self._validate()
            result = EpochResult(
                epoch=progress.epoch + 1,
                learning_rate=self._learning_rate(),
                train_loss=progress.loss_sum / self.steps,
                val_loss=val_loss,
                val_per_class=tuple(per_class),
                seconds=progress.seconds,
                slices_per_second=(
                    self.steps * self.task.slices_per_step / max(progress.seconds, 1e-9)
                ),
                input_wait=progress.waited / max(progress.seconds, 1e-9),
            )
            if progress.finish_epoch(val_loss):
                saved.save_best(
                    self.out_dir,
                    self.model,
                    self.task.spec,
                    epoch=progress.epoch,
                    val_loss=val_loss,
                )
            if config.keep_epochs:
                saved.save_epoch(self.out_dir, self.model, progress.epoch)
        _LOG.info(
            "epoch %d of %d: loss %.4f; validation %.4f, the training prior %.4f; %.1f slices/s, "
            "waited for input %.1f %%",
            *(result.epoch, config.epochs, result.train_loss, val_loss, constant_loss),
            *(result.slices_per_second, 100 * result.input_wait),
        )
        self.history.append(result)
        if self.worker.is_chief:
            self.log.epoch(self.history, progress.epoch * self.steps, constant_loss)
        self.state.save()
        if self._must_stop():
            raise Terminated(f"Terminated after {progress.epoch} epochs, all of them saved.")

    def _validate(self) -> tuple[float, list[float], float]:
        """Losses of the model as it is: weighted, a class, and of the constant training prior."""
        labels, logits = self.validate(self._until_terminated)
        if not np.isfinite(logits).all():
            raise divergence("a validation logit is not finite", self.progress.epoch + 1)
        probabilities = metrics.sigmoid(logits)
        constant = np.broadcast_to(self.task.prior, labels.shape)
        means = [
            metrics.weighted_log_loss(labels, probabilities),
            metrics.weighted_log_loss(labels, constant),
            *metrics.per_class_log_loss(labels, probabilities),
        ]
        share = np.array(means) * len(labels) / self.task.num_validation
        loss, constant_loss, *per_class = sum_over_workers(self.strategy, share).tolist()
        return loss, per_class, constant_loss

    def _until_terminated(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            if self._must_stop():
                raise Terminated(
                    f"Terminated in the validation of epoch {self.progress.epoch + 1}; its steps "
                    "are saved."
                )
            yield batch

    def _out_of_patience(self) -> bool:
        progress, patience = self.progress, self.config.patience
        if not patience or progress.epoch - progress.best_epoch < patience or not progress.epoch:
            return False
        _LOG.info("stopping: no lower validation loss in %d epochs", patience)
        return True

    def _learning_rate(self) -> float:
        """Of the last step taken."""
        taken = max(int(self.optimizer.iterations.numpy()), 1)
        return float(self.schedule(taken - 1))
