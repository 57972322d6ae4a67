"""What goes into which shard, frozen before anything is written.

The plan is a function of the files' names and headers, the labels and the config. A bad
input that shows only later leaves a hole and moves nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ich_tf import series, splits
from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.index import IndexEntry, Rejection
from ich_tf.dicom import Reason
from ich_tf.errors import InputError
from ich_tf.shards import PLAN, DataError, image_shape, read_json, shard_name

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
# Measured on a real series: a windowed head compresses to a quarter of its raw bytes.
_BYTES_PER_PIXEL = {"png": 0.25, "raw": 1.0, "hu16": 1.0, "jpeg": 0.17}
_RSNA_ID = re.compile(r"ID_[0-9a-f]{6,12}")
_PUBLIC_KEY = b"ich_tf"


@dataclass(frozen=True, slots=True)
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
    crop: tuple[int, ...] = ()

    @property
    def path(self) -> str:
        """How quarantine files name it: the file's name, and the frame where there are many."""
        return f"{self.name}#{self.frame}" if self.frame else self.name

    @property
    def series(self) -> tuple[str, str, str]:
        """The keys of patient, study and series."""
        return self.patient_key, self.study_key, self.series_key


@dataclass(frozen=True)
class PlannedShard:
    """One shard to write: its file's name, its split, its slices in order."""

    name: str
    split: str
    slices: tuple[PlannedSlice, ...]

    def series(self) -> Iterator[tuple[PlannedSlice, ...]]:
        """The slices of each series, in order."""
        for _, members in itertools.groupby(self.slices, key=lambda one: one.series):
            yield tuple(members)

    def content(self) -> dict[str, Any]:
        """The shard as JSON values: what a series' slices share stands once."""
        return {
            "name": self.name,
            "split": self.split,
            "series": [
                {
                    "keys": members[0].series,
                    "slices": [
                        (one.name, one.frame, one.source_id, one.z_mm, one.labels, one.crop)
                        for one in members
                    ],
                }
                for members in self.series()
            ],
        }

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> PlannedShard:
        """The inverse of `content`."""
        slices = []
        for series_content in content["series"]:
            patient, study, key = series_content["keys"]
            members = series_content["slices"]
            for position, (name, frame, source_id, z_mm, labels, crop) in enumerate(members):
                slices.append(
                    PlannedSlice(
                        name=name,
                        source_id=source_id,
                        patient_key=patient,
                        study_key=study,
                        series_key=key,
                        slice_index=position,
                        num_slices=len(members),
                        z_mm=z_mm,
                        labels=None if labels is None else tuple(labels),
                        frame=frame,
                        crop=tuple(crop),
                    )
                )
        return cls(content["name"], content["split"], tuple(slices))

    def sha256(self, config: Mapping[str, Any]) -> str:
        """The hash of all that the plan says of this shard."""
        return _json_sha256([config, self.content()])


@dataclass(frozen=True)
class Plan:
    """What goes where.

    Attributes:
      config: `ConversionConfig.planned()`.
      shards: By name.
      patients: Split -> its patients' keys, sorted.
      rejections: The inputs that were left out before any pixel was read.
      num_inputs: Files found, and labels without a file.
    """

    config: dict[str, Any]
    shards: tuple[PlannedShard, ...]
    patients: dict[str, list[str]]
    rejections: tuple[Rejection, ...] = ()
    num_inputs: int = 0

    @cached_property
    def shard_sha256(self) -> dict[str, str]:
        """Name -> hash of each shard. A shard is written again when its own hash changes."""
        return {one.name: one.sha256(self.config) for one in self.shards}

    @cached_property
    def sha256(self) -> str:
        """The hash of the whole plan."""
        return _json_sha256(
            [
                self.config,
                self.patients,
                [asdict(one) for one in self.rejections],
                self.num_inputs,
                self.shard_sha256,
            ]
        )

    def json_lines(self, source: Path) -> Iterator[str]:
        """The text of plan.json, a shard a line: RSNA's plan has 752,803 slices.

        Args:
          source: Where the DICOM files are: what a repair reads from. It is no part of the plan's
            hash, so that a moved folder does not change the plan.
        """
        head = {
            "sha256": _json_sha256([self.sha256, str(source)]),
            "source": str(source),
            "config": self.config,
            "num_inputs": self.num_inputs,
            "patients": self.patients,
            "rejections": [asdict(one) for one in self.rejections],
        }
        yield json.dumps(head, sort_keys=True)[:-1] + ', "shards": ['
        for number, shard in enumerate(self.shards):
            yield (",\n" if number else "\n") + json.dumps(shard.content(), separators=(",", ":"))
        yield "\n]}\n"


