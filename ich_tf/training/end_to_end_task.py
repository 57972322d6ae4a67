"""Training of a network and a model over its series, end to end."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ich_tf.inference.series_predictor import LoadedEndToEnd, end_to_end_predictor
from ich_tf.losses import exam_loss, series_loss
from ich_tf.models.backbones import feature_width
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.series_model import SeriesSpec
from ich_tf.records.bags import bag_batches, epoch_bags
from ich_tf.records.manifest import Manifest, Shard
from ich_tf.records.slabs import epoch_slabs, slab_batches
from ich_tf.runtime.keras2 import keras
from ich_tf.training.config import TrainConfig
from ich_tf.training.exam_rows import exam_rows
from ich_tf.training.slab_prior import slab_prior
from ich_tf.training.slice_task import SliceTask
from ich_tf.training.task import Validate, Watch


class EndToEndTask(SliceTask):
    """Training of a network and a model over its features of consecutive slices; see `Task`.

    It trains on slabs, and is validated as it is used: on whole series. Where exams have labels it
    trains on bags instead, slices that lie evenly along a whole series (`records.bags`): what is
    known of an exam does not tell which of its slabs it is seen in.
    """

    def __init__(self, config: TrainConfig, manifest: Manifest) -> None:
        """Chooses the shards as `SliceTask` does; the arguments are the same."""
        super().__init__(config, manifest)
        self.slices_per_step = float(config.batch_size * config.slab)
        # Of all shards, so that all workers start alike.
        if manifest.has_exams:
            self._require_labels()
            self._slab_prior = self._shares.of_exams
            self.loss = functools.partial(
                exam_loss,
                exam_weight=config.series_weight,
                label_smoothing=config.label_smoothing,
            )
        else:
            self._slab_prior = slab_prior(self._train_shards, config.slab)
            self.loss = functools.partial(series_loss, label_smoothing=config.label_smoothing)
        self.spec = self._both = EndToEndSpec(
            # The loss is that of the model over series, and only its logits are smoothed.
            network=dataclasses.replace(self._network, label_smoothing=0.0),
            series=SeriesSpec(
                backbone=config.sequence,
                feature_dim=feature_width(config.backbone),
                units=config.units,
                layers=config.layers,
                dropout=config.dropout,
                reverse=config.reverse,
                label_smoothing=config.label_smoothing,
                prior=tuple(self.prior.tolist()),
            ),
        )

    def build(self) -> keras.Model:
        """Builds both as one; their logits begin with the priors of slices and of slabs."""
        return self._both.build(
            weights=self._config.weights, bias=self.prior, series_bias=self._slab_prior
        )

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """Reads slabs or bags with their places, and labels; see `Task.batches`.

        Slabs have labels with weights, as `series_loss` reads them, bags those of `exam_loss`.
        """
        config = self._config
        read = bag_batches if self._manifest.has_exams else slab_batches
        slabs = read(
            self._train_shards,
            self._manifest.image_shape,
            batch_size=self.batch_size,
            slices=config.slab,
            seed=config.seed,
            epoch=epoch,
            encoding=self._manifest.encoding,
            reverse=config.reverse,
            first_step=first_step,
            worker=self._worker,
        )
        slabs = self._changes.in_input(slabs, epoch * self.steps + first_step)
        if self._manifest.has_exams:
            return slabs.take(self.steps - first_step)
        weigh = functools.partial(weighted_labels, series_weight=config.series_weight)
        batches = slabs.map(lambda inputs, labels: (inputs, weigh(labels, inputs[1][..., 1])))
        return batches.take(self.steps - first_step)

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """Makes the function that predicts the validation series; see `Task.validator`.

        Its rows are slices, or exams where these have labels.
        """
        predictor = end_to_end_predictor([LoadedEndToEnd(model, self._both)], strategy)
        batch_size = self.batch_size * self._config.slab

        def validate(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
            outputs = self._predict(predictor.outputs, watch, batch_size)
            predictions = predictor.read_series(outputs)
            if self._manifest.has_exams:
                return exam_rows(predictions)
            return predictions.labels, predictions.logits

        return validate

    def _epoch_size(self, shards: Sequence[Shard]) -> int:
        if self._manifest.has_exams:
            return epoch_bags(shards)
        return epoch_slabs(shards, self._config.slab)


def weighted_labels(labels: tf.Tensor, present: tf.Tensor, *, series_weight: float) -> tf.Tensor:
    """Adds weights and a row for the whole slab to its labels, as `series_task.pack_labels`.

    Args:
      labels: float32 [b, k, 6].
      present: float32 [b, k], 1 for a slice, 0 for none.
      series_weight: Weight of the slab's own row, which is positive where a slice of it is.

    Returns:
      float32 [b, 1 + k, 7]: the slab's row, then its slices', the weight last. The slices of a
      whole slab weigh 1 together, those of a slab that is cut short less: each slice weighs the
      same.
    """
    slices = tf.concat([labels, present[..., None] / labels.shape[1]], axis=-1)
    whole = tf.reduce_max(labels * present[..., None], axis=1, keepdims=True)
    weight = tf.fill(tf.shape(whole[..., :1]), tf.constant(series_weight, tf.float32))
    return tf.concat([tf.concat([whole, weight], axis=-1), slices], axis=1)
