"""Training of a network and a pool over its slices, by labels of exams, of slices, or of both."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.series_predictor import LoadedEndToEnd, end_to_end_predictor
from ich_tf.labels import CLASSES
from ich_tf.models.architectures import ATTENTION
from ich_tf.models.backbones import feature_width
from ich_tf.models.end_to_end import EndToEndSpec
from ich_tf.models.pooling import initial_prior
from ich_tf.models.series_model import SeriesSpec
from ich_tf.records.bags import bag_batches, epoch_bags, find_bags
from ich_tf.records.manifest import Manifest, Shard
from ich_tf.records.shard_labels import known_shares
from ich_tf.runtime.keras2 import keras
from ich_tf.training.bag_loss import bag_loss
from ich_tf.training.config import TrainConfig
from ich_tf.training.exam_rows import exam_rows
from ich_tf.training.slice_task import SliceTask
from ich_tf.training.task import Validate, Watch

_LOG = logging.getLogger(__name__)


class ExamTask(SliceTask):
    """Training of a network through bags of the slices of exams; see `Task`.

    A bag has the label of its exam, those of its slices, or both, each class known or not; what is
    known has a loss. It is validated as it is used: on whole series.
    """

    def __init__(self, config: TrainConfig, manifest: Manifest) -> None:
        """Chooses the shards as `SliceTask` does, and reads their labels once.

        Raises:
          InputError: As for `SliceTask`, and if no exam to train on has a known label.
        """
        super().__init__(config, manifest)
        # Of all shards, so that all workers start alike.
        self._shares = shares = known_shares(self._train_shards)
        self._require_labels()
        lengths = find_bags(self._train_shards)[:, 2]
        self._mean_length = float(lengths.mean())
        bag = np.minimum(lengths, config.slab) if config.slab else lengths
        self.slices_per_step = config.batch_size * float(bag.mean())
        self.prior = shares.of_slices
        self.loss = functools.partial(
            bag_loss,
            exam_weight=config.exam_weight,
            # The other pools have a slice's logit in the exam's already.
            instance_weight=config.instance_weight if config.sequence == ATTENTION else 0.0,
            label_smoothing=config.label_smoothing,
        )
        self.spec = self._both = EndToEndSpec(
            # The loss is that of the pool, and only its logits are smoothed.
            network=dataclasses.replace(
                self._network, label_smoothing=0.0, prior=tuple(self.prior.tolist())
            ),
            series=SeriesSpec(
                backbone=config.sequence,
                feature_dim=feature_width(config.backbone),
                units=config.units,
                layers=config.layers,
                dropout=config.dropout,
                reverse=False,
                label_smoothing=config.label_smoothing,
                prior=tuple(self.prior.tolist()),
                weakly_supervised=shares.num_slices == 0,
            ),
        )
        unknown = [CLASSES[i] for i in np.flatnonzero(np.isnan(shares.exams))]
        _LOG.info(
            "bags of %.1f slices: %d exams and %d slices have labels%s",
            *(bag.mean(), shares.num_exams, shares.num_slices),
            f"; no exam's label tells of {', '.join(unknown)}" if unknown else "",
        )

    def _require_labels(self) -> None:
        """Checks that there is an exam or a slice to learn from, and one to validate on.

        Raises:
          InputError: If no label is known.
        """
        for shards, folds in (
            (self._train_shards, "training folds"),
            (self._validation_shards, "validation fold"),
        ):
            if not epoch_bags(shards):
                raise InputError(
                    f"{self._config.data_dir}: no exam of the {folds} has a known label, of its "
                    "own or of a slice. Convert with labels of exams (--label_level) or of slices."
                )

    def build(self) -> keras.Model:
        """Builds both as one.

        Logits begin with the prior of slices, and for classes that no slice's label tells of with
        that at which a pool over equal slices gives the prior of exams.
        """
        shares, config = self._shares, self._config
        by_exams = initial_prior(config.sequence, shares.of_exams, self._mean_length)
        bias = np.where(np.isnan(shares.slices), by_exams, shares.slices)
        return self._both.build(weights=config.weights, bias=bias)

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """Reads bags with their places, and labels of exams and slices; see `Task.batches`."""
        config = self._config
        bags = bag_batches(
            self._train_shards,
            self._manifest.image_shape,
            batch_size=self.batch_size,
            slices=config.slab,
            seed=config.seed,
            epoch=epoch,
            encoding=self._manifest.encoding,
            first_step=first_step,
            worker=self._worker,
        )
        bags = self._changes.in_input(bags, epoch * self.steps + first_step)
        return bags.take(self.steps - first_step)

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """Makes the function that predicts the validation series; see `Task.validator`.

        Its rows are slices where all are labelled, and else exams.
        """
        predictor = end_to_end_predictor([LoadedEndToEnd(model, self._both)], strategy)
        batch_size = max(round(self.slices_per_step), 1)
        if self._config.slice_chunk:
            batch_size = min(batch_size, self._config.slice_chunk)

        def validate(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
            outputs = self._predict(predictor.outputs, watch, batch_size)
            predictions = predictor.read_series(outputs)
            if not self._manifest.has_exams:
                return predictions.labels, predictions.logits
            return exam_rows(predictions)

        return validate

    def _epoch_size(self, shards: Sequence[Shard]) -> int:
        return epoch_bags(shards)
