"""One pass over the training batches: steps, the clock, and pauses to save."""

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
from ich_tf.training.checkpoints import RunProgress
from ich_tf.training.step import TrainingStep

# A loss that is ready sooner than this after a batch was fetched was ready before the fetch ended.
_READY_SECONDS = 1e-3
# Steps in a row that the loss scale left out, before they are taken for divergence.
_MOST_SKIPPED = 50

# Called after steps whose losses are known, with the number of steps and their mean loss.
OnLosses = Callable[[int, float], None]


class DivergenceError(InputError):
    """The loss, or a weight, is no longer finite."""


def run_epoch(
    step: TrainingStep,
    strategy: tf.distribute.Strategy,
    batches: tf.data.Dataset,
    progress: RunProgress,
    steps: int,
    *,
    per_execution: int = 1,
    pause_every: int = 0,
    pause: Callable[[], None] | None = None,
    should_pause: Callable[[], bool] = lambda: False,
    on_losses: OnLosses = lambda count, loss: None,
) -> None:
    """Takes the steps of an epoch that are left.

    Args:
      step: The optimizer step.
      strategy: Strategy of the step.
      batches: Inputs and labels of the steps from `progress.step` on.
      progress: Progress of the run, kept up to date; complete whenever `pause` is called.
      steps: Number of steps of the epoch.
      per_execution: Steps in one call to the devices; the remainder at the end is taken one by one.
      pause_every: Steps between calls of `pause`, counted from the epoch's start; 0 calls it at the
        epoch's end alone, where it is always called.
      pause: Function that may save the state. Its time is not counted.
      should_pause: Function that tells whether to pause after the steps under way.
      on_losses: Function called with the losses; see `OnLosses`.

    Raises:
      DivergenceError: If a batch's loss is not finite.
      DataError: If a batch is missing or cannot be read.
    """
    source = read_batches(batches)
    clock = _EpochClock(progress, steps, on_losses)
    try:
        while progress.step < steps:
            start = progress.step
            count = per_execution if start + per_execution <= steps else 1
            # A step returns at once on a GPU: the next batch is fetched while it runs.
            fetch_began = time.perf_counter()
            group = [split_batch(strategy, *_next(source)) for _ in range(count)]
            clock.settle_after_fetch(fetch_began)
            clock.pending = step(*group)
            progress.step += count
            is_due = pause_every and progress.step // pause_every > start // pause_every
            if is_due or progress.step == steps or should_pause():
                clock.settle()
                if pause is not None:
                    pause()
                clock.restart()
    finally:
        clock.close()


class _EpochClock:
    """Counts the losses, the time and the waiting of an epoch's steps into its progress.

    Attributes:
      pending: Losses of the steps under way, float32 [k]; None if there are none. Reading them
        waits for the devices.
    """

    def __init__(self, progress: RunProgress, steps: int, on_losses: OnLosses) -> None:
        self.pending: tf.Tensor | None = None
        self._progress, self._on_losses = progress, on_losses
        self._epoch = progress.epoch + 1
        self._tracker = Tracker(steps, f"epoch {self._epoch}", "step", done=progress.step)
        self._last = time.perf_counter()

    def settle_after_fetch(self, fetch_began: float) -> None:
        """Settles, and counts the fetch of a batch as waiting if the devices waited for it.

        They did if their losses were ready by the end of the fetch.
        """
        fetch_ended = time.perf_counter()
        self.settle()
        if time.perf_counter() - fetch_ended < _READY_SECONDS:
            self._progress.waited += fetch_ended - fetch_began

    def settle(self) -> None:
        """Waits for the steps under way, and counts their losses and the time since the last."""
        progress = self._progress
        if self.pending is not None:
            losses = [_finite(float(loss), self._epoch) for loss in self.pending.numpy()]
            self.pending = None
            progress.loss_sum += sum(losses)
            mean = sum(losses) / len(losses)
            self._on_losses(len(losses), mean)
            wait = progress.waited / max(progress.seconds, 1e-9)
            self._tracker.update(len(losses), f"loss {mean:.4f}, input wait {100 * wait:.1f} %")
        now = time.perf_counter()
        progress.seconds += now - self._last
        self._last = now

    def restart(self) -> None:
        """Goes on from now: the time since the last settling is not counted."""
        self._last = time.perf_counter()

    def close(self) -> None:
        """Ends the progress display."""
        self._tracker.close()


def check_skipped(step: TrainingStep, epoch: int) -> None:
    """Stops a run whose loss scale has left out many steps in a row.

    Args:
      step: Step of the run.
      epoch: Number of the epoch, counted from 1.

    Raises:
      DivergenceError: If 50 steps in a row or more were left out.
    """
    skipped = int(step.skipped.read_value())
    if skipped >= _MOST_SKIPPED:
        raise divergence(f"the last {skipped} steps had gradients that are not finite", epoch)


def divergence(problem: str, epoch: int) -> DivergenceError:
    """Makes the error of a run that diverges, with advice.

    Args:
      problem: Description of what is not finite.
      epoch: Number of the epoch, counted from 1.
    """
    return DivergenceError(
        f"{problem}, in epoch {epoch}; the work dir keeps the last checkpoint before, if any. "
        "Start anew with --overwrite and a lower --learning_rate, a warm-up (--warmup_epochs) or "
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
