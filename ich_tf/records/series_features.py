"""A series as a sequence model reads it: features and logits of each slice, a record a series.

    fold-0.network-0.tfrecord, ...   each fold, by the network that did not train on it
    test.network-0.tfrecord, ...     the test patients, by every network
    features.json                    which network made what, and what is known of the data

Records are written and read without TensorFlow; `series_pipeline` makes batches of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records import tfrecord
from ich_tf.records.example import decode_example, encode_example
from ich_tf.records.schema import CorruptRecordError
from ich_tf.runtime.files import file_sha256, write_bytes, write_json

FEATURES = "features.json"
VERSION = 1
_EXTRACT = "Run python -m ich_tf.extract_features to write it."


@dataclass(frozen=True, eq=False)
class SeriesFeatures:
    """The n labelled slices of a series, in the order of the body.

    Attributes:
      series_key, patient_key, scanner: As in the slices' records.
      network: Which network made features and logits, from 0.
      source_id: str [n].
      slice_index: int64 [n].
      z_mm: float32 [n], along the series' normal, rising.
      spacing_mm: Between rows, between columns, of the original images.
      gantry_tilt_deg: Of the series.
      labels: float32 [n, 6], 0 or 1.
      logits: float32 [n, 6], of the slice model.
      features: float32 [n, d].
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

    def __len__(self) -> int:
        return len(self.source_id)

    def encode(self) -> bytes:
        """A serialized `tf.train.Example`."""
        return encode_example(
            {
                "series_key": (bytes, [self.series_key]),
                "patient_key": (bytes, [self.patient_key]),
                "scanner": (bytes, [self.scanner]),
                "network": (int, [self.network]),
                "source_id": (bytes, self.source_id),
                "slice_index": (int, self.slice_index.tolist()),
                "z_mm": (float, self.z_mm.tolist()),
                "spacing_mm": (float, self.spacing_mm),
                "gantry_tilt_deg": (float, [self.gantry_tilt_deg]),
                "labels": (int, self.labels.astype(np.int64).reshape(-1).tolist()),
                "logits": (float, self.logits.reshape(-1).tolist()),
                "features": (float, self.features.reshape(-1).tolist()),
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> SeriesFeatures:
        """The inverse of `encode`.

        Raises:
          CorruptRecordError: If the payload is none.
        """
        found = decode_example(payload)
        try:
            number = len(found["source_id"])

            def text(name: str) -> str:
                return str(found[name][0].decode())

            def array(name: str) -> np.ndarray:
                return np.asarray(found[name], np.float32).reshape(number, -1)

            return cls(
                series_key=text("series_key"),
                patient_key=text("patient_key"),
                scanner=text("scanner"),
                network=found["network"][0],
                source_id=tuple(one.decode() for one in found["source_id"]),
                slice_index=np.asarray(found["slice_index"], np.int64),
                z_mm=np.asarray(found["z_mm"], np.float32),
                spacing_mm=(found["spacing_mm"][0], found["spacing_mm"][1]),
                gantry_tilt_deg=found["gantry_tilt_deg"][0],
                labels=array("labels"),
                logits=array("logits"),
                features=array("features"),
            )
        except (IndexError, KeyError, ValueError) as error:
            raise CorruptRecordError(f"is no record of a series ({error!r}).") from error


@dataclass(frozen=True)
class FeatureShard:
    """A file of series.

    Attributes:
      name: Of the file.
      split: `fold-0`, ..., `test`.
      network: That made it, from 0.
      num_series, num_slices: In it.
      label_counts: Slices a class.
      sha256: Of the file.
    """

    name: str
    split: str
    network: int
    num_series: int
    num_slices: int
    label_counts: tuple[int, ...]
    sha256: str


@dataclass(frozen=True)
class FeatureManifest:
    """A finished extraction.

    Attributes:
      folder: Where it lies.
      feature_dim: Numbers a slice.
      data_sha256: Of the slices' records, as `Manifest.fingerprint` gives it.
      networks: Of each, `sha256` of its weights, `validation_fold`, and its run's `work_dir`,
        relative to the folder.
      axes_sha256: Of `axes.npz` (`alignment.save_axes`).
      shards: All files.
      patients: Split -> its patients' keys.
      num_folds: Of the data.
    """

    folder: Path
    feature_dim: int
    data_sha256: str
    axes_sha256: str
    networks: tuple[dict[str, Any], ...]
    shards: tuple[FeatureShard, ...]
    patients: dict[str, list[str]]
    num_folds: int

    @classmethod
    def load(cls, folder: str | Path) -> FeatureManifest:
        """Reads `features.json`.

        Raises:
          DataError: If it is missing, of another version, or a file is not as it says.
        """
        folder = Path(folder)
        path = folder / FEATURES
        if not path.is_file():
            raise DataError(f"{folder}: holds no features (no {FEATURES}). {_EXTRACT}")
        try:
            content = json.loads(path.read_text("utf-8"))
            if content.pop("version") != VERSION or content.pop("classes") != list(CLASSES):
                raise ValueError("another version")
            shards = tuple(
                FeatureShard(**{**one, "label_counts": tuple(one["label_counts"])})
                for one in content.pop("shards")
            )
            networks = tuple(content.pop("networks"))
            manifest = cls(folder=folder, shards=shards, networks=networks, **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: not of this version of ich_tf ({error!r}). {_EXTRACT}"
            ) from error
        for shard in manifest.shards:
            file = folder / shard.name
            if not file.is_file() or file_sha256(file) != shard.sha256:
                raise DataError(f"{file}: missing or damaged. {_EXTRACT}")
        manifest.check_disjoint()
        return manifest

    def save(self) -> None:
        """Writes `features.json`, last of all."""
        content = {**vars(self), "version": VERSION, "classes": list(CLASSES)}
        content.pop("folder")
        content["shards"] = [asdict(one) for one in self.shards]
        content["networks"] = list(self.networks)
        write_json(self.folder / FEATURES, content)

    def check_disjoint(self) -> None:
        """Checks that no features come from a network that was trained on the patient.

        Raises:
          DataError: If some do.
        """
        for shard in self.shards:
            held_out = f"fold-{self.networks[shard.network]['validation_fold']}"
            if shard.split.startswith("fold-") and shard.split != held_out:
                raise DataError(
                    f"{self.folder / shard.name}: holds {shard.split} by a network that was "
                    f"trained on it; it validated on {held_out}. {_EXTRACT}"
                )
            others = {
                patient
                for split, patients in self.patients.items()
                if split.startswith("fold-") and split != held_out
                for patient in patients
            }
            seen = others.intersection(self.patients.get(shard.split, ()))
            if seen:
                raise DataError(
                    f"{self.folder / shard.name}: {len(seen)} of its patients stand in two splits."
                )

    def read(self, *splits: str) -> Iterator[SeriesFeatures]:
        """The series of some splits; of the test patients once by each network.

        Raises:
          DataError: If a record is damaged.
        """
        for shard in self.shards:
            if shard.split in splits:
                yield from read_series(self.folder / shard.name)


def write_series(
    path: Path, series: Iterable[SeriesFeatures], split: str, network: int
) -> FeatureShard:
    """Writes a file of series atomically."""
    counts = np.zeros(len(CLASSES), np.int64)
    num_series = num_slices = 0

    def framed() -> Iterator[bytes]:
        nonlocal num_series, num_slices
        for one in series:
            num_series += 1
            num_slices += len(one)
            counts[:] += one.labels.sum(axis=0).astype(np.int64)
            yield tfrecord.frame(one.encode())

    write_bytes(path, framed())
    return FeatureShard(
        path.name, split, network, num_series, num_slices, tuple(counts.tolist()), file_sha256(path)
    )


def read_series(path: Path) -> Iterator[SeriesFeatures]:
    """The series of a file.

    Raises:
      DataError: If a record is damaged.
    """
    try:
        for payload in tfrecord.read_records(path):
            yield SeriesFeatures.decode(payload)
    except (OSError, tfrecord.CorruptShardError, CorruptRecordError) as error:
        raise DataError(f"{error} {_EXTRACT}") from error


def flat(series: Sequence[SeriesFeatures], name: str) -> np.ndarray:
    """An attribute of all slices of some series, one after the other."""
    return np.concatenate([getattr(one, name) for one in series])
