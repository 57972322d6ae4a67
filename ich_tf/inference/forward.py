"""Forward passes of networks over slices, over the replicas of a strategy and over records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ich_tf.errors import DataError
from ich_tf.inference.exams import exams_of
from ich_tf.labels import CLASSES
from ich_tf.metrics import sigmoid
from ich_tf.records.input_pipeline import eval_batches, read_batches
from ich_tf.records.known_labels import known_of_bits
from ich_tf.records.manifest import Manifest, damage_named, num_records
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import split_batch

# Images [n, H, W, C] -> outputs [n, k]; k is 6, logits, unless a function documents more.
LogitsFn = Callable[[np.ndarray], np.ndarray]

_TEXTS = ("source_id", "patient_key", "series_key", "scanner", "label_level")
_NUMBERS = ("slice_index", "z_mm", "spacing_mm", "gantry_tilt_deg", "labels", "exam_labels")


class NetworkOutputs(NamedTuple):
    """Outputs of one network for n slices, arrays or tensors.

    Attributes:
      logits: [n, 6].
      features: Pooled or aligned features, [n, d].
    """

    logits: Any
    features: Any

    @classmethod
    def split(cls, outputs: Any) -> NetworkOutputs:
        """Splits the outputs of `slice_model.with_features`, [n, 6 + d]."""
        return cls(outputs[:, : len(CLASSES)], outputs[:, len(CLASSES) :])


@dataclass(frozen=True, eq=False)
class LabelledSlices:
    """The labels and places of n records with a label of their own or of their exam, as read.

    Attributes:
      source_id, patient_key, series_key, scanner: str [n].
      slice_index: Place within the series, from 0, int64 [n].
      z_mm: Position along the normal of the series, mm, float32 [n].
      spacing_mm: Distances between rows and between columns of the original image, mm,
        float32 [n, 2].
      gantry_tilt_deg: Gantry tilt, degrees, float32 [n].
      labels: float32 [n, 6], 0 or 1, or NaN where unknown.
      exam_labels: Labels of each slice's exam, which is its series, float32 [n, 6], in [0, 1] or
        NaN where unknown.
      label_level: Level of each exam's labels, one of `records.schema.LABEL_LEVELS`: `slice` where
        they follow from those of the slices; empty where all are unknown. str [n].
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
    exam_labels: np.ndarray
    label_level: list[str]

    def __len__(self) -> int:
        return len(self.source_id)


@dataclass(frozen=True, eq=False)
class SlicePredictions(LabelledSlices):
    """Labelled slices with their logits.

    Attributes:
      logits: Logits of the mean probability of all members, float32 or float64 [n, 6].
      series_logits: A series model's logits of each slice's series by each group of members,
        float64 [g, n, 6]; None without a series model.
      groups: Logits by each group of members (`Postprocessing.groups`), float64 [g, n, 6]; None for
        a single group, whose logits are `logits`.
      members: Logits of each model whose probabilities are averaged, float64 [m, n, 6]; None for a
        single one, and where parts were joined.
      series_members: The same of each slice's series; None without series models, too.
    """

    logits: np.ndarray
    series_logits: np.ndarray | None = None
    groups: np.ndarray | None = None
    members: np.ndarray | None = None
    series_members: np.ndarray | None = None

    @classmethod
    def concatenate(cls, parts: Sequence[SlicePredictions]) -> SlicePredictions:
        """Joins predictions, one part after the other."""
        texts: dict[str, Any] = {
            name: [text for part in parts for text in getattr(part, name)] for name in _TEXTS
        }
        numbers = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_NUMBERS, "logits")
        }
        for name in ("series_logits", "groups"):
            rows = [getattr(part, name) for part in parts if getattr(part, name) is not None]
            if len(rows) == len(parts):
                numbers[name] = np.concatenate(rows, axis=1)
        return cls(**texts, **numbers)

    @property
    def by_group(self) -> np.ndarray:
        """Logits by each group of members, [g, n, 6]."""
        return self.logits[None] if self.groups is None else self.groups

    @property
    def probabilities(self) -> np.ndarray:
        """Sigmoid of the logits, float64 [n, 6]."""
        return sigmoid(self.logits)


