"""The manifest of a conversion: what readers of TFRecords start from."""

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
from ich_tf.records.schema import SCHEMA_VERSION
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import file_sha256, read_json

_CONVERT = "Run python -m ich_tf.make_tfrecords to write it; what is done already is kept."


@dataclass(frozen=True)
class Shard:
    """One committed shard.

    Attributes:
      path: The TFRecord file.
      split: `test`, `fold-0` ..., or `unlabelled`.
      num_records, num_bytes: Of the file.
      sha256: Of the file.
      label_counts: Positive records a class, in the order of `CLASSES`.
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
      data_dir: The folder.
      image_size: Rows and columns of every stored image.
      windows: The presets' names, one a channel.
      crop: What was cut out before resizing, one of `records.CROPS`.
      encoding: The records' image format.
      num_folds: Folds, 0 for unlabelled data.
      shards: All of them, by name.
      patients: Split -> its patients' keys.
    """

    data_dir: Path
    image_size: int
    windows: tuple[str, ...]
    crop: str
    encoding: str
    num_folds: int
    shards: tuple[Shard, ...]
    patients: dict[str, list[str]]

    @classmethod
    def load(cls, data_dir: str | Path, *, check_files: bool = True) -> Manifest:
        """Reads `data_dir/manifest.json` and checks that its shards are there, by size.

        Args:
          data_dir: The folder.
          check_files: False only reads.

        Raises:
          DataError: If the folder is no finished conversion of this schema version.
        """
        data_dir = Path(data_dir)
        if not data_dir.is_dir():
            raise DataError(f"{data_dir}: no such folder of TFRecords. {_CONVERT}")
        if not (data_dir / SUCCESS).is_file():
            state = "is unfinished" if (data_dir / PLAN).is_file() else "holds no TFRecords"
            raise DataError(
                f"{data_dir}: {state} (no {SUCCESS}). Run python -m ich_tf.make_tfrecords "
                f"--out_dir={data_dir} to finish or write it."
            )
        content = read_json(data_dir / MANIFEST, _CONVERT)
        version = content.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{data_dir}: schema version {version}; this version of ich_tf reads "
                f"{SCHEMA_VERSION}. Convert the data again into another folder."
            )
        try:
            manifest = cls(
                data_dir=data_dir,
                image_size=content["config"]["image_size"],
                windows=tuple(content["config"]["windows"]),
                crop=content["config"]["crop"],
                encoding=content["config"]["encoding"],
                num_folds=content["num_folds"],
                shards=tuple(
                    Shard(
                        path=data_dir / shard["name"],
                        split=shard["split"],
                        num_records=shard["num_records"],
                        num_bytes=shard["num_bytes"],
                        sha256=shard["sha256"],
                        label_counts=tuple(shard["label_counts"]),
                    )
                    for shard in content["shards"]
                ),
                patients=content["patients"],
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{data_dir / MANIFEST}: not a manifest of schema {SCHEMA_VERSION} ({error!r}). "
                "Convert the data again."
            ) from error
        for shard in manifest.shards if check_files else ():
            size = shard.path.stat().st_size if shard.path.is_file() else None
            if size != shard.num_bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise DataError(
                    f"{shard.path} {found}; the manifest says {shard.num_bytes} bytes. "
                    f"{repair_advice(data_dir)}"
                )
        return manifest

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
    def image_shape(self) -> tuple[int, int, int]:
        """Of every stored image: rows, columns, channels."""
        return image_shape(self.image_size, self.windows, self.encoding)

    def split_shards(self, split: str) -> list[Shard]:
        """The shards of one split.

        Raises:
          DataError: If the split holds no record.
        """
        found = [shard for shard in self.shards if shard.split == split]
        if not num_records(found):
            splits = sorted({shard.split for shard in self.shards if shard.num_records})
            raise DataError(
                f"{self.data_dir}: split {split!r} holds no record; there are "
                f"{', '.join(splits) or 'none'}."
            )
        return found

    def fold_shards(self, *folds: int) -> list[Shard]:
        """The shards of the folds with these numbers."""
        return [shard for fold in folds for shard in self.split_shards(fold_name(fold))]

    def train_shards(self, validation_fold: int) -> list[Shard]:
        """The shards of all folds but one.

        Raises:
          DataError: If there is no such fold, or no other, or no labels.
        """
        if not self.num_folds:
            raise DataError(
                f"{self.data_dir}: was converted without labels; training and scores need them. "
                "Convert with --labels_csv."
            )
        if not 0 <= validation_fold < self.num_folds or self.num_folds < 2:
            raise DataError(
                f"{self.data_dir}: has {self.num_folds} folds; validation_fold is "
                f"{validation_fold}. Expected 0 to {self.num_folds - 1}, and two folds or more."
            )
        return self.fold_shards(*(i for i in range(self.num_folds) if i != validation_fold))


def image_shape(size: int, windows: Sequence[str], encoding: str) -> tuple[int, int, int]:
    """Rows, columns and channels of a stored image: a channel a window; of hu16 one."""
    return size, size, 1 if encoding == "hu16" else len(windows)


def num_records(shards: Iterable[Shard]) -> int:
    """Records in all."""
    return sum(shard.num_records for shard in shards)


def deal_shards(shards: Sequence[Shard], workers: int) -> list[list[Shard]]:
    """Gives each worker shards of its own, of about equal numbers of records.

    Args:
      shards: To deal.
      workers: How many there are.

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
    # The largest first, each to whoever has the fewest records.
    for shard in sorted(filled, key=lambda one: (-one.num_records, one.path.name)):
        poorest = records.index(min(records))
        hands[poorest].append(shard)
        records[poorest] += shard.num_records
    return hands


@contextmanager
def damage_named(shards: Sequence[Shard]) -> Iterator[None]:
    """Within it, an error of reading shards names the one that is damaged.

    tf.data does not say which file it read, so each is compared with its hash: only then, since it
    takes as long as reading them all.

    Raises:
      DataError: As within, with the shard's path.
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
    """Positive records a class, int64 [6]."""
    counts = np.zeros(len(CLASSES), np.int64)
    for shard in shards:
        counts += np.asarray(shard.label_counts, np.int64)
    return counts


def repair_advice(data_dir: Path) -> str:
    """What to do about a damaged file of a finished conversion."""
    return f"Run python -m ich_tf.verify_tfrecords --data_dir={data_dir} --full --repair."
