"""Measures training: the step alone, the step with its input, and Keras `fit` on the same data.

  python -m tools.benchmark.train --dicom_dir=D/stage_2_train --backbone=resnet50

Exit codes: 0 done; 1 a command failed or the data cannot be used; 2 wrong usage.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from ich_tf.runtime import command
from tools.benchmark.records import convert_folder

command.add_headings({"dicom_dir": "Data", "backbone": "Network", "steps": "Measurement"})
_DICOM_DIR = command.define_path(
    "dicom_dir", "data/phantoms/stage_2_train", "Folder of DICOM files to train on."
)
_BACKBONE = flags.DEFINE_string("backbone", "resnet50", "Network, with random weights.")
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", 224, "Height and width of the network's input, px."
)
_RECORD_SIZE = flags.DEFINE_integer("record_size", 256, "Rows and columns of the records, px.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Slices of an optimizer step.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 12, "Steps of each measurement.", lower_bound=2)
_ENCODING = flags.DEFINE_string("encoding", "png", "Encoding of the records.")
_PRECISION = flags.DEFINE_string("mixed_precision", "auto", "As in ich_tf.train.")
_XLA = flags.DEFINE_string("xla", "auto", "As in ich_tf.train.")
_STRATEGY = flags.DEFINE_string("strategy", "mirrored", "As in ich_tf.train.")


def main() -> None:
    """Makes the records and prints each measurement."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = convert_folder(
            _DICOM_DIR.value, Path(folder) / "records", _RECORD_SIZE.value, _ENCODING.value
        )
        alone = _measure_step(manifest)
        plain = _measure_fit(manifest)
        print(f"the step is {alone / plain:.2f}x plain fit")


def _measure_step(manifest: Any) -> float:
    import tensorflow as tf

    from ich_tf.runtime.precision import choose_precision, choose_xla, devices_of, policy_scope
    from ich_tf.runtime.strategies import make_strategy, split_batch
    from ich_tf.training.augmentation import augment_batch
    from ich_tf.training.checkpoints import RunProgress
    from ich_tf.training.config import TrainConfig
    from ich_tf.training.epoch import run_epoch
    from ich_tf.training.optimizers import make_optimizer
    from ich_tf.training.step import TrainingStep

    config = TrainConfig(flip=True, shift=0.06, rotate=10.0)
    strategy = make_strategy(_STRATEGY.value)
    devices = devices_of(strategy)
    precision = choose_precision(_PRECISION.value, devices).value
    xla = choose_xla(_XLA.value, devices).value
    with strategy.scope(), policy_scope(precision):
        model = _model(manifest)
        optimizer = make_optimizer(config, 1000, loss_scaling=precision == "float16")
    step = TrainingStep(model, optimizer, strategy, batch_size=_BATCH_SIZE.value, xla=xla)
    batches = _batches(manifest).enumerate()
    batches = batches.map(
        lambda number, batch: augment_batch(
            batch[0], batch[1], tf.stack([tf.zeros([], tf.int64), number]), config
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    parts = split_batch(strategy, *next(iter(batches.take(1))))
    begun = time.perf_counter()
    step(parts).numpy()
    compiled = time.perf_counter() - begun
    step(parts).numpy()
    begun = time.perf_counter()
    for _ in range(_STEPS.value):
        loss = step(parts)
    loss.numpy()
    seconds = (time.perf_counter() - begun) / _STEPS.value
    alone = _BATCH_SIZE.value / seconds
    name = f"{_BACKBONE.value} {_IMAGE_SIZE.value} px, {precision}, XLA {'on' if xla else 'off'}"
    print(f"{name}: the step {alone:.2f} img/s; first call {compiled - seconds:.1f} s more")
    progress = RunProgress()
    run_epoch(step, strategy, batches.take(_STEPS.value), progress, _STEPS.value)
    print(
        f"with its input, augmented: {_STEPS.value * _BATCH_SIZE.value / progress.seconds:.2f} "
        f"img/s, waited for input {100 * progress.waited / progress.seconds:.1f} %",
        flush=True,
    )
    return alone


def _measure_fit(manifest: Any) -> float:
    """Rate of plain `compile` and `fit` in float32 with the same model and data."""
    import tensorflow as tf

    from ich_tf.losses import weighted_binary_crossentropy
    from ich_tf.runtime.keras2 import keras

    keras.backend.clear_session()
    model = _model(manifest)
    model.compile(
        optimizer=keras.optimizers.Adam(5e-4),
        loss=lambda labels, logits: tf.reduce_mean(weighted_binary_crossentropy(labels, logits)),
    )
    batches = _batches(manifest).repeat()
    model.fit(batches, steps_per_epoch=2, verbose=0)
    begun = time.perf_counter()
    model.fit(batches, steps_per_epoch=_STEPS.value, verbose=0)
    rate = _STEPS.value * _BATCH_SIZE.value / (time.perf_counter() - begun)
    print(f"plain fit, float32, not augmented: {rate:.2f} img/s", flush=True)
    return rate


def _model(manifest: Any) -> Any:
    from ich_tf.models.slice_model import build_model

    stored_hu = manifest.encoding == "hu16"
    return build_model(
        _BACKBONE.value,
        manifest.image_shape,
        _IMAGE_SIZE.value,
        hu_windows=manifest.windows if stored_hu else (),
    )


def _batches(manifest: Any) -> Any:
    from ich_tf.records.input_pipeline import train_batches

    epochs = (
        train_batches(
            manifest.shards,
            manifest.image_shape,
            batch_size=_BATCH_SIZE.value,
            seed=0,
            epoch=epoch,
            encoding=manifest.encoding,
        )
        for epoch in itertools.count()
    )
    # As many epochs as one measurement needs.
    batches = next(epochs)
    while int(batches.cardinality()) < _STEPS.value and int(batches.cardinality()) > 0:
        batches = batches.concatenate(next(epochs))
    return batches


if __name__ == "__main__":
    command.run(main, __doc__)
