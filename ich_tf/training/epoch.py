"""One pass over the training batches: steps, the clock, and where it may stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ich_tf.errors import DataError, InputError
from ich_tf.records.input_pipeline import read_batches
from ich_tf.runtime.progress import Tracker
from ich_tf.runtime.strategies import split_batch
from ich_tf.training.checkpoints import Progress
from ich_tf.training.step import TrainingStep

# A loss that is there sooner than this after a batch was fetched was there before.
_READY_SECONDS = 1e-3
# Steps in a row that the loss scale left out, before it is taken for divergence.
_MOST_SKIPPED = 50

# Called after steps whose losses are known, with their number and their mean loss.
Settled = Callable[[int, float], None]


class DivergenceError(InputError):
    """The loss, or a weight, is no longer finite."""


def run_epoch(
    step: TrainingStep,
    strategy: tf.distribute.Strategy,
    batches: tf.data.Dataset,
    progress: Progress,
    steps: int,
    *,
    per_execution: int = 1,
    pause_every: int = 0,
    pause: Callable[[], None] | None = None,
    should_pause: Callable[[], bool] = lambda: False,
    settled: Settled = lambda number, loss: None,
) -> None:
    """Takes the steps of an epoch that are still to take.

    Args:
      step: The step.
      strategy: Its strategy.
      batches: (images, labels) from `progress.step` on.
      progress: Kept up to date; whole whenever `pause` is called.
      steps: Of the epoch.
      per_execution: Steps in one call to the devices; what remains at the end goes one by one.
      pause_every: Steps after which `pause` is called, counted from the epoch's start; and at its
        end. 0: at the end alone.
      pause: May save the state; its time is not counted.
      should_pause: Whether to pause after the steps under way.
      settled: See `Settled`.

    Raises:
      DivergenceError: If a batch's loss is not finite.
      DataError: If a batch is missing or cannot be read.
    """
    source = read_batches(batches)
    tracker = Tracker(steps, f"epoch {progress.epoch + 1}", "step", done=progress.step)
    pending: tf.Tensor | None = None
    begun = time.perf_counter()

    def settle() -> None:
        nonlocal pending, begun
        if pending is not None:
            losses = [_finite(float(loss), progress.epoch + 1) for loss in pending.numpy()]
            pending = None
            progress.loss_sum += sum(losses)
            mean = sum(losses) / len(losses)
            settled(len(losses), mean)
            wait = progress.waited / max(progress.seconds, 1e-9)
            tracker.update(len(losses), f"loss {mean:.4f}, input wait {100 * wait:.1f} %")
        now = time.perf_counter()
        progress.seconds += now - begun
        begun = now

    try:
        while progress.step < steps:
            before = progress.step
            number = per_execution if before + per_execution <= steps else 1
            # A step returns at once on a GPU: the next batch is fetched while it runs, and the
            # devices waited only if its loss is there by then.
            asked = time.perf_counter()
            group = [split_batch(strategy, *_next(source)) for _ in range(number)]
            fetched = time.perf_counter()
            settle()
            if time.perf_counter() - fetched < _READY_SECONDS:
                progress.waited += fetched - asked
            pending = step(*group)
            progress.step += number
            due = pause_every and progress.step // pause_every > before // pause_every
            if due or progress.step == steps or should_pause():
                settle()
                if pause is not None:
                    pause()
                begun = time.perf_counter()
    finally:
        tracker.close()


def check_skipped(step: TrainingStep, epoch: int) -> None:
    """Stops a run whose loss scale has left out many steps in a row.

    Raises:
      DivergenceError: If it has.
    """
    skipped = int(step.skipped.read_value())
    if skipped >= _MOST_SKIPPED:
        raise divergence(f"the last {skipped} steps had gradients that are not finite", epoch)


def divergence(what: str, epoch: int) -> DivergenceError:
    """The error, with what to do.

    Args:
      what: Was found.
      epoch: Counted from 1.
    """
    return DivergenceError(
        f"{what}, in epoch {epoch}; the work dir keeps the last checkpoint before, if any. Start "
        "anew with --overwrite and a lower --learning_rate, a warm-up (--warmup_epochs) or "
        "clipping (--clip_norm=1)."
    )


def _next(source: Any) -> Any:
    batch = next(source, None)
    if batch is None:
        raise DataError(
            "the records ended before the epoch did. Run python -m ich_tf.verify_tfrecords --full "
            "on the data dir."
        )
    return batch


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise divergence(f"the training loss is {loss}", epoch)
    return loss
