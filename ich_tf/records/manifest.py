"""Manifest of a conversion: the list of shards that readers of TFRecords start from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records.data_files import MANIFEST, PLAN, SUCCESS
from ich_tf.records.manifest_content import ManifestContent
from ich_tf.records.schema import EXAM_SCHEMA_VERSION, READABLE_VERSIONS, SCHEMA_VERSION
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import file_sha256, read_json
from ich_tf.runtime.json_types import quoted, read_fields

_ADVICE = "Run python -m ich_tf.make_tfrecords to write it; finished shards are kept."


@dataclass(frozen=True)
class Shard:
    """A committed shard.

    Attributes:
      path: Path of the TFRecord file.
      split: `test`, `fold-0` ..., or `unlabelled`.
      num_records: Number of records.
      num_bytes: Size of the file, bytes.
      sha256: SHA-256 of the file, hexadecimal.
      label_counts: Number of positive records per class, in the order of `CLASSES`.
    """

    path: Path
    split: str
    num_records: int
    num_bytes: int
    sha256: str
    label_counts: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """A finished conversion.

    Attributes:
      data_dir: Folder of the shards.
      image_size: Rows and columns of every stored image, px.
      windows: Names of the window presets, one per channel.
      crop: Crop before resizing, one of `records.CROPS`.
      encoding: Image format of the records, one of `records.ENCODINGS`.
      num_folds: Number of folds; 0 for unlabelled data.
      shards: All shards, by split and number.
      patients: Keys of the patients of each split.
      patient_keys: What tells patients apart and the fingerprint of the secret that their ids are
        hashed with, where it is not the PatientID and there is one: keys of two conversions can be
        compared where this is equal.
      num_marked: Number of slices in which a mask marks pixels; 0 without masks.
      schema_version: Version of the records' schema.

    Examples:
      manifest = Manifest.load("data/tfrecords")
      training, validation = manifest.train_shards(0), manifest.fold_shards(0)
    """

    data_dir: Path
    image_size: int
    windows: tuple[str, ...]
    crop: str
    encoding: str
    num_folds: int
    shards: tuple[Shard, ...]
    patients: dict[str, list[str]]
    patient_keys: str = ""
    num_marked: int = 0
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def load(cls, data_dir: str | Path, *, check_files: bool = True) -> Manifest:
        """Reads `manifest.json`, and checks that all shards exist, by size.

        Args:
          data_dir: Folder of the shards.
          check_files: Whether the shards are checked.

        Raises:
          DataError: If the folder is not a finished conversion of this schema version, or a shard
            is missing or has another size.
        """
        data_dir = Path(data_dir)
        if not data_dir.is_dir():
            raise DataError(f"{data_dir}: no such folder of TFRecords. {_ADVICE}")
        if not (data_dir / SUCCESS).is_file():
            state = "is unfinished" if (data_dir / PLAN).is_file() else "holds no TFRecords"
            raise DataError(
                f"{data_dir}: {state} (no {SUCCESS}). Run python -m ich_tf.make_tfrecords "
                f"--out_dir={data_dir} to finish or write it."
            )
        content = read_json(data_dir / MANIFEST, _ADVICE)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if type(version) is not int or version not in READABLE_VERSIONS:
            raise DataError(
                f"{data_dir}: schema version {quoted(version)}; this version of ich_tf reads "
                f"{', '.join(map(str, READABLE_VERSIONS))}. Convert the data again into another "
                "folder."
            )
        try:
            manifest = cls._from_content(data_dir, content)
        except ValueError as error:
            raise DataError(
                f"{data_dir / MANIFEST}: not a manifest of schema {SCHEMA_VERSION} ({error}). "
                "Convert the data again."
            ) from error
        if check_files:
            manifest._check_files()
        return manifest

    @classmethod
    def _from_content(cls, data_dir: Path, content: dict[str, Any]) -> Manifest:
        """Makes a manifest from the content of manifest.json.

        Raises:
          ValueError: If the content is not a manifest's.
        """
        stored = read_fields(ManifestContent, content)
        return cls(
            data_dir=data_dir,
            image_size=stored.config.image_size,
            windows=stored.config.windows,
            crop=stored.config.crop,
            encoding=stored.config.encoding,
            num_folds=stored.num_folds,
            shards=tuple(
                Shard(
                    path=data_dir / shard.name,
                    split=shard.split,
                    num_records=shard.num_records,
                    num_bytes=shard.num_bytes,
                    sha256=shard.sha256,
                    label_counts=shard.label_counts,
                )
                for shard in stored.shards
            ),
            patients=stored.patients,
            patient_keys=stored.config.patient_keys,
            num_marked=stored.masks.marked["any"] if stored.masks else 0,
            schema_version=stored.schema_version,
        )

    def _check_files(self) -> None:
        """Checks that all shards exist and have their sizes.

        Raises:
          DataError: If a shard is missing or has another size.
        """
        for shard in self.shards:
            size = shard.path.stat().st_size if shard.path.is_file() else None
            if size != shard.num_bytes:
                state = "is missing" if size is None else f"has {size} bytes"
                raise DataError(
                    f"{shard.path} {state}; the manifest lists {shard.num_bytes} bytes. "
                    f"{repair_advice(self.data_dir)}"
                )

    def fingerprint(self) -> dict[str, Any]:
        """Description of the data, equal for the same records and no others.

        Returns:
          `sha256` of the sorted names and hashes of all shards; number of `records`; `encoding`,
          `image_size` in px, `windows` and `crop`, which a message can name.
        """
        lines = sorted(f"{shard.sha256}  {shard.path.name}\n" for shard in self.shards)
        return {
            "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "records": num_records(self.shards),
            "encoding": self.encoding,
            "image_size": self.image_size,
            "windows": list(self.windows),
            "crop": self.crop,
        }

    @property
    def has_exams(self) -> bool:
        """Whether records have labels of exams, and labels of slices may be unknown."""
        return self.schema_version >= EXAM_SCHEMA_VERSION

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of every stored image."""
        return image_shape(self.image_size, self.windows, self.encoding)

    def split_shards(self, split: str) -> list[Shard]:
        """The shards of a split.

        Raises:
          DataError: If the split holds no record.
        """
        shards = [shard for shard in self.shards if shard.split == split]
        if not num_records(shards):
            splits = sorted({shard.split for shard in self.shards if shard.num_records})
            raise DataError(
                f"{self.data_dir}: split {split!r} holds no record; there are "
                f"{', '.join(splits) or 'none'}."
            )
        return shards

    def fold_shards(self, *folds: int) -> list[Shard]:
        """The shards of some folds, by number.

        Raises:
          DataError: If a fold holds no record.
        """
        return [shard for fold in folds for shard in self.split_shards(fold_name(fold))]

    def train_shards(self, validation_fold: int) -> list[Shard]:
        """The shards of all folds but the validation fold.

        Args:
          validation_fold: Number of the validation fold, from 0.

        Raises:
          DataError: If there is no such fold, there is no other fold, or there are no labels.
        """
        if not self.num_folds:
            masks = (
                " Its masks are no labels: each tells of the classes that it was drawn for, and a "
                "label of all six. docs/segmentation.md shows how masks of all subtypes make a CSV."
            )
            raise DataError(
                f"{self.data_dir}: was converted without labels; training and scores need them. "
                f"Convert with --labels_csv.{masks if self.num_marked else ''}"
            )
        if not 0 <= validation_fold < self.num_folds or self.num_folds < 2:
            raise DataError(
                f"{self.data_dir}: has {self.num_folds} folds; validation_fold is "
                f"{validation_fold}. Expected 0 to {self.num_folds - 1}, and two folds or more."
            )
        return self.fold_shards(*(i for i in range(self.num_folds) if i != validation_fold))


