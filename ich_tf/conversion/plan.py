"""What goes into which shard, frozen before anything is written.

The plan is a function of the files' names and headers, the labels and the config. A bad
input that shows only later leaves a hole and moves nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.index import IndexedSlice, SliceIndex
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.dicom import series
from ich_tf.dicom.reasons import Rejection
from ich_tf.errors import DataError
from ich_tf.records import splits
from ich_tf.records.data_files import PLAN, shard_name
from ich_tf.records.manifest import image_shape
from ich_tf.runtime.files import write_parts

_LOG = logging.getLogger(__name__)
# Measured on a real series: a windowed head compresses to a quarter of its raw bytes.
_BYTES_PER_PIXEL = {"png": 0.25, "raw": 1.0, "hu16": 1.0, "jpeg": 0.17}
# What plan.json's first line ends with, and its last is.
_SHARDS, _END = ', "shards": [', "]}"


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


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    """The records of a series, in order.

    Attributes:
      keys: Of its patient, its study and itself.
      num_slices: In it.
      packed: The rest of its slices, as plan.json has it. As objects, RSNA's 752,803 slices would
        take six times the memory.
    """

    keys: tuple[str, str, str]
    num_slices: int
    packed: str

    @classmethod
    def pack(cls, keys: tuple[str, str, str], slices: Iterable[PlannedSlice]) -> PlannedSeries:
        """The series of some slices, whose own keys, index and number are not looked at."""
        rows = [
            (one.name, one.frame, one.source_id, one.z_mm, one.labels, one.crop) for one in slices
        ]
        return cls(keys, len(rows), json.dumps(rows, separators=(",", ":")))

    def slices(self) -> Iterator[PlannedSlice]:
        """Its slices."""
        patient, study, key = self.keys
        for position, (name, frame, source_id, z_mm, labels, crop) in enumerate(
            json.loads(self.packed)
        ):
            yield PlannedSlice(
                name=name,
                source_id=source_id,
                patient_key=patient,
                study_key=study,
                series_key=key,
                slice_index=position,
                num_slices=self.num_slices,
                z_mm=z_mm,
                labels=None if labels is None else tuple(labels),
                frame=frame,
                crop=tuple(crop),
            )


@dataclass(frozen=True)
class PlannedShard:
    """One shard to write: its file's name, its split, its series in order."""

    name: str
    split: str
    series: tuple[PlannedSeries, ...]

    @property
    def num_slices(self) -> int:
        """In all its series."""
        return sum(one.num_slices for one in self.series)

    def slices(self) -> Iterator[PlannedSlice]:
        """The slices of all its series, in order."""
        for one in self.series:
            yield from one.slices()

    def json_text(self) -> str:
        """The shard as plan.json has it: what a series' slices share stands once."""
        head = json.dumps({"name": self.name, "split": self.split})
        rows = (f'{{"keys":{json.dumps(one.keys)},"slices":{one.packed}}}' for one in self.series)
        return f'{head[:-1]}, "series":[{",".join(rows)}]}}'

    @classmethod
    def from_json(cls, text: str) -> PlannedShard:
        """The inverse of `json_text`.

        Raises:
          ValueError, KeyError, TypeError: If it is none.
        """
        content = json.loads(text)
        members = []
        for one in content["series"]:
            packed = json.dumps(one["slices"], separators=(",", ":"))
            patient, study, key = one["keys"]
            members.append(PlannedSeries((patient, study, key), len(one["slices"]), packed))
        return cls(content["name"], content["split"], tuple(members))

    def sha256(self, config: Mapping[str, Any]) -> str:
        """The hash of all that the plan says of this shard."""
        return _json_sha256([config, self.json_text()])


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
        yield json.dumps(head, sort_keys=True)[:-1] + _SHARDS
        for number, shard in enumerate(self.shards):
            yield (",\n" if number else "\n") + shard.json_text()
        yield f"\n{_END}\n"


