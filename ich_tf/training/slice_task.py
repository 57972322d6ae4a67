"""Training of a network over single slices."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.forward import LogitsFn, SliceOutputs, make_logits_fn, predict_outputs
from ich_tf.losses import training_loss
from ich_tf.models.prior_shift import shift_prior
from ich_tf.models.saved import Spec
from ich_tf.models.spec import ModelSpec
from ich_tf.records.input_pipeline import epoch_records, eval_batches, train_batches
from ich_tf.records.manifest import Manifest, Shard, deal_shards, label_counts, num_records
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker
from ich_tf.training.augmentation import make_augment
from ich_tf.training.config import TrainConfig
from ich_tf.training.step import Loss
from ich_tf.training.task import Validate, Watch


class SliceTask:
    """A network over slices; see `Task`."""

    def __init__(self, config: TrainConfig) -> None:
        """Opens the data.

        Raises:
          InputError: If they cannot be trained on.
        """
        self._config = config
        self._manifest = manifest = Manifest.load(config.data_dir)
        fold = int(config.validation_fold)
        self._train_shards = manifest.train_shards(fold)
        self._validation_shards = manifest.fold_shards(fold)
        if config.window_jitter and manifest.encoding != "hu16":
            raise InputError(
                f"{config.data_dir}: holds records of encoding {manifest.encoding}; "
                "--window_jitter needs Hounsfield units. Convert with --encoding=hu16."
            )
        self.data = manifest.fingerprint()
        self.shards: Sequence[Shard] = manifest.shards
        self.num_train = num_records(self._train_shards)
        self.num_validation = num_records(self._validation_shards)
        self.prior = label_counts(self._train_shards) / self.num_train
        self.batch_size, self.steps, self._worker = config.batch_size, 0, 0
        self.slices_per_step = float(config.batch_size)
        self.loss: Loss = functools.partial(
            training_loss,
            label_smoothing=config.label_smoothing,
            negative_weight=config.negative_weight,
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
            negatives_kept=config.negatives_kept,
            prior=tuple(self.prior.tolist()),
        )
        self.spec: Spec = self._network
        self._augment = make_augment(config)

    def deal(self, worker: Worker) -> None:
        """As `Task.deal`."""
        config = self._config
        if config.batch_size % worker.count:
            raise ConfigError(
                f"batch_size is {config.batch_size}; it must be a multiple of the {worker.count} "
                "workers."
            )
        hands = [self._train_shards]
        if worker.count > 1:
            hands = deal_shards(self._train_shards, worker.count)
            self._validation_shards = deal_shards(self._validation_shards, worker.count)[
                worker.index
            ]
        self.batch_size = config.batch_size // worker.count
        fewest = min(self._epoch_size(hand) for hand in hands)
        steps = fewest // self.batch_size
        if not steps:
            raise InputError(
                f"{config.data_dir}: {fewest} examples to train on are less than one batch of "
                f"{self.batch_size}. Lower --batch_size or convert more data."
            )
        self.steps = min(steps, config.max_steps_per_epoch or steps)
        self._train_shards, self._worker = hands[worker.index], worker.index

    def _epoch_size(self, shards: Sequence[Shard]) -> int:
        """Examples that an epoch reads of some shards, at least."""
        return epoch_records(shards, self._config.negative_fraction)

    def prepare(self, work_dir: Path) -> None:
        """As `Task.prepare`: nothing."""

    def build(self) -> keras.Model:
        """As `Task.build`."""
        bias = shift_prior(self.prior, self._config.negatives_kept)
        return self._network.build(weights=self._config.weights, bias=bias)

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """As `Task.batches`: images and labels."""
        config = self._config
        return train_batches(
            self._train_shards,
            self._manifest.image_shape,
            batch_size=self.batch_size,
            seed=config.seed,
            epoch=epoch,
            encoding=self._manifest.encoding,
            neighbours=config.neighbours,
            negative_fraction=config.negative_fraction,
            augment=self._augment,
            first_step=first_step,
            worker=self._worker,
        ).take(self.steps - first_step)

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """As `Task.validator`."""
        logits_fn = make_logits_fn(model, strategy)

        def validate(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
            found = self._predict(logits_fn, watch, self.batch_size)
            return found.labels, found.outputs

        return validate

    def _predict(self, outputs_fn: LogitsFn, watch: Watch, batch_size: int) -> SliceOutputs:
        """What a function says of this worker's validation slices."""
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