def image_shape(size: int, windows: Sequence[str], encoding: str) -> tuple[int, int, int]:
    """Rows, columns and channels of a stored image.

    Args:
      size: Rows and columns, px.
      windows: Names of the window presets.
      encoding: Image format.

    Examples:
      >>> image_shape(256, ["brain", "bone"], "png"), image_shape(256, ["brain", "bone"], "hu16")
      ((256, 256, 2), (256, 256, 1))
    """
    return size, size, 1 if encoding == "hu16" else len(windows)


def num_records(shards: Iterable[Shard]) -> int:
    """Number of records of some shards."""
    return sum(shard.num_records for shard in shards)


def deal_shards(shards: Sequence[Shard], workers: int) -> list[list[Shard]]:
    """Deals shards to workers, so that their numbers of records are about equal.

    Args:
      shards: Shards to deal.
      workers: Number of workers.

    Returns:
      The shards of each worker.

    Raises:
      DataError: If there are fewer shards than workers.
    """
    hands: list[list[Shard]] = [[] for _ in range(workers)]
    records = [0] * workers
    filled = [shard for shard in shards if shard.num_records]
    if len(filled) < workers:
        raise DataError(
            f"{len(filled)} shards cannot be dealt to {workers} workers. Convert the data with a "
            "smaller --shard_mb, or use fewer workers."
        )
    # The largest shard first, each to the worker with the fewest records.
    for shard in sorted(filled, key=lambda shard: (-shard.num_records, shard.path.name)):
        poorest = records.index(min(records))
        hands[poorest].append(shard)
        records[poorest] += shard.num_records
    return hands


@contextmanager
def damage_named(shards: Sequence[Shard]) -> Iterator[None]:
    """Context in which an error of reading shards names the damaged shard.

    tf.data does not report which file it read. After an error each shard is compared with its hash,
    which takes as long as reading all of them.

    Args:
      shards: Shards that are read within the context.

    Raises:
      DataError: If one is raised within the context; the message starts with the shard's path.
    """
    try:
        yield
    except DataError as error:
        for shard in shards:
            try:
                damaged = file_sha256(shard.path) != shard.sha256
            except OSError:
                damaged = True
            if damaged:
                raise DataError(f"{shard.path}: missing or damaged; {error}") from error
        raise


def label_counts(shards: Sequence[Shard]) -> np.ndarray:
    """Number of positive records per class, int64 [6]."""
    counts = np.zeros(len(CLASSES), np.int64)
    for shard in shards:
        counts += np.asarray(shard.label_counts, np.int64)
    return counts


def repair_advice(data_dir: Path) -> str:
    """Advice that ends the error about a damaged file of a finished conversion."""
    return f"Run python -m ich_tf.verify_tfrecords --data_dir={data_dir} --full --repair."
