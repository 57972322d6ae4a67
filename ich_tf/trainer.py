"""A training run: steps over replicas, validation, the best model, resume by epoch."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf import checkpoints, metrics
from ich_tf.augment import make_augment
from ich_tf.config import TrainConfig
from ich_tf.errors import InputError
from ich_tf.history import EpochResult, read_history, write_history
from ich_tf.inference import make_logits_fn, predict_records
from ich_tf.input_pipeline import eval_batches, read_batches, train_batches
from ich_tf.optimizers import make_optimizer
from ich_tf.precision import choose_precision, choose_xla, devices_of, policy_scope
from ich_tf.progress import track
from ich_tf.shards import DataError, Manifest, label_counts, num_records
from ich_tf.strategies import make_strategy, split_batch
from ich_tf.training_step import TrainingStep, average_batch_statistics

_LOG = logging.getLogger(__name__)

# A loss that is there sooner than this after a batch was fetched was there before.
_READY_SECONDS = 1e-3


class DivergenceError(InputError):
    """The loss is no longer finite."""


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


def train(config: TrainConfig) -> TrainResult:
    """Trains a classifier, or continues a run after its last finished epoch.

    Before anything of a former run is touched, data, config and weights have been checked.

    Raises:
      InputError: If the data, the work dir or the weights cannot be worked with.
      DivergenceError: If the loss becomes infinite or NaN; the work dir keeps the last epoch.
      UsageError: If the strategy cannot be had.
    """
    manifest = Manifest.load(config.data_dir)
    train_shards = manifest.train_shards(config.validation_fold)
    val_shards = manifest.fold_shards(config.validation_fold)
    checkpoints.check_work_dir(config.work_dir, config)
    strategy = make_strategy(config.strategy, config.cpu_replicas)
    devices = devices_of(strategy)
    precision = choose_precision(config.mixed_precision, devices)
    xla = choose_xla(config.xla, devices)
    _LOG.info(
        "%s: %d slices to train on, %d to validate on (fold %d)",
        *(config.data_dir, num_records(train_shards), num_records(val_shards)),
        config.validation_fold,
    )
    _LOG.info("strategy %s: %d %s replica(s)", config.strategy, len(devices), devices[0].kind)
    _LOG.info("precision %s: %s", precision.value, precision.reason)
    _LOG.info("XLA %s: %s", "on" if xla.value else "off", xla.reason)

    steps = num_records(train_shards) // config.batch_size
    if not steps:
        raise InputError(
            f"{config.data_dir}: {num_records(train_shards)} slices to train on are less than one "
            f"batch of {config.batch_size}. Lower --batch_size or convert more data."
        )
    if config.max_steps_per_epoch:
        steps = min(steps, config.max_steps_per_epoch)
    tf.keras.utils.set_random_seed(config.seed)
    prior = label_counts(train_shards) / num_records(train_shards)
    spec = checkpoints.ModelSpec(
        backbone=config.backbone,
        record_shape=manifest.image_shape,
        image_size=config.image_size,
        windows=tuple(manifest.windows),
        stored_hu=manifest.encoding == "hu16",
        crop=manifest.crop,
        dropout=config.dropout,
        bn_momentum=config.bn_momentum,
        freeze_bn=config.freeze_bn,
        prior=tuple(prior.tolist()),
    )
    with strategy.scope(), policy_scope(precision.value):
        model = spec.build(weights=config.weights, bias=prior)
        optimizer = make_optimizer(config, steps, loss_scaling=precision.value == "float16")
    step = TrainingStep(
        model,
        optimizer,
        strategy,
        batch_size=config.batch_size,
        xla=xla.value,
        clip_norm=config.clip_norm,
    )
    resumes = checkpoints.can_resume(config.work_dir) and not config.overwrite
    checkpoints.start_work_dir(config.work_dir, config, resumed=resumes)
    with strategy.scope():
        state = checkpoints.TrainingState(config.work_dir, model, optimizer)
        state.restore()
    history_path = Path(config.work_dir) / checkpoints.HISTORY
    history = [result for result in read_history(history_path) if result.epoch <= state.epoch]
    if state.epoch >= config.epochs:
        _LOG.info("%s: finished, %d epochs", config.work_dir, state.epoch)
    elif state.epoch:
        _LOG.info("%s: continuing after epoch %d", config.work_dir, state.epoch)

    logits_fn = make_logits_fn(model, strategy)
    augment = make_augment(config)
    for epoch in range(state.epoch, config.epochs):
        batches = train_batches(
            train_shards,
            manifest.image_shape,
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            encoding=manifest.encoding,
            augment=augment,
        )
        trained = run_epoch(step, strategy, batches.take(steps), steps, epoch + 1)
        average_batch_statistics(model, strategy)
        predicted = predict_records(
            logits_fn,
            eval_batches(
                val_shards,
                manifest.image_shape,
                batch_size=config.batch_size,
                encoding=manifest.encoding,
            ),
            expected=num_records(val_shards),
        )
        if not np.isfinite(predicted.logits).all():
            raise _divergence("a validation logit is not finite", epoch + 1)
        labels, probabilities = predicted.labels, predicted.probabilities
        val_loss = metrics.weighted_log_loss(labels, probabilities)
        result = EpochResult(
            epoch=epoch + 1,
            learning_rate=float(optimizer.learning_rate.numpy()),
            train_loss=trained.loss,
            val_loss=val_loss,
            val_per_class=tuple(metrics.per_class_log_loss(labels, probabilities).tolist()),
            seconds=trained.seconds,
            slices_per_second=steps * config.batch_size / trained.seconds,
            input_wait=trained.input_wait,
        )
        _LOG.info(
            "epoch %d of %d: loss %.4f; validation %.4f, the training prior %.4f; %.1f slices/s, "
            "waited for input %.1f %%",
            *(epoch + 1, config.epochs, trained.loss, val_loss),
            metrics.weighted_log_loss(labels, np.broadcast_to(prior, labels.shape)),
            *(result.slices_per_second, 100 * result.input_wait),
        )
        if state.improves(val_loss):
            checkpoints.save_best(config.work_dir, model, spec, epoch=epoch + 1, val_loss=val_loss)
        history.append(result)
        write_history(history_path, history)
        state.save(epoch + 1, val_loss)
    _LOG.info(
        "best validation loss %.4f, epoch %d: %s",
        *(state.best_loss, state.best_epoch),
        Path(config.work_dir) / checkpoints.BEST_WEIGHTS,
    )
    return TrainResult(Path(config.work_dir), state.best_epoch, state.best_loss, tuple(history))


@dataclasses.dataclass(frozen=True)
class TrainedEpoch:
    """The training half of an epoch; as in `EpochResult`."""

    loss: float
    seconds: float
    input_wait: float


def run_epoch(
    step: TrainingStep,
    strategy: tf.distribute.Strategy,
    batches: tf.data.Dataset,
    steps: int,
    epoch: int,
) -> TrainedEpoch:
    """Takes one step a batch.

    Args:
      step: The step.
      strategy: Its strategy.
      batches: (uint8 [batch_size, H, W, C], float32 [batch_size, 6]), at least `steps`.
      steps: 1 or more.
      epoch: Counted from 1, for messages.

    Raises:
      DivergenceError: If a batch's loss is not finite.
      DataError: If a batch is missing or cannot be read.
    """
    source = read_batches(batches)
    loss_sum = waited = 0.0
    pending: tf.Tensor | None = None
    start = time.perf_counter()
    for _ in track(range(steps), steps, f"epoch {epoch}", "step"):
        # A step returns at once on a GPU: the next batch is fetched while it runs, and the
        # devices waited only if its loss is there by then.
        asked = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            raise DataError(
                "the records ended before the epoch did. Run python -m tools.verify_tfrecords "
                "--full on the data dir."
            )
        fetched = time.perf_counter()
        if pending is not None:
            loss_sum += _finite(pending, epoch)
        if time.perf_counter() - fetched < _READY_SECONDS:
            waited += fetched - asked
        pending = step(*split_batch(strategy, *batch))
    loss_sum += _finite(pending, epoch)
    seconds = time.perf_counter() - start
    return TrainedEpoch(loss_sum / steps, seconds, waited / seconds)


def _finite(loss: tf.Tensor | None, epoch: int) -> float:
    value = math.nan if loss is None else float(loss)
    if not math.isfinite(value):
        raise _divergence(f"the training loss is {value}", epoch)
    return value


def _divergence(what: str, epoch: int) -> DivergenceError:
    return DivergenceError(
        f"{what} in epoch {epoch}; the work dir keeps the state after the epoch before, if any. "
        "Start anew with --overwrite and a lower --learning_rate, a warm-up (--warmup_epochs) or "
        "clipping (--clip_norm=1)."
    )
