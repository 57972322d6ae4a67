"""Training over the features of series: what `training_task.Task` asks for."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.inference.forward import LogitsFn, make_logits_fn
from ich_tf.labels import CLASSES
from ich_tf.losses import series_loss
from ich_tf.models.feature_axes import AXES, load_axes
from ich_tf.models.series_model import SeriesSpec, pack, packed_width, turned_series
from ich_tf.records.feature_manifest import FeatureManifest
from ich_tf.records.manifest import Shard
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.records.splits import fold_name
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker
from ich_tf.training.config import TrainConfig
from ich_tf.training.step import Loss
from ich_tf.training.task import Validate, Watch

# One shape for all steps: as many slots as the longest series needs, rounded up to this.
_SLOTS = 8


class SeriesTask:
    """A model over series; see `training_task.Task`.

    The features of all series are held in memory: RSNA's 21,744 take 400 MB.
    """

    def __init__(self, config: TrainConfig) -> None:
        """Reads the features.

        Raises:
          InputError: If they cannot be trained on.
        """
        self._config = config
        manifest = FeatureManifest.load(config.data_dir)
        fold = int(config.validation_fold)
        if not 0 <= fold < manifest.num_folds or manifest.num_folds < 2:
            raise InputError(
                f"{config.data_dir}: has features of {manifest.num_folds} folds; validation_fold "
                f"is {fold}. Expected 0 to {manifest.num_folds - 1}, and two folds or more."
            )
        self._axes = manifest.folder / AXES
        load_axes(self._axes, manifest.axes_sha256)
        others = [fold_name(i) for i in range(manifest.num_folds) if i != fold]
        self._train = list(manifest.read(*others))
        self._validation = list(manifest.read(fold_name(fold)))
        self.shards: Sequence[Shard] = ()
        lines = sorted(f"{one.sha256}  {one.name}\n" for one in manifest.shards)
        self.data: dict[str, Any] = {
            "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "records": sum(one.num_slices for one in manifest.shards),
            "feature_dim": manifest.feature_dim,
            "networks": [one["sha256"] for one in manifest.networks],
            "slices_sha256": manifest.data_sha256,
        }
        self.num_train = sum(map(len, self._train))
        self.num_validation = sum(map(len, self._validation))
        self.prior = np.concatenate([one.labels for one in self._train]).mean(axis=0)
        self.batch_size, self.steps = config.batch_size, 0
        mean_length = self.num_train / len(self._train)
        self.slices_per_step = config.batch_size * mean_length
        longest = max(map(len, (*self._train, *self._validation)))
        self._slots = -(-longest // _SLOTS) * _SLOTS
        # As a mean over slices: long series count more, as they do in the challenge.
        self._packed = [
            (pack(one, self._slots), pack_labels(one, self._slots, 1 / mean_length, config))
            for one in self._train
        ]
        self.loss: Loss = functools.partial(series_loss, label_smoothing=config.label_smoothing)
        self.spec = SeriesSpec(
            backbone=config.backbone,
            feature_dim=manifest.feature_dim,
            units=config.units,
            layers=config.layers,
            dropout=config.dropout,
            reverse=config.reverse,
            networks=tuple(self.data["networks"]),
            network_dirs=tuple(
                Path(os.path.relpath(manifest.folder / one["work_dir"], config.work_dir)).as_posix()
                for one in manifest.networks
            ),
            validation_folds=tuple(int(one["validation_fold"]) for one in manifest.networks),
            axes_sha256=manifest.axes_sha256,
            prior=tuple(self.prior.tolist()),
        )

    def prepare(self, work_dir: Path) -> None:
        """As `Task.prepare`: the axes of the features go along."""
        shutil.copyfile(self._axes, work_dir / AXES)

    def deal(self, worker: Worker) -> None:
        """As `Task.deal`; there is one worker."""
        steps = len(self._train) // self.batch_size
        if not steps:
            raise InputError(
                f"{self._config.data_dir}: {len(self._train)} series to train on are less than one "
                f"batch of {self.batch_size}. Lower --batch_size, or convert more data."
            )
        self.steps = min(steps, self._config.max_steps_per_epoch or steps)

    def build(self) -> keras.Model:
        """As `Task.build`."""
        series = np.stack([one.labels.max(axis=0) for one in self._train])
        return self.spec.build(bias=series.mean(axis=0))

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """As `Task.batches`: packed series, and labels with weights."""
        config = self._config
        rng = np.random.default_rng([config.seed, epoch])
        order = rng.permutation(len(self._train))
        turned = rng.uniform(size=len(order)) < (0.5 if config.reverse else 0.0)
        size, slots, rows = self.batch_size, self._slots, 1 + self._slots

        def generate() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for step in range(first_step, self.steps):
                chosen = order[step * size : (step + 1) * size]
                pairs = [self._example(i, bool(turned[i])) for i in chosen.tolist()]
                yield np.stack([one for one, _ in pairs]), np.stack([one for _, one in pairs])

        width = packed_width(self.spec.feature_dim)
        signature = (
            tf.TensorSpec([size, slots, width], tf.float32),
            tf.TensorSpec([size, rows, len(CLASSES) + 1], tf.float32),
        )
        return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)

    def _example(self, number: int, turned: bool) -> tuple[np.ndarray, np.ndarray]:
        packed, labels = self._packed[number]
        if not turned:
            return packed, labels
        slices = len(self._train[number])
        labels = labels.copy()
        labels[1 : 1 + slices] = labels[slices:0:-1]
        return turned_series(packed, slices), labels

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """As `Task.validator`."""
        logits_fn = make_logits_fn(model, strategy)
        lots = [
            self._validation[start : start + self.batch_size]
            for start in range(0, len(self._validation), self.batch_size)
        ]

        def validate(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
            found = [
                logits
                for lot in watch(lots)
                for logits in series_logits(lot, logits_fn, self._slots, self.batch_size)
            ]
            labels = np.concatenate([one.labels for one in self._validation])
            return labels, np.concatenate(found)

        return validate


def series_logits(
    series: Sequence[SeriesFeatures], logits_fn: LogitsFn, slots: int, batch_size: int
) -> list[np.ndarray]:
    """The logits of each series' slices, [n, 6].

    Args:
      series: At most `batch_size` of them.
      logits_fn: Of the model.
      slots: For the longest.
      batch_size: One shape, one trace: what is missing is empty.
    """
    packed = np.zeros((batch_size, slots, packed_width(series[0].features.shape[1])), np.float32)
    for row, one in zip(packed, series, strict=False):
        row[:] = pack(one, slots)
    outputs = logits_fn(packed)
    return [outputs[i, 1 : 1 + len(one)] for i, one in enumerate(series)]


def pack_labels(
    series: SeriesFeatures, slots: int, slice_weight: float, config: TrainConfig
) -> np.ndarray:
    """Labels and weights of a series' rows: its own first, which is positive where a slice is.

    Returns:
      float32 [1 + slots, 7]; empty slots weigh nothing.
    """
    packed = np.zeros((1 + slots, len(CLASSES) + 1), np.float32)
    packed[0, :-1], packed[0, -1] = series.labels.max(axis=0), config.series_weight
    packed[1 : 1 + len(series), :-1] = series.labels
    packed[1 : 1 + len(series), -1] = slice_weight
    return packed