def save_plan(data_dir: Path, plan: Plan, source: Path) -> None:
    """Writes plan.json atomically.

    Args:
      data_dir: Folder of the shards.
      plan: Plan to write.
      source: Folder or archive of the DICOM files.
    """
    write_parts(data_dir / PLAN, plan.json_lines(source))


def load_plan(data_dir: str | Path) -> tuple[Plan, Path]:
    """The plan of a folder of shards, and the DICOM source it was made from.

    Raises:
      DataError: If there is no plan, or it was changed after it was written.
    """
    path = Path(data_dir) / PLAN
    advice = (
        "Run ich_tf.make_tfrecords again with the flags of this conversion: it makes the plan anew."
    )
    try:
        with open(path, encoding="utf-8") as file:
            content, shards = _read_plan(file)
        plan = Plan(
            content["config"],
            tuple(shards),
            content["patients"],
            tuple(Rejection(**one) for one in content["rejections"]),
            content["num_inputs"],
        )
        source = Path(content["source"])
        expected = content["sha256"]
        found = _json_sha256([plan.sha256, content["source"]])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not a plan of this version ({error!r}). {advice}") from error
    if found != expected:
        raise DataError(f"{path}: was changed after it was written. {advice}")
    return plan, source


def _read_plan(lines: Iterator[str]) -> tuple[dict[str, Any], list[PlannedShard]]:
    """The first line's content and the shards, line by line: as one value it would fill memory."""
    first = next(lines, "").rstrip("\n")
    if not first.endswith(_SHARDS):
        raise ValueError("its first line is not a plan's")
    content = json.loads(first[: -len(_SHARDS)] + "}")
    shards = []
    for line in lines:
        text = line.rstrip("\n")
        if text == _END:
            break
        shards.append(PlannedShard.from_json(text.rstrip(",")))
    else:
        raise ValueError("its end is missing")
    return content, shards


def _json_sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def make_plan(
    slices: SliceIndex,
    config: ConversionConfig,
    hash_key: bytes = b"",
    previous: Plan | None = None,
) -> Plan:
    """Orders the series, splits the patients, fills the shards.

    Args:
      slices: What can be planned.
      config: The conversion's.
      hash_key: Under which ids other than RSNA's are hashed; empty for the public key.
      previous: The plan of an earlier run with the same config: its patients keep their splits,
        and its series their shards, so that little has to be written again.

    Returns:
      The plan; without shards if there are no slices.

    Raises:
      LeakageError: If a patient stood in two splits.
      InputError: If there are too few patients for the folds.
    """
    groups: dict[str, list[PlannedSeries]] = {}
    labels: dict[str, list[np.ndarray]] = {}
    for ids, members in slices.by_series():
        patient, study, key = (pseudonym(one, hash_key) for one in ids)
        groups.setdefault(patient, []).append(
            _plan_series((patient, study, key), members, hash_key)
        )
        rows = [one.labels for one in members if one.labels is not None]
        if rows:
            labels.setdefault(patient, []).append(np.max(rows, axis=0))
    if not groups:
        return Plan(config.planned(), (), {})
    split_of = _split_patients(groups, labels, config, previous)
    patients: dict[str, list[str]] = {}
    for patient, split in split_of.items():
        patients.setdefault(split, []).append(patient)
    shards: list[PlannedShard] = []
    for split in sorted(patients):
        patients[split].sort()
        series_of_split = [one for patient in patients[split] for one in groups[patient]]
        before = [one for one in previous.shards if one.split == split] if previous else []
        if before:
            shards += _refill_shards(split, series_of_split, config, before)
        else:
            shards += _fill_shards(split, series_of_split, config)
    splits.check_leakage(
        {
            split: {one.keys[0] for shard in shards if shard.split == split for one in shard.series}
            for split in patients
        }
    )
    return Plan(config.planned(), tuple(shards), patients)


