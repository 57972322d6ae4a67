import math
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import DataError, Terminated
from ich_tf.labels import CLASSES
from ich_tf.training import epoch
from ich_tf.training.checkpoints import RunProgress
from ich_tf.training.epoch import DivergenceError, check_skipped, run_epoch
from tests.support.marks import slow
from tests.support.steps import BATCH, RECORD_SHAPE, Run, batch, replicas

BATCHES = [batch(seed) for seed in range(5)]


def dataset(batches):
    return tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature=(
            tf.TensorSpec((BATCH, *RECORD_SHAPE), tf.uint8),
            tf.TensorSpec((BATCH, len(CLASSES)), tf.float32),
        ),
    )


def take(run, batches, progress=None, steps=5, **settings):
    progress = progress or RunProgress()
    run_epoch(run.step, run.strategy, dataset(batches), progress, steps, **settings)
    return progress


@pytest.mark.parametrize("per_execution", [1, slow(2), 5, slow(9)])
def test_an_epoch_sums_its_losses(per_execution: int) -> None:
    losses = Run(replicas(2)).steps(BATCHES)
    run = Run(replicas(2))
    settled = []
    progress = take(
        run,
        BATCHES,
        per_execution=per_execution,
        on_losses=lambda done, number, loss: settled.append((done, number, loss)),
    )
    assert progress.step == 5 and progress.loss_sum == pytest.approx(sum(losses), rel=1e-6)
    assert progress.seconds > 0 and 0 <= progress.waited <= progress.seconds
    assert [number for _, number, _ in settled] == {
        1: [1] * 5,
        2: [2, 2, 1],
        5: [5],
        9: [1] * 5,
    }[per_execution]
    assert settled[-1][0] == 5
    mean = sum(number * loss for _, number, loss in settled) / 5
    assert mean == pytest.approx(np.mean(losses), rel=1e-6)


def test_it_goes_on_where_it_stands() -> None:
    whole, run = Run(replicas(1)), Run(replicas(1))
    expected = take(whole, BATCHES)
    progress = RunProgress()

    def pause():
        raise Terminated

    with pytest.raises(Terminated):
        take(run, BATCHES, progress, pause=pause, pause_every=2)
    assert progress.step == 2
    take(run, BATCHES[2:], progress)
    assert progress.loss_sum == expected.loss_sum
    for left, right in zip(whole.weights(), run.weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("pause_every", "per_execution", "expected"),
    [(0, 1, [5]), (2, 1, [2, 4, 5]), (2, 3, [3, 4, 5]), (5, 1, [5]), (1, 4, [4, 5])],
)
def test_pauses(pause_every: int, per_execution: int, expected: Any) -> None:
    progress, seen = RunProgress(), []

    def pause():
        # Whole: the losses of all steps so far are in.
        assert len(losses) == progress.step
        seen.append(progress.step)

    losses = []
    take(
        Run(replicas(1)),
        BATCHES,
        progress,
        pause=pause,
        pause_every=pause_every,
        per_execution=per_execution,
        on_losses=lambda done, number, loss: losses.extend([loss] * number),
    )
    assert seen == expected


def test_it_pauses_when_asked() -> None:
    progress, seen = RunProgress(), []
    take(
        Run(replicas(1)),
        BATCHES,
        progress,
        pause=lambda: seen.append(progress.step),
        should_pause=lambda: progress.step == 3,
    )
    assert seen == [3, 5]


def test_records_that_end_too_soon() -> None:
    with pytest.raises(DataError, match="records ended before the epoch"):
        take(Run(replicas(1)), BATCHES[:3])


def test_a_loss_that_is_not_finite() -> None:
    images, labels = batch(0)
    labels[0] = math.nan
    progress = RunProgress(epoch=3)
    with pytest.raises(DivergenceError, match=r"training loss is nan, in epoch 4.*learning_rate"):
        take(Run(replicas(1)), [(images, labels), *BATCHES[1:]], progress)
    # Not one step more than had to be under way.
    assert progress.step <= 2


def test_many_skipped_steps_are_taken_for_divergence() -> None:
    run = Run(replicas(2), precision="float16")
    check_skipped(run.step, 1)
    run.step.skipped.assign(50)
    with pytest.raises(DivergenceError, match="last 50 steps had gradients that are not finite"):
        check_skipped(run.step, 1)


class Recorder:
    """A step whose losses are ready a while after it was sent; what was done, in order."""

    def __init__(self, seconds):
        self.events, self._seconds, self._sent = [], seconds, 0

    def __call__(self, *batches):
        self.events.append(f"sent {self._sent}")
        ready, number = time.perf_counter() + self._seconds, self._sent
        self._sent += 1

        class Losses:
            def numpy(self):
                time.sleep(max(0.0, ready - time.perf_counter()))
                return np.array([number], np.float32)

        return Losses()


def test_a_loss_is_awaited_after_the_next_step_was_sent() -> None:
    step = Recorder(0.05)
    progress = RunProgress()
    run_epoch(
        step,
        replicas(1),
        dataset(BATCHES[:4]),
        progress,
        4,
        on_losses=lambda done, number, loss: step.events.append(f"read {loss:.0f}"),
    )
    assert step.events == [
        *("sent 0", "sent 1", "read 0", "sent 2", "read 1", "sent 3", "read 2", "read 3")
    ]


@pytest.mark.parametrize(("step_seconds", "fetch_seconds"), [(0.2, 0.05), (0.05, 0.2)])
def test_waiting_is_the_time_in_which_the_devices_were_idle(
    step_seconds: float, fetch_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batches(_):
        for one in BATCHES:
            time.sleep(fetch_seconds)
            yield tuple(map(tf.constant, one))

    monkeypatch.setattr(epoch, "read_batches", batches)
    progress = RunProgress()
    run_epoch(Recorder(step_seconds), replicas(1), None, progress, 5)
    # The first batch is waited for in any case.
    expected = fetch_seconds + 4 * max(0, fetch_seconds - step_seconds)
    assert progress.waited == pytest.approx(expected, abs=0.1)
