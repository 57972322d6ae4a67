"""Changes of batches on their way to the step: where they are augmented, neighbours as channels.

Augmentation runs on the devices, just before the step, or in the input pipeline, with equal results
but for rounding. GPUs do it beside the step's work; on a CPU the pipeline's threads do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.records.neighbours import as_channels
from ich_tf.records.record_streams import THREADS
from ich_tf.runtime.strategies import Worker
from ich_tf.training.augmentation import augment_batch, augments
from ich_tf.training.config import TrainConfig
from ich_tf.training.config_parts import DEVICE, INPUT
from ich_tf.training.step import PrepareBatch


class BatchChanges:
    """Changes of a worker's batches of stored slices.

    Attributes:
      prepare: Change on the devices before a step; None changes nothing.
    """

    def __init__(self, config: TrainConfig, worker: Worker, batch_size: int) -> None:
        """Chooses where batches are augmented.

        Args:
          config: Config of the run.
          worker: This worker.
          batch_size: Examples of this worker's batch.
        """
        self._config, self._batch_size, self._replicas = config, batch_size, worker.replicas
        self._seed = int(np.random.default_rng([config.seed, worker.index]).integers(1 << 62))
        self._on_device = augments(config) and _place(config) == DEVICE
        self._in_input = augments(config) and not self._on_device
        self._merges = config.neighbours > 1
        self.prepare: PrepareBatch | None = None
        if self._on_device or self._merges:
            self.prepare = self._prepare

    def in_input(self, batches: tf.data.Dataset, first_step: int) -> tf.data.Dataset:
        """Changes batches of images and labels in the input pipeline.

        Args:
          batches: Batches of `train_batches` or `slab_batches`.
          first_step: Number in the run of the first batch's step, from 0.
        """
        if self._in_input:

            def augment(step: tf.Tensor, batch: tuple[Any, Any]) -> tuple[Any, Any]:
                return self._augmented(*batch, step, None)

            batches = batches.enumerate(start=first_step)
            batches = batches.map(augment, num_parallel_calls=THREADS, deterministic=True)
            return batches.prefetch(2)
        if self._on_device and self._config.mixup:
            places = self._with_partners()
            return batches.map(lambda *batch: tuple(tf.gather(x, places) for x in batch))
        return batches

    def _prepare(
        self, inputs: Any, labels: Any, step: tf.Tensor, first: tf.Tensor
    ) -> tuple[Any, Any]:
        if self._on_device:
            # With mixup a replica's part begins with a slice that is another replica's.
            extra = int(self._config.mixup > 0)
            share = self._batch_size // self._replicas
            first = first // (share + extra) * share - extra
            examples = (first + tf.range(share + extra)) % self._batch_size
            inputs, labels = self._augmented(inputs, labels, step, examples)
        return as_channels(inputs) if self._merges else inputs, labels

    def _augmented(
        self, inputs: Any, labels: Any, step: tf.Tensor, examples: tf.Tensor | None
    ) -> tuple[Any, Any]:
        """Augments a batch, or the part of it that `examples`, int32 [m], are."""
        # Of a slab the positions come after the images.
        images, *positions = inputs if isinstance(inputs, tuple) else (inputs,)
        images, labels = augment_batch(
            images,
            labels,
            tf.stack([tf.constant(self._seed, tf.int64), tf.cast(step, tf.int64)]),
            self._config,
            number=self._batch_size,
            examples=examples,
        )
        return (images, *positions) if positions else images, labels

    def _with_partners(self) -> np.ndarray:
        """Examples of each replica's part, after the one before its first, int [n + replicas]."""
        share = self._batch_size // self._replicas
        parts = np.arange(self._batch_size).reshape(self._replicas, share)
        before = (parts[:, :1] - 1) % self._batch_size
        return np.ravel(np.concatenate([before, parts], axis=1))


def _place(config: TrainConfig) -> str:
    """Where batches are augmented: on the GPUs that a strategy takes, or in the input pipeline."""
    if config.augment_on != "auto":
        return config.augment_on
    gpus = tf.config.list_physical_devices("GPU")
    return DEVICE if gpus and not config.cpu_replicas else INPUT