def _plan_series(
    keys: tuple[str, str, str], members: Sequence[IndexedSlice], hash_key: bytes
) -> PlannedSeries:
    normal = series.series_normal([one.header for one in members])
    rows = [
        # The id is the one a label was found under, so that records can be joined to the CSV.
        PlannedSlice(
            name=one.name,
            source_id=pseudonym(one.image_id, hash_key),
            patient_key=keys[0],
            study_key=keys[1],
            series_key=keys[2],
            slice_index=position,
            num_slices=len(members),
            z_mm=series.position_along(one.header, normal),
            labels=one.labels,
            frame=one.header.frame,
            crop=one.crop,
        )
        for position, one in enumerate(members)
    ]
    return PlannedSeries.pack(keys, rows)


def _split_patients(
    patients: Iterable[str],
    labels: Mapping[str, Sequence[np.ndarray]],
    config: ConversionConfig,
    previous: Plan | None,
) -> dict[str, str]:
    if not labels:
        return dict.fromkeys(sorted(patients), splits.UNLABELLED)
    vectors = {patient: np.max(labels[patient], axis=0) for patient in patients}
    folds, test = config.num_folds, config.test_fraction
    if previous is None:
        return splits.split_patients(vectors, folds, test, config.seed)
    known = {patient: split for split, keys in previous.patients.items() for patient in keys}
    return splits.place_patients(vectors, known, folds, test)


def _fill_shards(
    split: str, members: list[PlannedSeries], config: ConversionConfig
) -> list[PlannedShard]:
    """Deals whole series to shards of about equal size, in an order that the seed mixes."""
    num_slices = sum(one.num_slices for one in members)
    count = max(1, round(num_slices * _record_bytes(config) / (config.shard_mb * 2**20)))
    count = min(count, len(members))
    bins: list[list[PlannedSeries]] = [[] for _ in range(count)]
    done = 0
    for one in _mixed(members, config.seed):
        bins[min(done * count // num_slices, count - 1)].append(one)
        done += one.num_slices
    bins = [one for one in bins if one]
    return [
        PlannedShard(shard_name(split, i, len(bins)), split, tuple(found))
        for i, found in enumerate(bins)
    ]


def _refill_shards(
    split: str,
    members: list[PlannedSeries],
    config: ConversionConfig,
    before: Sequence[PlannedShard],
) -> list[PlannedShard]:
    """Leaves series where they were; a new one goes to the shard that is smallest by then."""
    home = {one.keys: shard.name for shard in before for one in shard.series}
    bins: dict[str, list[PlannedSeries]] = {shard.name: [] for shard in before}
    sizes = dict.fromkeys(bins, 0)
    # Those with a home first, so that all sizes stand before the first newcomer is placed.
    ordered = _mixed(members, config.seed)
    for one in sorted(ordered, key=lambda one: one.keys not in home):
        name = home.get(one.keys) or min(sizes, key=lambda name: (sizes[name], name))
        bins[name].append(one)
        sizes[name] += one.num_slices
    largest = max(sizes.values()) * _record_bytes(config) / 2**20
    if largest > 2 * config.shard_mb:
        _LOG.info(
            "a shard of %s has grown to about %.0f MiB; --overwrite deals the series anew",
            split,
            largest,
        )
    return [
        PlannedShard(name, split, tuple(_mixed(found, config.seed)))
        for name, found in bins.items()
        if found
    ]


def _record_bytes(config: ConversionConfig) -> float:
    rows, columns, channels = image_shape(config.image_size, config.windows, config.encoding)
    return rows * columns * channels * _BYTES_PER_PIXEL[config.encoding]


def _mixed(members: Sequence[PlannedSeries], seed: int) -> list[PlannedSeries]:
    """The series in the order of a hash, so that each keeps its place when others come or go."""

    def place(one: PlannedSeries) -> str:
        _, study, key = one.keys
        text = f"{seed}/{key}/{study}"
        return hashlib.sha256(text.encode()).hexdigest()

    return sorted(members, key=place)
