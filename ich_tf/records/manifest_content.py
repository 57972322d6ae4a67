"""What readers need of manifest.json, which has no hash of its own and may be edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ich_tf.labels import CLASSES
from ich_tf.records.data_files import checked_shard_name
from ich_tf.records.schema import CROPS, ENCODINGS
from ich_tf.runtime.json_types import quoted


def check_shard(name: str, num_records: int, num_bytes: int, label_counts: Sequence[int]) -> None:
    """Checks the description of a shard.

    Args:
      name: Name of the TFRecord file.
      num_records: Number of records.
      num_bytes: Size of the file, bytes.
      label_counts: Number of positive records per class.

    Raises:
      ValueError: If no shard is as described.
    """
    checked_shard_name(name)
    if len(label_counts) != len(CLASSES) or min(num_records, num_bytes, *label_counts) < 0:
        raise ValueError(f"the numbers of {quoted(name)} are of no shard")
    if max(label_counts) > num_records:
        raise ValueError(f"{quoted(name)} has more labels than records")


@dataclass(frozen=True)
class ShardContent:
    """A shard; the fields are those of `manifest.Shard`."""

    name: str
    split: str
    num_records: int
    num_bytes: int
    sha256: str
    label_counts: tuple[int, ...]

    def __post_init__(self) -> None:
        check_shard(self.name, self.num_records, self.num_bytes, self.label_counts)


@dataclass(frozen=True)
class ConfigContent:
    """Options of the conversion; the fields are those of `ConversionConfig.planned`."""

    image_size: int
    windows: tuple[str, ...]
    crop: str
    encoding: str
    patient_from: str = "id"
    hash_key: str = ""

    def __post_init__(self) -> None:
        if self.image_size < 1 or not self.windows:
            raise ValueError("config has no image size or no windows")
        if self.crop not in CROPS or self.encoding not in ENCODINGS:
            raise ValueError("config has a crop or an encoding that is unknown")

    @property
    def patient_keys(self) -> str:
        """What `Manifest.patient_keys` is."""
        return f"{'' if self.patient_from == 'id' else self.patient_from} {self.hash_key}".strip()


@dataclass(frozen=True)
class MaskContent:
    """Number of slices in which masks mark a class, by class."""

    marked: dict[str, int]

    def __post_init__(self) -> None:
        if self.marked.get("any", -1) < 0:
            raise ValueError("masks.marked has no number of slices")


@dataclass(frozen=True)
class ManifestContent:
    """The manifest; the fields are those of `Manifest`."""

    schema_version: int
    config: ConfigContent
    num_folds: int
    shards: tuple[ShardContent, ...]
    patients: dict[str, list[str]]
    masks: MaskContent | None = None

    def __post_init__(self) -> None:
        if self.num_folds < 0:
            raise ValueError("num_folds is negative")
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("a shard is listed twice")
