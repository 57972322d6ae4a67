"""Batches of slices -> logits, over the replicas of a strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.metrics import sigmoid
from ich_tf.records.input_pipeline import read_batches
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import split_batch

LogitsFn = Callable[[np.ndarray], np.ndarray]

_TEXTS = ("source_id", "patient_key", "series_key", "scanner")
_NUMBERS = ("slice_index", "z_mm", "spacing_mm", "gantry_tilt_deg", "labels")


@dataclass(frozen=True, eq=False)
class SlicePredictions:
    """The labels and logits of n labelled records, in the order they were read.

    Attributes:
      source_id, patient_key, series_key, scanner: str [n].
      slice_index: int64 [n], within the series.
      z_mm: float32 [n], along the series' normal.
      spacing_mm: float32 [n, 2], between rows, between columns, of the original image.
      gantry_tilt_deg: float32 [n].
      labels: float32 [n, 6], 0 or 1.
      logits: float32 [n, 6].
      series_logits: float64 [n, 6], what a series model says of each slice's whole series; None of
        other models.
    """

    source_id: list[str]
    patient_key: list[str]
    series_key: list[str]
    scanner: list[str]
    slice_index: np.ndarray
    z_mm: np.ndarray
    spacing_mm: np.ndarray
    gantry_tilt_deg: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    series_logits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source_id)

    @classmethod
    def concatenate(cls, parts: Sequence[SlicePredictions]) -> SlicePredictions:
        """One after the other."""
        texts: dict[str, Any] = {
            name: [one for part in parts for one in getattr(part, name)] for name in _TEXTS
        }
        numbers = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_NUMBERS, "logits")
        }
        whole = [part.series_logits for part in parts if part.series_logits is not None]
        if len(whole) == len(parts):
            numbers["series_logits"] = np.concatenate(whole)
        return cls(**texts, **numbers)

    @property
    def probabilities(self) -> np.ndarray:
        """float64 [n, 6]."""
        return sigmoid(self.logits)


def make_logits_fn(model: keras.Model, strategy: tf.distribute.Strategy) -> LogitsFn:
    """Makes the function that validation, evaluation and prediction share.

    Each replica takes an equal, contiguous part of a batch. Batches of one size are traced
    once; a batch that the replicas do not divide is padded with its last slice, and cut.

    Args:
      model: Made under `strategy`'s scope.
      strategy: Its replicas share each batch.

    Returns:
      A function: uint8 [n, H, W, C], array or eager tensor, n >= 1 -> float32 logits [n, 6],
      as `model(images, training=False)`.
    """
    replicas = strategy.num_replicas_in_sync

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run(images: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = strategy.run(lambda local: model(local, training=False), args=(images,))
        return tuple(strategy.experimental_local_results(logits))

    def logits_fn(images: np.ndarray) -> np.ndarray:
        number = len(images)
        if number == 0:
            raise ValueError("images is empty; expected at least one slice.")
        images = tf.convert_to_tensor(images)
        padding = -number % replicas
        if padding:
            last = tf.repeat(images[-1:], padding, axis=0)
            images = tf.concat([images, last], axis=0)
        # Only the images go to the devices: strings beside them could not.
        parts = run(*split_batch(strategy, images))
        logits: np.ndarray = np.concatenate([part.numpy() for part in parts])
        return logits[:number]

    return logits_fn


def predict_records(
    logits_fn: LogitsFn, batches: Iterable[dict[str, tf.Tensor]], expected: int
) -> SlicePredictions:
    """Predicts every labelled record once.

    Args:
      logits_fn: Of `make_logits_fn`.
      batches: As `input_pipeline.eval_batches` gives them; padding is dropped.
      expected: Records that must come, 1 or more.

    Raises:
      DataError: If a record cannot be read, is missing or unlabelled.
    """
    texts: dict[str, Any] = {name: [] for name in _TEXTS}
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in _NUMBERS}
    logits = []
    for batch in read_batches(batches):
        keep = (batch["mask"] & batch["label_present"]).numpy()
        for name, values in texts.items():
            values += [text.decode() for text in batch[name].numpy()[keep]]
        for name, arrays in numbers.items():
            arrays.append(batch[name].numpy()[keep])
        logits.append(logits_fn(batch["image"])[keep])
    count = sum(map(len, logits))
    if count != expected or not count:
        raise DataError(
            f"read {count} labelled records; the manifest counts {expected}. Run python -m "
            "ich_tf.verify_tfrecords --full on the data dir."
        )
    return SlicePredictions(
        **texts,
        **{name: np.concatenate(arrays) for name, arrays in numbers.items()},
        logits=np.concatenate(logits),
    )
