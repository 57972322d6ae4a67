"""Measures training on the present device: the step, the input, both, and timm's step."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import tempfile
import time
from typing import Any

from tools.benchmark.device_trace import DeviceTrace, traced
from tools.benchmark.published import published_rate
from tools.benchmark.timm_process import TimmProcess
from tools.benchmark.training_rates import TRACED_STEPS, Combination, Rates

_LOG = logging.getLogger(__name__)
# Steps before a measurement: the pipeline fills its buffers, and the device its caches.
_WARM_UP = 4
_STRONG: dict[str, Any] = {
    "neighbours": 3,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "clip_norm": 1.0,
    "ema_decay": 0.999,
    "scale": 0.08,
}
_RECIPES: dict[str, dict[str, Any]] = {"plain": {"optimizer": "adam"}, "strong": _STRONG}
_AUGMENTATION: dict[str, Any] = {"flip": True, "shift": 0.06, "rotate": 10.0}


def device_name() -> str:
    """Name of the first GPU; empty if TensorFlow sees none."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        # timm's process needs memory of the same GPU.
        with contextlib.suppress(RuntimeError):
            tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        return ""
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))


def measure(
    combination: Combination,
    manifest: Any,
    *,
    steps: int,
    turns: int,
    pytorch: str | None,
    pytorch_compile: bool = False,
) -> Rates:
    """Measures one combination on the first GPU, or on the CPU of a machine without GPUs.

    Args:
      combination: What to measure.
      manifest: Manifest of labelled records.
      steps: Steps of each measurement.
      turns: Number of measurements of our step and timm's, of which the fastest count.
      pytorch: Interpreter with PyTorch and timm; None leaves timm out.
      pytorch_compile: Whether timm's network is compiled.
    """
    import tensorflow as tf

    rates = Rates(combination)
    rates.published = published_rate(
        combination.backbone, combination.image_size, combination.precision, device_name()
    )
    try:
        _measure_ours(rates, manifest, steps, turns, pytorch, pytorch_compile)
    except tf.errors.ResourceExhaustedError:
        rates.error = "out of memory"
    return rates


def _measure_ours(
    rates: Rates, manifest: Any, steps: int, turns: int, pytorch: str | None, compiled: bool
) -> None:
    import tensorflow as tf

    from ich_tf.runtime.keras2 import keras
    from ich_tf.runtime.strategies import split_batch
    from ich_tf.training.hardware import choose_hardware
    from ich_tf.training.trainer import make_step

    of = rates.combination
    keras.backend.clear_session()
    gc.collect()
    with tempfile.TemporaryDirectory() as work_dir:
        config = _config(of, manifest, work_dir)
        hardware = choose_hardware(config)
        task = _task(config, manifest, (2 * _WARM_UP + steps + TRACED_STEPS) * of.batch_size)
        task.deal(hardware.worker)
        step = make_step(config, task, hardware)
        batch = next(iter(task.batches(0, 0)))
        parts = split_batch(hardware.strategy, *batch)
        begun = time.perf_counter()
        step(parts).numpy()
        rates.first_call = time.perf_counter() - begun
        _LOG.info("first step: %.1f s", rates.first_call)
        for _ in range(_WARM_UP):
            loss = step(parts)
        loss.numpy()
        _measure_turns(rates, step, parts, steps, turns, pytorch, compiled)
        _LOG.info("step: %.1f slices/s; timm: %s", rates.step, rates.timm)
        with traced() as traces:
            for _ in range(TRACED_STEPS):
                loss = step(parts)
            loss.numpy()
        rates.step_trace = traces[0]
        _measure_input(rates, task, steps)
        _LOG.info("input: %.1f slices/s", rates.input)
        _measure_both(rates, task, step, hardware, steps)
    if device_name():
        rates.peak_gib = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**30
        tf.config.experimental.reset_memory_stats("GPU:0")


def _measure_turns(
    rates: Rates,
    step: Any,
    parts: Any,
    steps: int,
    turns: int,
    pytorch: str | None,
    compiled: bool,
) -> None:
    """Measures our step and timm's in turns, so that other load slows both."""
    of = rates.combination
    with contextlib.ExitStack() as stack:
        timm = None
        if pytorch is not None:
            timm = TimmProcess(
                pytorch,
                of.backbone,
                image_size=of.image_size,
                batch_size=of.batch_size,
                precision=of.precision,
                compiled=compiled,
            )
            stack.callback(timm.close)
            _LOG.info("timm: %s", timm.about)
        ours, theirs = [], []
        for _ in range(turns):
            begun = time.perf_counter()
            for _ in range(steps):
                loss = step(parts)
            loss.numpy()
            ours.append(time.perf_counter() - begun)
            if timm is not None and timm.works:
                theirs.append(timm.seconds(steps))
        rates.step = steps * of.batch_size / min(ours)
        if timm is not None:
            works = timm.works and theirs
            rates.timm = steps * of.batch_size / min(theirs) if works else timm.about["error"]


def _measure_input(rates: Rates, task: Any, steps: int) -> None:
    from ich_tf.records.input_pipeline import read_batches

    batches = iter(read_batches(task.batches(0, 0)))
    for _ in range(_WARM_UP):
        next(batches)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    slices = steps * rates.combination.batch_size
    rates.input = slices / (time.perf_counter() - begun)
    rates.input_cpu_ms = 1000 * (time.process_time() - cpu_begun) / slices


def _measure_both(rates: Rates, task: Any, step: Any, hardware: Any, steps: int) -> None:
    """Times the steps of an epoch after the first ones, then traces those after them."""
    from ich_tf.training.checkpoints import RunProgress
    from ich_tf.training.epoch import run_epoch

    times: list[float] = []
    waited: list[float] = []
    progress = RunProgress()
    with contextlib.ExitStack() as stack:
        traces: list[list[DeviceTrace]] = []

        def on_losses(_: int, count: int, loss: float) -> None:
            times.extend([time.perf_counter()] * count)
            waited.extend([progress.waited] * count)
            if len(times) == _WARM_UP + steps:
                traces.append(stack.enter_context(traced()))

        total = _WARM_UP + steps + TRACED_STEPS
        batches = task.batches(0, 0)
        run_epoch(step, hardware.strategy, batches, progress, total, on_losses=on_losses)
    first, last = _WARM_UP - 1, _WARM_UP + steps - 1
    seconds = times[last] - times[first]
    rates.both = steps * rates.combination.batch_size / seconds
    rates.waited = (waited[last] - waited[first]) / seconds
    rates.both_trace = traces[0][0]


def _config(of: Combination, manifest: Any, work_dir: str) -> Any:
    from ich_tf.training.config import TrainConfig

    return TrainConfig(
        data_dir=str(manifest.data_dir),
        work_dir=work_dir,
        backbone=of.backbone,
        weights="none",
        image_size=of.image_size,
        batch_size=of.batch_size,
        strategy="one",
        mixed_precision="float32" if of.precision == "tf32" else of.precision,
        tf32=of.precision == "tf32",
        xla="on" if of.xla else "off",
        **_AUGMENTATION,
        **_RECIPES[of.recipe],
    )


def _task(config: Any, manifest: Any, slices: int) -> Any:
    """The task over the training shards, repeated until an epoch has as many slices as needed."""
    from ich_tf.training.slice_task import SliceTask

    fewest = SliceTask(config, manifest).num_train
    copies = -(-slices // fewest)
    return SliceTask(config, dataclasses.replace(manifest, shards=manifest.shards * copies))