@dataclass(frozen=True, eq=False)
class SliceOutputs(LabelledSlices):
    """Labelled slices with the outputs of a function of their images.

    Attributes:
      outputs: [n, k], such as `Predictor.outputs` or logits and features of a network.
    """

    outputs: np.ndarray

    def with_logits(
        self,
        logits: np.ndarray,
        series_logits: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        members: Sequence[np.ndarray] = (),
        series_members: Sequence[np.ndarray] = (),
    ) -> SlicePredictions:
        """Replaces the outputs by logits that were computed from them.

        Args:
          logits: [n, 6].
          series_logits: As of `SlicePredictions`.
          groups: As of `SlicePredictions`.
          members: Logits of each model, m arrays [n, 6]; those of a single one are not kept.
          series_members: The same of each slice's series; empty without series models.
        """
        slices = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(LabelledSlices)
        }
        several, several_series = (
            np.stack(rows) if len(rows) > 1 else None for rows in (members, series_members)
        )
        return SlicePredictions(
            **slices,
            logits=logits,
            series_logits=series_logits,
            groups=groups,
            members=several,
            series_members=several_series,
        )


def make_logits_fn(model: keras.Model, strategy: tf.distribute.Strategy) -> LogitsFn:
    """Makes the forward pass that validation, evaluation and prediction share.

    Each replica takes an equal, contiguous part of a batch. Batches of one size are traced once; a
    batch that the replicas do not divide is padded with its last slice, and the result is cut.

    Args:
      model: Model made under `strategy`'s scope.
      strategy: Strategy whose replicas share each batch.

    Returns:
      A function: images, uint8 [n, H, W, C], array or eager tensor, n >= 1 -> the outputs of
      `model(images, training=False)`, float32 [n, k]: the logits of a classifier, k = 6.
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
    """Predicts every record once that has a label of its own or of its exam.

    Args:
      logits_fn: Function of images with the logits as its outputs, [n, 6].
      batches: Batches of `input_pipeline.eval_batches`; their padding is dropped.
      expected: Number of labelled records in the batches, 1 or more.

    Raises:
      DataError: If a record cannot be read, is missing or unlabelled.
    """
    slices = predict_outputs(logits_fn, batches, expected)
    return slices.with_logits(slices.outputs)


def predict_outputs(
    outputs_fn: LogitsFn, batches: Iterable[dict[str, tf.Tensor]], expected: int
) -> SliceOutputs:
    """Computes a function's outputs once for every record with a label, its own or its exam's.

    Args:
      outputs_fn: Function of images, [n, H, W, C] -> [n, k].
      batches: Batches of `input_pipeline.eval_batches`; their padding is dropped.
      expected: Number of labelled records in the batches, 1 or more.

    Raises:
      DataError: If a record cannot be read, is missing or unlabelled.
    """
    texts: dict[str, Any] = {name: [] for name in _TEXTS}
    numbers: dict[str, list[np.ndarray]] = {name: [] for name in (*_NUMBERS, "labels_known")}
    outputs = []
    for batch in read_batches(batches):
        of_exam = ~np.isnan(batch["exam_labels"].numpy()).all(axis=-1)
        keep = batch["mask"].numpy() & (batch["label_present"].numpy() | of_exam)
        for name, values in texts.items():
            values += [text.decode() for text in batch[name].numpy()[keep]]
        for name, arrays in numbers.items():
            arrays.append(batch[name].numpy()[keep])
        # Of a slice without labels of its own no bit counts.
        numbers["labels_known"][-1] *= batch["label_present"].numpy()[keep]
        outputs.append(outputs_fn(batch["image"])[keep])
    count = sum(map(len, outputs))
    if count != expected or not count:
        raise DataError(
            f"read {count} labelled records; the manifest counts {expected}. Run python -m "
            "ich_tf.verify_tfrecords --full on the data dir."
        )
    joined = {name: np.concatenate(arrays) for name, arrays in numbers.items()}
    joined["labels"] = known_of_bits(joined["labels"], joined.pop("labels_known"))
    joined["exam_labels"], texts["label_level"] = exams_of(
        joined["labels"], texts["series_key"], joined["exam_labels"], texts["label_level"]
    )
    return SliceOutputs(**texts, **joined, outputs=np.concatenate(outputs))


def predict_split_outputs(
    manifest: Manifest, split: str, batch_size: int, outputs_fn: LogitsFn, neighbours: int
) -> SliceOutputs:
    """Computes the outputs of a network for all records of a split.

    Args:
      manifest: Manifest of the data.
      split: Name of the split.
      batch_size: Slices in a step.
      outputs_fn: Forward pass of the network.
      neighbours: Number of slices that the network sees at once.

    Raises:
      DataError: If the split is empty, or a record cannot be read; names the damaged shard.
    """
    shards = manifest.split_shards(split)
    batches = eval_batches(
        shards,
        manifest.image_shape,
        batch_size=batch_size,
        encoding=manifest.encoding,
        neighbours=neighbours,
    )
    with damage_named(shards):
        return predict_outputs(outputs_fn, batches, num_records(shards))
