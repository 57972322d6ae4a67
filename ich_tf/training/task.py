"""What a run trains on and what it trains; the trainer knows no more of it than this.

`SliceTask` is a network over slices. `series_task.SeriesTask` is a model over the features of a
series, `end_to_end_task.EndToEndTask` both together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ich_tf.records.manifest import Shard
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker
from ich_tf.training.step import Loss

# Wraps the batches of a validation, so that it can be ended between them.
Watch = Callable[[Iterable[Any]], Iterator[Any]]
# Predicts this worker's validation slices: labels [n, 6] and logits [n, 6].
Validate = Callable[[Watch], tuple[np.ndarray, np.ndarray]]


class Task(Protocol):
    """What a run trains on and what it trains.

    Attributes:
      data: What a run must find unchanged when it continues (`Manifest.fingerprint`).
      shards: Files whose damage can be named.
      prior: Share of positives a class in the training folds, float64 [6].
      spec: Of the model.
      loss: (labels, the model's outputs) -> float32 [n].
      num_train, num_validation: Slices, over all workers.
      batch_size: This worker's part of a batch.
      steps: Of an epoch.
      slices_per_step: Over all workers, on average.
    """

    data: dict[str, Any]
    shards: Sequence[Shard]
    prior: np.ndarray
    spec: Any
    loss: Loss
    num_train: int
    num_validation: int
    batch_size: int
    steps: int
    slices_per_step: float

    def deal(self, worker: Worker) -> None:
        """Takes this worker's part; before all that follows.

        Raises:
          ConfigError: If workers do not divide the batch.
          InputError: If there is less than a batch.
        """

    def prepare(self, work_dir: Path) -> None:
        """Puts into the work dir what the model will need beside its weights."""

    def build(self) -> keras.Model:
        """The model with its initial weights, under the current scope and dtype policy."""

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """Inputs and labels of an epoch's steps, from one of them on."""

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """What is called after each epoch, with the model's weights of then.

        It raises DataError if a record is missing.
        """
