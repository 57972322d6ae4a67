"""One pass over the training batches: steps, the clock, and pauses to save."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError, InputError
from ich_tf.records.input_pipeline import read_batches
from ich_tf.runtime.progress import Tracker
from ich_tf.runtime.strategies import split_batch
from ich_tf.training.checkpoints import RunProgress
from ich_tf.training.step import TrainingStep

# Steps in a row that the loss scale left out, before they are taken for divergence.
_MOST_SKIPPED = 50

# Called after steps whose losses are known, with the number of steps of the epoch so far, how many
# of them are new, and their mean loss.
OnLosses = Callable[[int, int, float], None]


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
    on_losses: OnLosses = lambda done, count, loss: None,
) -> None:
    """Takes the steps of an epoch that are left.

    The devices never wait for the host: a step is sent before the loss of the one before is known.

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
            clock.fetch_begins()
            group = [split_batch(strategy, *_next(source)) for _ in range(count)]
            clock.fetch_ends()
            clock.sent(step(*group))
            progress.step += count
            is_due = pause_every and progress.step // pause_every > start // pause_every
            if is_due or progress.step == steps or should_pause():
                clock.settle()
                if pause is not None:
                    pause()
                clock.restart()
    finally:
        clock.close()


class _Sent(NamedTuple):
    """Steps that were sent to the devices.

    Attributes:
      read: Their losses, float32 [k], and the time at which they were ready, s; read by a thread.
      fetch: Time at which the fetch of the batches after them began and ended, s; the end is 0
        while they are fetched.
    """

    read: Future[tuple[np.ndarray, float]]
    fetch: list[float]


class _EpochClock:
    """Counts the losses, the time and the waiting of an epoch's steps into its progress.

    A thread reads each step's losses as soon as it is sent: the copy to the host stands in the
    device's queue before the next step, and when it arrives is when the device became idle.
    """

    def __init__(self, progress: RunProgress, steps: int, on_losses: OnLosses) -> None:
        self._progress, self._on_losses = progress, on_losses
        self._epoch, self._done = progress.epoch + 1, progress.step
        self._tracker = Tracker(steps, f"epoch {self._epoch}", "step", done=progress.step)
        # Two, since at most two steps are under way.
        self._readers = ThreadPoolExecutor(2, "losses")
        self._under_way: deque[_Sent] = deque()
        self._last = self._fetch_began = time.perf_counter()

    def fetch_begins(self) -> None:
        """Notes that the host turns to the next batches."""
        self._fetch_began = time.perf_counter()

    def fetch_ends(self) -> None:
        """Notes that the next batches are there."""
        interval = (self._fetch_began, time.perf_counter())
        if self._under_way:
            self._under_way[-1].fetch[:] = interval
        else:
            self._progress.waited += interval[1] - interval[0]

    def sent(self, losses: tf.Tensor) -> None:
        """Takes over the losses of steps that were sent, and settles those before.

        Args:
          losses: Losses, float32 [k], perhaps not ready.
        """
        self._under_way.append(_Sent(self._readers.submit(_read, losses), [0.0, 0.0]))
        if len(self._under_way) > 1:
            self._settle_first()

    def settle(self) -> None:
        """Waits for all steps under way, and counts them."""
        while self._under_way:
            self._settle_first()

    def restart(self) -> None:
        """Goes on from now: the time since the last settling is not counted."""
        self._last = time.perf_counter()

    def close(self) -> None:
        """Ends the progress display."""
        self._readers.shutdown()
        self._tracker.close()

    def _settle_first(self) -> None:
        """Waits for the steps sent first, and counts losses, time and waiting."""
        progress = self._progress
        sent = self._under_way.popleft()
        values, ready = sent.read.result()
        losses = [_finite(float(loss), self._epoch) for loss in values]
        self._done += len(losses)
        # The devices waited from when they were ready, if that was before the batches were.
        began, ended = sent.fetch
        progress.waited += max(0.0, ended - max(began, ready))
        now = time.perf_counter()
        progress.seconds += now - self._last
        self._last = now
        progress.loss_sum += sum(losses)
        mean = sum(losses) / len(losses)
        self._on_losses(self._done, len(losses), mean)
        wait = progress.waited / max(progress.seconds, 1e-9)
        self._tracker.update(len(losses), f"loss {mean:.4f}, input wait {100 * wait:.1f} %")


def _read(losses: tf.Tensor) -> tuple[np.ndarray, float]:
    values = losses.numpy()
    return values, time.perf_counter()


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
