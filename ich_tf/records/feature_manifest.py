"""Files of series features, and the manifest that describes them.

    fold-0.network-0.tfrecord, ...   each fold, by the network that did not train on it
    test.network-0.tfrecord, ...     the test patients, by every network
    features.json                    the manifest: networks, files and patients

Records are written and read without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records import tfrecord
from ich_tf.records.data_files import checked_shard_name
from ich_tf.records.schema import CorruptRecordError
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.runtime.files import (
    MOST_JSON_BYTES,
    file_sha256,
    parse_json,
    read_text,
    write_bytes,
    write_json,
)
from ich_tf.runtime.json_types import read_fields

FEATURE_MANIFEST = "features.json"
VERSION = 2
# In place of the validation fold of a network that was trained on other data: it saw none of these.
EVERY_FOLD = -1
_ADVICE = "Run python -m ich_tf.extract_features to write it."


@dataclass(frozen=True)
class FeatureShard:
    """A file of series features.

    Attributes:
      name: Name of the TFRecord file.
      split: `fold-0` ..., or `test`.
      network: Number of the network that made the features, from 0.
      num_series: Number of series.
      num_slices: Number of slices of all series.
      label_counts: Number of positive slices per class, in the order of `CLASSES`.
      sha256: SHA-256 of the file, hexadecimal.
    """

    name: str
    split: str
    network: int
    num_series: int
    num_slices: int
    label_counts: tuple[int, ...]
    sha256: str

    def __post_init__(self) -> None:
        checked_shard_name(self.name)


@dataclass(frozen=True)
class FeatureManifest:
    """A finished extraction of features.

    Attributes:
      folder: Folder of the files.
      feature_dim: Number of features per slice.
      data_sha256: SHA-256 of the slices' records (`Manifest.fingerprint`).
      networks: Description of each network: `sha256` of its weights, `validation_fold`, or
        `EVERY_FOLD`, and `work_dir` of its run, relative to the folder.
      axes_sha256: SHA-256 of `axes.npz` (`feature_axes.save_axes`).
      origins: `networks`, the origin of each network, and `patients`, whom they were trained on, as
        `models.origins.dump_origins` writes them.
      shards: All files.
      patients: Keys of the patients of each split.
      num_folds: Number of folds of the data.
    """

    folder: Path
    feature_dim: int
    data_sha256: str
    axes_sha256: str
    networks: tuple[dict[str, Any], ...]
    origins: dict[str, Any]
    shards: tuple[FeatureShard, ...]
    patients: dict[str, list[str]]
    num_folds: int

    @classmethod
    def load(cls, folder: str | Path) -> FeatureManifest:
        """Reads `features.json`, and checks the files and the splits.

        Args:
          folder: Folder of the files.

        Raises:
          DataError: If the manifest is missing or of another version, a file is missing or
            damaged, or a network was trained on patients whose features it made.
        """
        folder = Path(folder)
        path = folder / FEATURE_MANIFEST
        if not path.is_file():
            raise DataError(f"{folder}: holds no features (no {FEATURE_MANIFEST}). {_ADVICE}")
        try:
            content = read_fields(_Content, parse_json(read_text(path, MOST_JSON_BYTES)))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}: not of this version of ich_tf ({error}). {_ADVICE}"
            ) from error
        manifest = cls(
            folder=folder,
            feature_dim=content.feature_dim,
            data_sha256=content.data_sha256,
            axes_sha256=content.axes_sha256,
            networks=tuple(map(asdict, content.networks)),
            origins=asdict(content.origins),
            shards=content.shards,
            patients=content.patients,
            num_folds=content.num_folds,
        )
        for shard in manifest.shards:
            file = folder / shard.name
            if not file.is_file() or file_sha256(file) != shard.sha256:
                raise DataError(f"{file}: missing or damaged. {_ADVICE}")
        manifest.check_disjoint()
        return manifest

    @property
    def patient_keys(self) -> str:
        """Whence the keys of the patients are (`Manifest.patient_keys`)."""
        return next((str(entry.get("patient_keys", "")) for entry in self.origins["networks"]), "")

    def save(self) -> None:
        """Writes `features.json`, after all files that it describes."""
        content = {**vars(self), "version": VERSION, "classes": list(CLASSES)}
        content.pop("folder")
        content["shards"] = [asdict(shard) for shard in self.shards]
        content["networks"] = list(self.networks)
        write_json(self.folder / FEATURE_MANIFEST, content)

    def check_disjoint(self) -> None:
        """Checks that no network made features of a patient that it was trained on.

        Raises:
          DataError: If one did, or a patient is in two splits.
        """
        for shard in self.shards:
            fold = self.networks[shard.network]["validation_fold"]
            if fold == EVERY_FOLD:
                continue
            held_out = f"fold-{fold}"
            if shard.split.startswith("fold-") and shard.split != held_out:
                raise DataError(
                    f"{self.folder / shard.name}: holds {shard.split} by a network that was "
                    f"trained on it; it validated on {held_out}. {_ADVICE}"
                )
            trained_on = {
                patient
                for split, patients in self.patients.items()
                if split.startswith("fold-") and split != held_out
                for patient in patients
            }
            shared = trained_on.intersection(self.patients.get(shard.split, ()))
            if shared:
                raise DataError(
                    f"{self.folder / shard.name}: {len(shared)} of its patients are in two splits."
                )

    def read(self, *splits: str) -> Iterator[SeriesFeatures]:
        """Reads the series of some splits; a test patient's come once from each network.

        Args:
          *splits: Names of the splits.

        Raises:
          DataError: If a record is damaged.
        """
        for shard in self.shards:
            if shard.split in splits:
                yield from read_series(self.folder / shard.name)


@dataclass(frozen=True)
class _Network:
    sha256: str
    validation_fold: int
    work_dir: str


@dataclass(frozen=True)
class _Origins:
    """The entries are `models.origins`' own."""

    networks: list[dict[str, Any]]
    patients: dict[str, Any]


