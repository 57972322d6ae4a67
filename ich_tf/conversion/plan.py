"""What goes into which shard, frozen before anything is written.

The plan is a function of the files' names and headers, the labels and the config. A bad
input that shows only later leaves a hole and moves nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf import series, splits
from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.index import IndexEntry, Rejection
from ich_tf.dicom import Reason
from ich_tf.shards import PLAN, DataError, image_shape, read_json, shard_name

if TYPE_CHECKING:
    import pandas as pd

# Measured on a real series: a windowed head compresses to a quarter of its raw bytes.
_BYTES_PER_PIXEL = {"png": 0.25, "raw": 1.0, "hu16": 1.0, "jpeg": 0.17}
_RSNA_ID = re.compile(r"ID_[0-9a-f]{6,12}")
_PUBLIC_KEY = b"ich_tf"


@dataclass(frozen=True)
class PlannedSlice:
    """One record to write.

    Fields as in `records.SliceRecord`; `name` is the file's, `frame` as in `dicom.Header`.
    """

    name: str
    source_id: str
    patient_key: str
    study_key: str
    series_key: str
    slice_index: int
    num_slices: int
    z_mm: float
    labels: tuple[int, ...] | None
    frame: int = 0

    @property
    def path(self) -> str:
        """How quarantine files name it: the file's name, and the frame where there are many."""
        return f"{self.name}#{self.frame}" if self.frame else self.name


@dataclass(frozen=True)
class PlannedShard:
    """One shard to write: its file's name, its split, its slices in order."""

    name: str
    split: str
    slices: tuple[PlannedSlice, ...]


