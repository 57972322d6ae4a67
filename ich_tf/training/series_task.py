"""Training of a model over the features of series."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError, InputError
from ich_tf.inference.forward import LogitsFn, make_logits_fn
from ich_tf.labels import CLASSES
from ich_tf.losses import series_loss
from ich_tf.models.architectures import ATTENTION, POOLS
from ich_tf.models.feature_axes import AXES, load_axes
from ich_tf.models.origins import Origin, load_origins
from ich_tf.models.series_model import SeriesSpec, pack, packed_width, turned_series
from ich_tf.records.feature_manifest import FEATURE_MANIFEST, FeatureManifest
from ich_tf.records.manifest import Shard
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.records.shard_labels import KnownShares
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import write_bytes
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import Worker
from ich_tf.training.bag_loss import bag_loss
from ich_tf.training.config import TrainConfig
from ich_tf.training.forward_backward import Loss
from ich_tf.training.step import PrepareBatch
from ich_tf.training.task import Validate, Watch

# All steps have one shape: as many slots as the longest series needs, rounded up to a multiple of
# this number.
_SLOTS = 8


class SeriesTask:
    """Training of a model over the features of series; see `Task`.

    The features of all series are held in memory: RSNA's 21,744 take 400 MB.
    """

    def __init__(
        self,
        config: TrainConfig,
        manifest: FeatureManifest,
        train: Sequence[SeriesFeatures],
        validation: Sequence[SeriesFeatures],
    ) -> None:
        """Stores the series.

        Args:
          config: Config of the run.
          manifest: Manifest of the features.
          train: Series of the training folds, one or more.
          validation: Series of the validation fold.
        """
        self._config, self._manifest = config, manifest
        self._train, self._validation = train, validation
        self.shards: Sequence[Shard] = ()
        self.data = _fingerprint(manifest)
        self.patients: Mapping[str, Sequence[str]] = manifest.patients
        self.patient_keys = manifest.patient_keys
        self.networks: Sequence[Origin] = _origins(manifest)
        self.num_train = sum(map(len, train))
        self.num_validation = sum(map(len, validation))
        # Where all slices are labelled nothing is masked, and the loss is the same as ever.
        self._has_exams = any(series.exam_labels is not None for series in train)
        self._learns_exams = self._has_exams or config.backbone in POOLS
        labels = np.concatenate([series.labels for series in train])
        whole = np.stack([series.whole for series in train])
        self._shares = KnownShares.count(labels, whole)
        self.prior = self._shares.of_slices if self._has_exams else labels.mean(axis=0)
        self.batch_size, self.steps = config.batch_size, 0
        self._mean_length = self.num_train / len(train)
        self.slices_per_step = config.batch_size * self._mean_length
        longest = max(map(len, (*train, *validation)))
        self._slots = -(-longest // _SLOTS) * _SLOTS
        self._packed: list[tuple[np.ndarray, np.ndarray]] = []
        self.prepare_batch: PrepareBatch | None = None
        self.loss: Loss = functools.partial(series_loss, label_smoothing=config.label_smoothing)
        if self._learns_exams:
            is_pool = config.backbone in POOLS
            self.loss = functools.partial(
                bag_loss,
                exam_weight=config.exam_weight if is_pool else config.series_weight,
                # The other pools have a slice's logit in the exam's already.
                instance_weight=config.instance_weight if config.backbone == ATTENTION else 0.0,
                label_smoothing=config.label_smoothing,
            )
        self.spec = dataclasses.replace(
            _series_spec(config, manifest, self.prior),
            weakly_supervised=self._shares.num_slices == 0,
        )

    @classmethod
    def load(cls, config: TrainConfig) -> SeriesTask:
        """Reads the features of a config's data dir.

        Raises:
          InputError: If they cannot be trained on.
        """
        manifest = FeatureManifest.load(config.data_dir)
        fold = int(config.validation_fold)
        if not 0 <= fold < manifest.num_folds or manifest.num_folds < 2:
            raise InputError(
                f"{config.data_dir}: has features of {manifest.num_folds} folds; validation_fold "
                f"is {fold}. Expected 0 to {manifest.num_folds - 1}, and two folds or more."
            )
        load_axes(manifest.folder / AXES, manifest.axes_sha256)
        others = [fold_name(i) for i in range(manifest.num_folds) if i != fold]
        return cls(
            config,
            manifest,
            train=list(manifest.read(*others)),
            validation=list(manifest.read(fold_name(fold))),
        )

    def prepare(self, work_dir: Path) -> None:
        """Copies the axes of the features into the work dir."""
        # Never through a link that lies under this name.
        write_bytes(work_dir / AXES, [(self._manifest.folder / AXES).read_bytes()])

    def deal(self, worker: Worker) -> None:
        """Packs the series and counts the steps; there is one worker."""
        steps = len(self._train) // self.batch_size
        if not steps:
            raise InputError(
                f"{self._config.data_dir}: {len(self._train)} series to train on are less than one "
                f"batch of {self.batch_size}. Lower --batch_size, or convert more data."
            )
        self.steps = min(steps, self._config.max_steps_per_epoch or steps)
        # The loss is a mean over slices: long series count more, as they do in the challenge.
        pack_rows: Callable[[SeriesFeatures], np.ndarray] = functools.partial(
            pack_labels,
            slots=self._slots,
            slice_weight=1 / self._mean_length,
            series_weight=self._config.series_weight,
        )
        if self._learns_exams:
            pack_rows = functools.partial(pack_exam_labels, slots=self._slots)
        self._packed = [(pack(series, self._slots), pack_rows(series)) for series in self._train]

    def build(self) -> keras.Model:
        """Builds the model, whose logits of a series begin with the prior of whole series."""
        if self._has_exams:
            return self.spec.build(bias=self._shares.of_exams)
        labels = np.stack([series.labels.max(axis=0) for series in self._train])
        return self.spec.build(bias=labels.mean(axis=0))

    def batches(self, epoch: int, first_step: int) -> tf.data.Dataset:
        """Reads packed series, and labels; see `Task.batches`.

        Labels have weights, as `series_loss` reads them, or are those of `exam_loss`.
        """
        rng = np.random.default_rng([self._config.seed, epoch])
        order = rng.permutation(len(self._train))
        turned = rng.uniform(size=len(order)) < (0.5 if self._config.reverse else 0.0)
        size, slots, rows = self.batch_size, self._slots, 1 + self._slots

        def generate() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for step in range(first_step, self.steps):
                chosen = order[step * size : (step + 1) * size]
                examples = [self._example(i, bool(turned[i])) for i in chosen.tolist()]
                inputs, labels = zip(*examples, strict=True)
                yield np.stack(inputs), np.stack(labels)

        width = packed_width(self.spec.feature_dim)
        signature = (
            tf.TensorSpec([size, slots, width], tf.float32),
            tf.TensorSpec([size, rows, len(CLASSES) + (not self._learns_exams)], tf.float32),
        )
        return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)

    def _example(self, number: int, turned: bool) -> tuple[np.ndarray, np.ndarray]:
        packed, labels = self._packed[number]
        if not turned:
            return packed, labels
        count = len(self._train[number])
        labels = labels.copy()
        labels[1 : 1 + count] = labels[count:0:-1]
        return turned_series(packed, count), labels

    def validator(self, model: keras.Model, strategy: tf.distribute.Strategy) -> Validate:
        """Makes the function that predicts the validation series; see `Task.validator`.

        Its rows are slices, or exams where these have labels.
        """
        logits_fn = make_logits_fn(model, strategy)
        batches = [
            self._validation[start : start + self.batch_size]
            for start in range(0, len(self._validation), self.batch_size)
        ]

        exams = np.stack([series.whole for series in self._validation])
        by_exam = self._has_exams and not np.isnan(exams).all()

        def validate(watch: Watch) -> tuple[np.ndarray, np.ndarray]:
            rows = [
                series_rows
                for batch in watch(batches)
                for series_rows in predict_rows(batch, logits_fn, self._slots, self.batch_size)
            ]
            if by_exam:
                return exams, np.stack([series_rows[0] for series_rows in rows])
            labels = np.concatenate([series.labels for series in self._validation])
            return labels, np.concatenate([series_rows[1:] for series_rows in rows])

        return validate


def predict_series(
    batch: Sequence[SeriesFeatures], logits_fn: LogitsFn, slots: int, batch_size: int
) -> list[np.ndarray]:
    """Predicts the slices of some series.

    Args:
      batch: The series, at most `batch_size` of them.
      logits_fn: Function of the model, as from `make_logits_fn`.
      slots: Number of slots, enough for the longest series.
      batch_size: Number of series that the model reads at once. Missing ones are empty, so that
        all batches have one shape and one trace.

    Returns:
      Logits of each series' slices, float32 [n, 6].
    """
    return [rows[1:] for rows in predict_rows(batch, logits_fn, slots, batch_size)]


def predict_rows(
    batch: Sequence[SeriesFeatures], logits_fn: LogitsFn, slots: int, batch_size: int
) -> list[np.ndarray]:
    """Predicts some series and their slices; the arguments are those of `predict_series`.

    Returns:
      Logits of each series, then of its slices, float32 [1 + n, 6].
    """
    packed = np.zeros((batch_size, slots, packed_width(batch[0].features.shape[1])), np.float32)
    for row, series in zip(packed, batch, strict=False):
        row[:] = pack(series, slots)
    outputs = logits_fn(packed)
    return [outputs[i, : 1 + len(series)] for i, series in enumerate(batch)]


def pack_labels(
    series: SeriesFeatures, slots: int, *, slice_weight: float, series_weight: float
) -> np.ndarray:
    """Packs the labels and weights of a series into rows, beside the rows of the model's logits.

    Args:
      series: The series.
      slots: Number of slots.
      slice_weight: Weight of each slice's row.
      series_weight: Weight of the series' own row, which is positive where a slice is.

    Returns:
      float32 [1 + slots, 7]: the row of the series, then those of its slices, the weight last;
      empty slots weigh nothing.
    """
    packed = np.zeros((1 + slots, len(CLASSES) + 1), np.float32)
    packed[0, :-1], packed[0, -1] = series.labels.max(axis=0), series_weight
    packed[1 : 1 + len(series), :-1] = series.labels
    packed[1 : 1 + len(series), -1] = slice_weight
    return packed


def pack_exam_labels(series: SeriesFeatures, slots: int) -> np.ndarray:
    """Packs the labels of a series and its slices into rows, beside those of the model's logits.

    Args:
      series: The series.
      slots: Number of slots.

    Returns:
      float32 [1 + slots, 6]: the row of the exam, then those of its slices; NaN where labels are
      unknown, and in empty slots.
    """
    packed = np.full((1 + slots, len(CLASSES)), np.nan, np.float32)
    packed[0], packed[1 : 1 + len(series)] = series.whole, series.labels
    return packed


def _origins(manifest: FeatureManifest) -> Sequence[Origin]:
    try:
        return load_origins(manifest.origins["patients"], manifest.origins["networks"])
    except ValueError as error:
        raise DataError(
            f"{manifest.folder / FEATURE_MANIFEST}: does not say whom its networks were trained on "
            f"({error}). Run python -m ich_tf.extract_features to write it."
        ) from error


def _fingerprint(manifest: FeatureManifest) -> dict[str, Any]:
    """As `Manifest.fingerprint`, of features."""
    lines = sorted(f"{shard.sha256}  {shard.name}\n" for shard in manifest.shards)
    return {
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "records": sum(shard.num_slices for shard in manifest.shards),
        "feature_dim": manifest.feature_dim,
        "networks": [network["sha256"] for network in manifest.networks],
        "slices_sha256": manifest.data_sha256,
    }


def _series_spec(config: TrainConfig, manifest: FeatureManifest, prior: np.ndarray) -> SeriesSpec:
    networks = manifest.networks
    work_dirs = [manifest.folder / network["work_dir"] for network in networks]
    return SeriesSpec(
        backbone=config.backbone,
        feature_dim=manifest.feature_dim,
        units=config.units,
        layers=config.layers,
        dropout=config.dropout,
        reverse=config.reverse,
        networks=tuple(network["sha256"] for network in networks),
        network_dirs=tuple(
            Path(os.path.relpath(work_dir, config.work_dir)).as_posix() for work_dir in work_dirs
        ),
        validation_folds=tuple(int(network["validation_fold"]) for network in networks),
        axes_sha256=manifest.axes_sha256,
        label_smoothing=config.label_smoothing,
        prior=tuple(prior.tolist()),
    )