def load_plan(data_dir: str | Path) -> tuple[Plan, Path]:
    """The plan of a folder of shards, and the DICOM source it was made from.

    Raises:
      DataError: If there is no plan, or it was changed after it was written.
    """
    path = Path(data_dir) / PLAN
    content = read_json(path)
    advice = (
        "Run tools.make_tfrecords again with the flags of this conversion: it makes the plan anew."
    )
    try:
        plan = Plan(
            content["config"],
            tuple(PlannedShard.from_content(shard) for shard in content["shards"]),
            content["patients"],
            tuple(Rejection(**one) for one in content["rejections"]),
            content["num_inputs"],
        )
        source = Path(content["source"])
        expected = content["sha256"]
        found = _json_sha256([plan.sha256, content["source"]])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a plan of this version ({error!r}). {advice}") from error
    if found != expected:
        raise DataError(f"{path}: was changed after it was written. {advice}")
    return plan, source


def _json_sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def make_plan(
    entries: Sequence[IndexEntry],
    labels: pd.DataFrame | None,
    config: ConversionConfig,
    hash_key: bytes = b"",
    previous: Plan | None = None,
    conflicts: Mapping[str, str] | None = None,
) -> tuple[Plan, list[Rejection]]:
    """Orders the series, splits the patients, fills the shards.

    Args:
      entries: The readable slices.
      labels: A label table, or None to plan everything as unlabelled.
      config: The conversion's.
      hash_key: Under which ids other than RSNA's are hashed; empty for the public key.
      previous: The plan of an earlier run with the same config: its patients keep their splits,
        and its series their shards, so that little has to be written again.
      conflicts: Image id -> why its labels cannot be true.

    Returns:
      The plan, without shards if no image has labels; and the images without good labels.

    Raises:
      LeakageError: If a patient stood in two splits.
      InputError: If there are too few patients for the folds.
    """
    labelled, rejections = _match_labels(entries, labels, conflicts or {})
    if not labelled:
        return Plan(config.planned(), (), {}), rejections
    # The key is the id a label was found under, so that records can be joined to the CSV.
    groups: dict[str, list[list[PlannedSlice]]] = {}
    for (patient, study, series_id), items in series.group_by_series(labelled).items():
        normal = series.series_normal([item.header for item in items])
        patient_key = pseudonym(patient, hash_key)
        study_key, series_key = pseudonym(study, hash_key), pseudonym(series_id, hash_key)
        groups.setdefault(patient_key, []).append(
            [
                PlannedSlice(
                    name=item.entry.source.name,
                    source_id=pseudonym(item.image_id, hash_key),
                    patient_key=patient_key,
                    study_key=study_key,
                    series_key=series_key,
                    slice_index=position,
                    num_slices=len(items),
                    z_mm=series.position_along(item.header, normal),
                    labels=item.labels,
                    frame=item.header.frame,
                    crop=item.entry.crop,
                )
                for position, item in enumerate(items)
            ]
        )
    split_of = _split_patients(groups, labels is not None, config, previous)
    patients: dict[str, list[str]] = {}
    for patient_key, split in split_of.items():
        patients.setdefault(split, []).append(patient_key)
    shards: list[PlannedShard] = []
    for split in sorted(patients):
        patients[split].sort()
        members = [one for patient_key in patients[split] for one in groups[patient_key]]
        before = [one for one in previous.shards if one.split == split] if previous else []
        if before:
            shards += _refill_shards(split, members, config, before)
        else:
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


def read_hash_key(path: str) -> bytes:
    """The secret of a file; empty, the public key, where no file is named.

    Raises:
      InputError: If there is no such file, or it holds too little.
    """
    if not path:
        return b""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; --hash_key_file names a file with a secret.")
    key = Path(path).read_bytes().strip()
    if len(key) < 16:
        raise InputError(f"{path}: holds {len(key)} bytes; a secret needs 16 or more.")
    return key


def pseudonym(identifier: str, key: bytes = b"") -> str:
    """An id as it is stored: RSNA's as is, any other as a keyed hash."""
    if _RSNA_ID.fullmatch(identifier):
        return identifier
    digest = hmac.new(key or _PUBLIC_KEY, identifier.encode(), hashlib.sha256)
    return f"H{digest.hexdigest()[:24]}"


@dataclass(frozen=True, slots=True)
class _Labelled:
    entry: IndexEntry
    image_id: str
    labels: tuple[int, ...] | None

    @property
    def header(self) -> Any:
        return self.entry.header