@dataclass(frozen=True)
class Plan:
    """What goes where.

    Attributes:
      config: `ConversionConfig.planned()`.
      shards: By name.
      patients: Split -> its patients' keys, sorted.
    """

    config: dict[str, Any]
    shards: tuple[PlannedShard, ...]
    patients: dict[str, list[str]]

    def content(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Plan:
        """The inverse of `content`."""
        planned = []
        for shard in content["shards"]:
            slices = []
            for one in shard["slices"]:
                labels = None if one["labels"] is None else tuple(one["labels"])
                slices.append(PlannedSlice(**{**one, "labels": labels}))
            planned.append(PlannedShard(shard["name"], shard["split"], tuple(slices)))
        return cls(content["config"], tuple(planned), content["patients"])

    @cached_property
    def sha256(self) -> str:
        """The hash of the plan's canonical JSON."""
        text = json.dumps(self.content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def make_plan(
    entries: Sequence[IndexEntry],
    labels: pd.DataFrame | None,
    config: ConversionConfig,
    hash_key: bytes = b"",
) -> tuple[Plan, list[Rejection]]:
    """Orders the series, splits the patients, fills the shards.

    Args:
      entries: The readable slices.
      labels: A label table, or None to plan everything as unlabelled.
      config: The conversion's.
      hash_key: Under which ids other than RSNA's are hashed; empty for the public key.

    Returns:
      The plan, without shards if no image has labels; and the images without labels.

    Raises:
      LeakageError: If a patient stood in two splits.
      InputError: If there are too few patients for the folds.
    """
    labelled, rejections = _match_labels(entries, labels)
    if not labelled:
        return Plan(config.planned(), (), {}), rejections
    # The key is the id a label was found under, so that records can be joined to the CSV.
    groups: dict[str, list[list[PlannedSlice]]] = {}
    for (patient, study, series_id), items in series.group_by_series(labelled).items():
        normal = series.series_normal([item.header for item in items])
        patient_key = pseudonym(patient, hash_key)
        groups.setdefault(patient_key, []).append(
            [
                PlannedSlice(
                    name=item.entry.source.name,
                    source_id=pseudonym(item.image_id, hash_key),
                    patient_key=patient_key,
                    study_key=pseudonym(study, hash_key),
                    series_key=pseudonym(series_id, hash_key),
                    slice_index=position,
                    num_slices=len(items),
                    z_mm=series.position_along(item.header, normal),
                    labels=item.labels,
                    frame=item.header.frame,
                )
                for position, item in enumerate(items)
            ]
        )
    split_of = _split_patients(groups, labels is not None, config)
    patients: dict[str, list[str]] = {}
    for patient_key, split in split_of.items():
        patients.setdefault(split, []).append(patient_key)
    shards: list[PlannedShard] = []
    for split in sorted(patients):
        patients[split].sort()
        members = [one for patient_key in patients[split] for one in groups[patient_key]]
        shards += _fill_shards(split, members, config)
    splits.check_leakage(
        {
            split: {
                one.patient_key for shard in shards if shard.split == split for one in shard.slices
            }
            for split in patients
        }
    )
    return Plan(config.planned(), tuple(shards), patients), rejections


def pseudonym(identifier: str, key: bytes = b"") -> str:
    """An id as it is stored: RSNA's as is, any other as a keyed hash."""
    if _RSNA_ID.fullmatch(identifier):
        return identifier
    digest = hmac.new(key or _PUBLIC_KEY, identifier.encode(), hashlib.sha256)
    return f"H{digest.hexdigest()[:24]}"


def load_plan(data_dir: str | Path) -> tuple[Plan, Path]:
    """The plan of a folder of shards, and the DICOM source it was made from.

    Raises:
      DataError: If there is no plan, or it was changed after it was written.
    """
    path = Path(data_dir) / PLAN
    content = read_json(path)
    try:
        plan = Plan.from_content(content)
        source = Path(content["source"])
        expected = content["sha256"]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: not a plan of this version ({error!r}).") from error
    if plan.sha256 != expected:
        raise DataError(f"{path}: was changed after it was written. Convert again.")
    return plan, source


@dataclass(frozen=True)
class _Labelled:
    entry: IndexEntry
    image_id: str
    labels: tuple[int, ...] | None

    @property
    def header(self) -> Any:
        return self.entry.header


def _match_labels(
    entries: Sequence[IndexEntry], labels: pd.DataFrame | None
) -> tuple[list[_Labelled], list[Rejection]]:
    if labels is None:
        return [_Labelled(entry, entry.header.image_id, None) for entry in entries], []
    table = dict(zip(labels.index, map(tuple, labels.to_numpy().tolist()), strict=True))
    matched: list[_Labelled] = []
    rejections: list[Rejection] = []
    for entry in entries:
        # RSNA names a file by its image id; elsewhere the UID is the name in the CSV. A frame's
        # number follows either.
        suffix = f"/{entry.header.frame}" if entry.header.frame else ""
        candidates = (entry.source.stem + suffix, entry.header.image_id)
        image_id = next((name for name in candidates if name in table), None)
        if image_id is None:
            rejections.append(
                Rejection(
                    entry.source.name,
                    "plan",
                    Reason.LABEL_MISSING.value,
                    f"neither {candidates[0]} nor {candidates[1]} is in the label CSV.",
                )
            )
        else:
            matched.append(_Labelled(entry, image_id, table.pop(image_id)))
    return matched, rejections


def labels_without_images(
    labels: pd.DataFrame, names: Sequence[str], entries: Sequence[IndexEntry]
) -> list[Rejection]:
    """Labels that no file was found for, readable or not.

    Args:
      labels: The label table.
      names: The stems of all files.
      entries: The readable ones.
    """
    known = {*names, *(entry.header.image_id for entry in entries)}
    return [
        Rejection(image_id, "plan", Reason.IMAGE_MISSING.value, "has labels but no file.")
        for image_id in labels.index
        if image_id not in known
    ]


def _split_patients(
    groups: dict[str, list[list[PlannedSlice]]], has_labels: bool, config: ConversionConfig
) -> dict[str, str]:
    if not has_labels:
        return dict.fromkeys(sorted(groups), splits.UNLABELLED)
    vectors = {
        patient: np.max([one.labels or () for slices in members for one in slices], axis=0)
        for patient, members in groups.items()
    }
    return splits.split_patients(vectors, config.num_folds, config.test_fraction, config.seed)


def _fill_shards(
    split: str, members: list[list[PlannedSlice]], config: ConversionConfig
) -> list[PlannedShard]:
    """Deals whole series to shards of about equal size, in an order that the seed mixes."""
    rows, columns, channels = image_shape(config.image_size, config.windows, config.encoding)
    record_bytes = rows * columns * channels * _BYTES_PER_PIXEL[config.encoding]
    num_slices = sum(map(len, members))
    count = max(1, round(num_slices * record_bytes / (config.shard_mb * 2**20)))
    count = min(count, len(members))

    # A keyed hash, so that a series keeps its place when others come or go.
    def mixed(one: list[PlannedSlice]) -> str:
        text = f"{config.seed}/{one[0].series_key}/{one[0].study_key}"
        return hashlib.sha256(text.encode()).hexdigest()

    bins: list[list[PlannedSlice]] = [[] for _ in range(count)]
    done = 0
    for slices in sorted(members, key=mixed):
        bins[min(done * count // num_slices, count - 1)] += slices
        done += len(slices)
    bins = [one for one in bins if one]
    return [
        PlannedShard(shard_name(split, i, len(bins)), split, tuple(slices))
        for i, slices in enumerate(bins)
    ]
