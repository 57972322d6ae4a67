"""A series as a sequence model reads it: features and logits of its slices, in one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.records.exam_labels import exam_of_slices
from ich_tf.records.example import decode_example, encode_example
from ich_tf.records.schema import CorruptRecordError


@dataclass(frozen=True, eq=False)
class SeriesFeatures:
    """The n slices of a series, in the order of the body, with a label of theirs or of the exam.

    Attributes:
      series_key: Pseudonymous series id.
      patient_key: Pseudonymous patient id.
      scanner: Maker of the scanner.
      network: Number of the network that made features and logits, from 0.
      source_id: Id of each slice, n of them.
      slice_index: Position of each slice in the whole series, int64 [n].
      z_mm: Position of each slice along the normal of the series, mm, rising, float32 [n].
      spacing_mm: Distance between rows and between columns of the original images, mm.
      gantry_tilt_deg: Tilt of the gantry, degrees.
      labels: Labels, 0 or 1, or NaN where unknown, float32 [n, 6].
      logits: Logits of the slice model, float32 [n, 6].
      features: Features of the slice model, float32 [n, d].
      exam_labels: Labels of the exam, in [0, 1], or NaN where unknown, float32 [6]; None in a
        conversion whose slices are all labelled, from whose labels they follow.
    """

    series_key: str
    patient_key: str
    scanner: str
    network: int
    source_id: tuple[str, ...]
    slice_index: np.ndarray
    z_mm: np.ndarray
    spacing_mm: tuple[float, float]
    gantry_tilt_deg: float
    labels: np.ndarray
    logits: np.ndarray
    features: np.ndarray
    exam_labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.source_id)

    @property
    def whole(self) -> np.ndarray:
        """Labels of the exam: those that it has, or what its slices' tell; float32 [6]."""
        return exam_of_slices(self.labels) if self.exam_labels is None else self.exam_labels

    def encode(self) -> bytes:
        """Serializes the series as a `tf.train.Example`, without TensorFlow."""
        labels, of_exams = self.labels, {}
        if self.exam_labels is not None:
            known = ~np.isnan(labels)
            labels = np.where(known, labels, 0)
            of_exams = {
                "labels_known": (int, known.astype(np.int64).reshape(-1).tolist()),
                "exam_labels": (float, self.exam_labels.tolist()),
            }
        return encode_example(
            {
                **of_exams,
                "series_key": (bytes, [self.series_key]),
                "patient_key": (bytes, [self.patient_key]),
                "scanner": (bytes, [self.scanner]),
                "network": (int, [self.network]),
                "source_id": (bytes, self.source_id),
                "slice_index": (int, self.slice_index.tolist()),
                "z_mm": (float, self.z_mm.tolist()),
                "spacing_mm": (float, self.spacing_mm),
                "gantry_tilt_deg": (float, [self.gantry_tilt_deg]),
                "labels": (int, labels.astype(np.int64).reshape(-1).tolist()),
                "logits": (float, self.logits.reshape(-1).tolist()),
                "features": (float, self.features.reshape(-1).tolist()),
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> SeriesFeatures:
        """Reads the output of `encode`.

        Raises:
          CorruptRecordError: If the payload is not the record of a series.
        """
        values = decode_example(payload)
        try:
            num_slices = len(values["source_id"])

            def text(name: str) -> str:
                return str(values[name][0].decode())

            def array(name: str) -> np.ndarray:
                return np.asarray(values[name], np.float32).reshape(num_slices, -1)

            labels, exam_labels = array("labels"), None
            if "exam_labels" in values:
                labels[array("labels_known") == 0] = np.nan
                exam_labels = np.asarray(values["exam_labels"], np.float32)
            return cls(
                series_key=text("series_key"),
                patient_key=text("patient_key"),
                scanner=text("scanner"),
                network=values["network"][0],
                source_id=tuple(value.decode() for value in values["source_id"]),
                slice_index=np.asarray(values["slice_index"], np.int64),
                z_mm=np.asarray(values["z_mm"], np.float32),
                spacing_mm=(values["spacing_mm"][0], values["spacing_mm"][1]),
                gantry_tilt_deg=values["gantry_tilt_deg"][0],
                labels=labels,
                logits=array("logits"),
                features=array("features"),
                exam_labels=exam_labels,
            )
        except (IndexError, KeyError, ValueError) as error:
            raise CorruptRecordError(f"is no record of a series ({error!r}).") from error


def flat(series: Sequence[SeriesFeatures], name: str) -> np.ndarray:
    """Concatenates an attribute over several series.

    Args:
      series: Series to concatenate.
      name: Name of an array of `SeriesFeatures`, such as `labels`.

    Returns:
      The values of all slices, series after series; the dtype is the attribute's.
    """
    return np.concatenate([getattr(member, name) for member in series])