def _match_labels(
    entries: Sequence[IndexEntry], labels: pd.DataFrame | None, conflicts: Mapping[str, str]
) -> tuple[list[_Labelled], list[Rejection]]:
    if labels is None:
        return [_Labelled(entry, entry.header.image_id, None) for entry in entries], []
    table = dict(zip(labels.index, map(tuple, labels.to_numpy().tolist()), strict=True))
    matched: list[_Labelled] = []
    rejections: list[Rejection] = []

    def reject(entry: IndexEntry, reason: Reason, message: str) -> None:
        rejections.append(Rejection(entry.source.name, "plan", reason.value, message))

    for entry in entries:
        # RSNA names a file by its image id; elsewhere the UID is the name in the CSV. A frame's
        # number follows either.
        suffix = f"/{entry.header.frame}" if entry.header.frame else ""
        candidates = dict.fromkeys((entry.source.stem + suffix, entry.header.image_id))
        found = [name for name in candidates if name in table]
        wrong = [conflicts[name] for name in candidates if name in conflicts]
        if wrong:
            reject(entry, Reason.LABEL_CONFLICT, f"{wrong[0]}.")
        elif len({table[name] for name in found}) > 1:
            message = "its file's name and its SOP instance UID have different labels."
            reject(entry, Reason.LABEL_CONFLICT, message)
        elif not found:
            message = "neither its file's name nor its SOP instance UID is in the label CSV."
            reject(entry, Reason.LABEL_MISSING, message)
        else:
            labels_of_it = table[found[0]]
            # Two files of one name share no labels: the second finds none.
            for name in found:
                del table[name]
            matched.append(_Labelled(entry, found[0], labels_of_it))
    return matched, rejections


def labels_without_images(
    image_ids: Sequence[str],
    names: Sequence[str],
    entries: Sequence[IndexEntry],
    hash_key: bytes = b"",
) -> list[Rejection]:
    """Labels that no file was found for, readable or not.

    Args:
      image_ids: Of the label CSV, in its order.
      names: The stems of all files.
      entries: The readable ones.
      hash_key: As of `make_plan`.
    """
    known = {*names, *(entry.header.image_id for entry in entries)}
    return [
        Rejection(
            pseudonym(image_id, hash_key),
            "plan",
            Reason.IMAGE_MISSING.value,
            f"image {number} of the label CSV has no file.",
        )
        for number, image_id in enumerate(image_ids, 1)
        if image_id not in known
    ]


def _split_patients(
    groups: dict[str, list[list[PlannedSlice]]],
    has_labels: bool,
    config: ConversionConfig,
    previous: Plan | None,
) -> dict[str, str]:
    if not has_labels:
        return dict.fromkeys(sorted(groups), splits.UNLABELLED)
    vectors = {
        patient: np.max([one.labels or () for slices in members for one in slices], axis=0)
        for patient, members in groups.items()
    }
    folds, test = config.num_folds, config.test_fraction
    if previous is None:
        return splits.split_patients(vectors, folds, test, config.seed)
    known = {patient: split for split, keys in previous.patients.items() for patient in keys}
    return splits.place_patients(vectors, known, folds, test)


def _fill_shards(
    split: str, members: list[list[PlannedSlice]], config: ConversionConfig
) -> list[PlannedShard]:
    """Deals whole series to shards of about equal size, in an order that the seed mixes."""
    num_slices = sum(map(len, members))
    count = max(1, round(num_slices * _record_bytes(config) / (config.shard_mb * 2**20)))
    count = min(count, len(members))
    bins: list[list[PlannedSlice]] = [[] for _ in range(count)]
    done = 0
    for slices in _mixed(members, config.seed):
        bins[min(done * count // num_slices, count - 1)] += slices
        done += len(slices)
    bins = [one for one in bins if one]
    return [
        PlannedShard(shard_name(split, i, len(bins)), split, tuple(slices))
        for i, slices in enumerate(bins)
    ]


def _refill_shards(
    split: str,
    members: list[list[PlannedSlice]],
    config: ConversionConfig,
    before: Sequence[PlannedShard],
) -> list[PlannedShard]:
    """Leaves series where they were; a new one goes to the shard that is smallest by then."""
    home = {slices[0].series: shard.name for shard in before for slices in shard.series()}
    bins: dict[str, list[list[PlannedSlice]]] = {shard.name: [] for shard in before}
    sizes = dict.fromkeys(bins, 0)
    # Those with a home first, so that all sizes stand before the first newcomer is placed.
    ordered = _mixed(members, config.seed)
    for slices in sorted(ordered, key=lambda one: one[0].series not in home):
        name = home.get(slices[0].series) or min(sizes, key=lambda one: (sizes[one], one))
        bins[name].append(slices)
        sizes[name] += len(slices)
    largest = max(sizes.values()) * _record_bytes(config) / 2**20
    if largest > 2 * config.shard_mb:
        _LOG.info(
            "a shard of %s has grown to about %.0f MiB; --overwrite deals the series anew",
            split,
            largest,
        )
    return [
        PlannedShard(name, split, tuple(itertools.chain.from_iterable(_mixed(slices, config.seed))))
        for name, slices in bins.items()
        if slices
    ]


def _record_bytes(config: ConversionConfig) -> float:
    rows, columns, channels = image_shape(config.image_size, config.windows, config.encoding)
    return rows * columns * channels * _BYTES_PER_PIXEL[config.encoding]


def _mixed(members: Sequence[list[PlannedSlice]], seed: int) -> list[list[PlannedSlice]]:
    """The series in the order of a hash, so that each keeps its place when others come or go."""

    def place(one: list[PlannedSlice]) -> str:
        text = f"{seed}/{one[0].series_key}/{one[0].study_key}"
        return hashlib.sha256(text.encode()).hexdigest()

    return sorted(members, key=place)
