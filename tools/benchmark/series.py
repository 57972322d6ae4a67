"""Measures training of series models beside a slice model, and memory of predicting a series.

  python -m tools.benchmark.series

Inputs are random features and images; their values do not change the rates.

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from absl import flags

from ich_tf.runtime import command

command.add_headings({"backbones": "Models", "series_length": "Measurement"})
_BACKBONES = flags.DEFINE_list("backbones", ["bigru", "transformer"], "Series models to measure.")
_SLICE_BACKBONE = flags.DEFINE_string("slice_backbone", "resnet50", "Backbone of the slice model.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Height and width of the slice model's input, px."
)
_SERIES_LENGTH = flags.DEFINE_integer("series_length", 33, "Slices of a series.", lower_bound=1)
_FEATURE_DIM = flags.DEFINE_integer("feature_dim", 64, "Features of a slice.", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 16, "Series, or slices, of a training step.", lower_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 10, "Training steps of each measurement.", lower_bound=2)
# Slices of the series whose prediction is measured.
_LONG_SERIES = 60


def main() -> None:
    """Prints the rate of the slice model, then of each series model."""
    alone = _measure_slices()
    print(f"{_SLICE_BACKBONE.value} {_IMAGE_SIZE.value} px: {alone:.1f} slices/s", flush=True)
    for backbone in _BACKBONES.value:
        rate, mib = _measure_series(backbone)
        print(
            f"{backbone}: {rate:.0f} slices/s, {rate / alone:.0f}x; predicting a series of "
            f"{_LONG_SERIES} slices takes {mib:.1f} MiB more than the model",
            flush=True,
        )


def _measure_slices() -> float:
    import numpy as np

    from ich_tf.models.slice_model import build_model

    size, batch = _IMAGE_SIZE.value, _BATCH_SIZE.value
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    labels = rng.integers(0, 2, (batch, 6)).astype(np.float32)
    seconds = _seconds(
        lambda: build_model(_SLICE_BACKBONE.value, (size, size, 3), size), images, labels, None
    )
    return float(batch / seconds)


def _measure_series(backbone: str) -> tuple[float, float]:
    import numpy as np
    import psutil

    from ich_tf.losses import series_loss
    from ich_tf.models.series_model import build_series_model, pack_arrays, packed_width

    number, batch, dim = _SERIES_LENGTH.value, _BATCH_SIZE.value, _FEATURE_DIM.value
    slots = -(-number // 8) * 8
    rng = np.random.default_rng(0)
    packed = np.zeros((batch, slots, packed_width(dim)), np.float32)
    for row in packed:
        z_mm = np.arange(number, dtype=np.float32) * 5
        row[:] = pack_arrays(
            rng.normal(size=(number, dim)), rng.normal(size=(number, 6)), z_mm, slots
        )
    labels = rng.integers(0, 2, (batch, 1 + slots, 7)).astype(np.float32)
    seconds = _seconds(lambda: build_series_model(backbone, dim), packed, labels, series_loss)
    model = build_series_model(backbone, dim)
    process = psutil.Process()
    former_memory = process.memory_info().rss
    series = np.zeros((1, _LONG_SERIES, packed_width(dim)), np.float32)
    series[..., -1] = 1
    model(series, training=False)
    return float(batch * number / seconds), (process.memory_info().rss - former_memory) / 2**20


def _seconds(build: Callable[[], Any], inputs: Any, labels: Any, loss: Any) -> float:
    """Seconds of a training step."""
    from ich_tf.runtime.precision import choose_precision, devices_of, policy_scope
    from ich_tf.runtime.strategies import make_strategy, split_batch
    from ich_tf.training.config import TrainConfig
    from ich_tf.training.optimizers import make_optimizer
    from ich_tf.training.step import TrainingStep

    strategy = make_strategy("mirrored")
    precision = "float32"
    if loss is None:
        precision = choose_precision("auto", devices_of(strategy)).value
    with strategy.scope(), policy_scope(precision):
        model = build()
        optimizer = make_optimizer(TrainConfig(), 100, loss_scaling=precision == "float16")
    options = {} if loss is None else {"loss": loss}
    step = TrainingStep(model, optimizer, strategy, batch_size=len(inputs), **options)
    parts = split_batch(strategy, inputs, labels)
    for _ in range(2):
        step(parts).numpy()
    start = time.perf_counter()
    for _ in range(_STEPS.value):
        last = step(parts)
    last.numpy()
    return (time.perf_counter() - start) / _STEPS.value


if __name__ == "__main__":
    command.run(main, __doc__)
