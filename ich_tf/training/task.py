"""A task: the data of a run and the model that learns from them, as the trainer sees them.

`SliceTask` is a network over slices, `series_task.SeriesTask` a model over the features of a
series, and `end_to_end_task.EndToEndTask` both together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ich_tf.models.origins import Origin
from ich_tf.records.manifest import Shard
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker
from ich_tf.training.forward_backward import Loss
from ich_tf.training.step import PrepareBatch

# Wraps the batches of a validation, so that it can be ended between two of them.
Watch = Callable[[Iterable[Any]], Iterator[Any]]
# Predicts this worker's validation slices: labels [n, 6] and logits [n, 6].
Validate = Callable[[Watch], tuple[np.ndarray, np.ndarray]]


class Task(Protocol):
    """Data of a run, and the model that learns from them.

    `deal` is called before all other methods, once.

    Attributes:
      data: Fingerprint of the data, which must be the same when a run continues.
      patients: Stored keys of the patients of each split.
      patient_keys: Whence the keys are (`Manifest.patient_keys`).
      networks: Origins of the networks whose features are the data; empty for images.
      shards: Files among which a damaged one can be named.
      prior: Share of positive slices of each class in the training folds, float64 [6].
      spec: Spec of the model.
      loss: Loss of each example, (labels, outputs of the model) -> float32 [n].
      prepare_batch: Change of a batch on the devices before a step; None changes nothing.
      num_train, num_validation: Number of slices, over all workers.
      batch_size: Examples in this worker's part of a batch.
      steps: Number of steps of an epoch.
      slices_per_step: Mean number of slices in a step, over all workers.
    """

    data: dict[str, Any]
    patients: Mapping[str, Sequence[str]]
    patient_keys: str
    networks: Sequence[Origin]
    shards: Sequence[Shard]
    prior: np.ndarray
    spec: Any
    loss: Loss
    prepare_batch: PrepareBatch | None
    num_train: int
    num_validation: int
    batch_size: int
    steps: int
    slices_per_step: float

    def deal(self, worker: Worker) -> None:
        """Restricts the task to one worker's part of the data.

        Raises:
          ConfigError: If the number of workers does not divide the batch.
          InputError: If the data are less than a batch.
        """

    def prepare(self, work_dir: Path) -> None:
        """Copies the files that the model needs beside its weights into the work dir."""

    def build(self) -> keras.Model:
        """Builds the model with its initial weights, under the current scope and dtype policy."""

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """Reads the batches of an epoch.

        Args:
          epoch: Number of the epoch, from 0.
          first_step: Number of the first step, from 0.

        Returns:
          Inputs and labels of the steps from `first_step` on.
        """

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """Makes the function that predicts the validation slices with the model's present weights.

        Args:
          model: The model, as built.
          strategy: Strategy whose replicas share each batch.

        Returns:
          A function that raises DataError if a record is missing.
        """
