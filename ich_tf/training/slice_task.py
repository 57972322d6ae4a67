"""Training of a network over single slices."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.forward import LogitsFn, SliceOutputs, make_logits_fn, predict_outputs
from ich_tf.losses import known_training_loss, segmentation_loss, training_loss
from ich_tf.models.label_smoothing import smooth_labels
from ich_tf.models.origins import Origin
from ich_tf.models.prior_shift import shift_prior
from ich_tf.models.saved import Spec
from ich_tf.models.segmentation import classifier
from ich_tf.models.spec import ModelSpec
from ich_tf.records.input_pipeline import epoch_records, eval_batches, train_batches
from ich_tf.records.manifest import Manifest, Shard, deal_shards, label_counts, num_records
from ich_tf.records.shard_labels import known_shares
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker
from ich_tf.training.batch_changes import BatchChanges
from ich_tf.training.config import TrainConfig
from ich_tf.training.config_parts import SLICE
from ich_tf.training.constant_classes import warn_of_constant_classes
from ich_tf.training.forward_backward import Loss
from ich_tf.training.step import PrepareBatch
from ich_tf.training.task import Validate, Watch

if TYPE_CHECKING:
    from typing_extensions import Self


class SliceTask:
    """Training of a network over slices; see `Task`."""

    def __init__(self, config: TrainConfig, manifest: Manifest) -> None:
        """Chooses the shards to train on and to validate on.

        Args:
          config: Config of the run.
          manifest: Manifest of its data.

        Raises:
          InputError: If the data have no such fold or another encoding than the config needs.
        """
        self._config, self._manifest = config, manifest
        fold = int(config.validation_fold)
        self._train_shards = manifest.train_shards(fold)
        self._validation_shards = manifest.fold_shards(fold)
        if config.window_jitter and manifest.encoding != "hu16":
            raise InputError(
                f"{config.data_dir}: holds records of encoding {manifest.encoding}; "
                "--window_jitter needs Hounsfield units. Convert with --encoding=hu16."
            )
        needs_masks = config.mask_weight > 0 and not config.self_training
        if config.segmentation and needs_masks and not manifest.num_marked:
            raise InputError(
                f"{config.data_dir}: no slice has a mask that marks a bleed; --segmentation learns "
                "from masks. Convert with --masks_dir, or learn from the labels of slices alone: "
                "--self_training=1 --ema_decay=0.98."
            )
        self.data = manifest.fingerprint()
        self.patients: Mapping[str, Sequence[str]] = manifest.patients
        self.patient_keys = manifest.patient_keys
        self.networks: Sequence[Origin] = ()
        self.shards: Sequence[Shard] = manifest.shards
        self.num_train = num_records(self._train_shards)
        self.num_validation = num_records(self._validation_shards)
        if manifest.has_exams:
            # Of all shards, so that all workers start alike.
            self._shares = known_shares(self._train_shards)
            self.prior = self._shares.of_slices
            if config.example == SLICE:
                self.num_train = self._shares.num_slices
                self._require_labels()
                self._require_validation()
        else:
            self.prior = label_counts(self._train_shards) / self.num_train
        warn_of_constant_classes(self.prior)
        self.batch_size, self.steps, self._worker = config.batch_size, 0, 0
        self.slices_per_step = float(config.batch_size)
        self.prepare_batch: PrepareBatch | None = None
        self.loss: Loss = functools.partial(
            known_training_loss if manifest.has_exams else training_loss,
            label_smoothing=config.label_smoothing,
            negative_weight=config.negative_weight,
        )
        if config.segmentation:
            self.loss = functools.partial(
                segmentation_loss,
                mask_weight=config.mask_weight,
                self_training=config.self_training,
                slice_loss=self.loss,
            )
        self._network = ModelSpec(
            backbone=config.backbone,
            record_shape=manifest.image_shape,
            image_size=config.image_size,
            windows=tuple(manifest.windows),
            stored_hu=manifest.encoding == "hu16",
            crop=manifest.crop,
            dropout=config.dropout,
            bn_momentum=config.bn_momentum,
            freeze_bn=config.freeze_bn,
            neighbours=config.neighbours,
            neighbour_stem=config.neighbour_stem,
            negatives_kept=config.negatives_kept,
            label_smoothing=config.label_smoothing,
            segmentation=config.segmentation,
            pooling=config.pooling,
            prior=tuple(self.prior.tolist()),
        )
        self.spec: Spec = self._network

    @classmethod
    def load(cls, config: TrainConfig) -> Self:
        """Opens the data of a config.

        Raises:
          InputError: If they cannot be trained on.
        """
        return cls(config, Manifest.load(config.data_dir))

    def deal(self, worker: Worker) -> None:
        """Restricts the task to one worker's shards; see `Task.deal`."""
        config = self._config
        if config.batch_size % worker.count:
            raise ConfigError(
                f"batch_size is {config.batch_size}; it must be a multiple of the {worker.count} "
                "workers."
            )
        train_shards = [self._train_shards]
        if worker.count > 1:
            train_shards = deal_shards(self._train_shards, worker.count)
            validation_shards = deal_shards(self._validation_shards, worker.count)
            self._validation_shards = validation_shards[worker.index]
        self.batch_size = config.batch_size // worker.count
        fewest = min(map(self._epoch_size, train_shards))
        steps = fewest // self.batch_size
        if not steps:
            raise InputError(
                f"{config.data_dir}: {fewest} examples to train on are less than one batch of "
                f"{self.batch_size}. Lower --batch_size or convert more data."
            )
        self.steps = min(steps, config.max_steps_per_epoch or steps)
        self._train_shards, self._worker = train_shards[worker.index], worker.index
        self._changes = BatchChanges(config, worker, self.batch_size)
        self.prepare_batch = self._changes.prepare

    def _epoch_size(self, shards: Sequence[Shard]) -> int:
        """Least number of examples that an epoch reads from some shards."""
        fraction = self._config.negative_fraction
        return epoch_records(shards, fraction, exams=self._manifest.has_exams)

    def _require_labels(self) -> None:
        """Checks that there is a slice to learn from.

        Raises:
          InputError: If no slice is labelled.
        """
        if not self._shares.num_slices:
            raise InputError(
                f"{self._config.data_dir}: no slice of the training folds is labelled; "
                f"{self._shares.num_exams} exams are. Probabilities of slices are learned from "
                "labels of slices, or through a pool that makes the exam's of them. Train with "
                "--sequence=attention (docs/exams.md)."
            )

    def _require_validation(self) -> None:
        """Checks that there is a slice to choose the best epoch by.

        Raises:
          InputError: If no slice of the validation fold is labelled.
        """
        if not known_shares(self._validation_shards).num_slices:
            fold = self._config.validation_fold
            raise InputError(
                f"{self._config.data_dir}: no slice of validation fold {fold} is labelled, and a "
                "network over single slices is chosen by them. Give another --validation_fold, or "
                "train on whole exams: --sequence=attention (docs/exams.md)."
            )

    def prepare(self, work_dir: Path) -> None:
        """Copies nothing: the network needs no file beside its weights."""

    def build(self) -> keras.Model:
        """Builds the network, whose logits begin with the prior that training sees."""
        config = self._config
        bias = smooth_labels(shift_prior(self.prior, config.negatives_kept), config.label_smoothing)
        return self._network.build(weights=config.weights, bias=bias)

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """Reads images and labels; see `Task.batches`."""
        config = self._config
        batches = train_batches(
            self._train_shards,
            self._manifest.image_shape,
            batch_size=self.batch_size,
            seed=config.seed,
            epoch=epoch,
            encoding=self._manifest.encoding,
            neighbours=config.neighbours,
            negative_fraction=config.negative_fraction,
            first_step=first_step,
            worker=self._worker,
            masks=config.segmentation,
            exams=self._manifest.has_exams,
        )
        batches = self._changes.in_input(batches, epoch * self.steps + first_step)
        return batches.take(self.steps - first_step)

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """Makes the function that predicts the validation slices; see `Task.validator`."""
        if self._config.segmentation:
            with strategy.scope():
                model = classifier(model)
        logits_fn = make_logits_fn(model, strategy)

        def validate(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
            predictions = self._predict(logits_fn, watch, self.batch_size)
            return predictions.labels, predictions.outputs

        return validate

    def _predict(self, outputs_fn: LogitsFn, watch: Watch, batch_size: int) -> SliceOutputs:
        """Applies a function of images to this worker's validation slices."""
        batches = eval_batches(
            self._validation_shards,
            self._manifest.image_shape,
            batch_size=batch_size,
            encoding=self._manifest.encoding,
            neighbours=self._config.neighbours,
        )
        return predict_outputs(
            outputs_fn, watch(batches), expected=num_records(self._validation_shards)
        )