@dataclass(frozen=True)
class _Content:
    """Content of `features.json`."""

    version: int
    classes: tuple[str, ...]
    feature_dim: int
    data_sha256: str
    axes_sha256: str
    networks: tuple[_Network, ...]
    origins: _Origins
    shards: tuple[FeatureShard, ...]
    patients: dict[str, list[str]]
    num_folds: int

    def __post_init__(self) -> None:
        if self.version != VERSION or self.classes != CLASSES:
            raise ValueError("another version")
        if self.feature_dim < 1 or self.num_folds < 0:
            raise ValueError("a number of features or folds out of range")
        if not all(0 <= shard.network < len(self.networks) for shard in self.shards):
            raise ValueError("a file of a network that is not listed")


def write_series(
    path: Path, series: Iterable[SeriesFeatures], split: str, network: int
) -> FeatureShard:
    """Writes a file of series features atomically.

    Args:
      path: Path of the TFRecord file.
      series: Series to write; they are consumed one at a time.
      split: Split of the patients.
      network: Number of the network that made the features.

    Returns:
      The description of the file.
    """
    counts = np.zeros(len(CLASSES), np.int64)
    num_series = num_slices = 0

    def records() -> Iterator[bytes]:
        nonlocal num_series, num_slices
        for member in series:
            num_series += 1
            num_slices += len(member)
            counts[:] += (member.labels == 1).sum(axis=0)
            yield tfrecord.frame(member.encode())

    write_bytes(path, records())
    return FeatureShard(
        path.name, split, network, num_series, num_slices, tuple(counts.tolist()), file_sha256(path)
    )


def read_series(path: Path) -> Iterator[SeriesFeatures]:
    """Reads the series of a file.

    Raises:
      DataError: If a record is damaged.
    """
    try:
        for payload in tfrecord.read_records(path):
            yield SeriesFeatures.decode(payload)
    except (OSError, tfrecord.CorruptShardError, CorruptRecordError) as error:
        raise DataError(f"{error} {_ADVICE}") from error
