"""Plan of a conversion: which slice goes into which shard, and the file that holds it.

A plan is fixed before any shard is written. It is a function of the files' names and headers, the
labels and the config. An input that turns out to be bad later leaves a gap and moves nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ich_tf.conversion.plan_content import ExamContent, loads, read_shard
from ich_tf.dicom.reasons import Rejection, quarantine_path, split_quarantine_path
from ich_tf.errors import DataError
from ich_tf.records.data_files import PLAN, checked_shard_name
from ich_tf.records.schema import EXAM_SCHEMA_VERSION, SCHEMA_VERSION
from ich_tf.records.splits import UNLABELLED
from ich_tf.runtime.files import write_parts
from ich_tf.runtime.json_types import read_fields

# End of the first line of plan.json, and its last line.
_SHARDS, _END = ', "shards": [', "]}"


def one_per_input(rejections: Iterable[Rejection]) -> list[Rejection]:
    """The first rejection of each input, for numbers that are compared with numbers of inputs.

    The frames of a file are one input, and may have a rejection each.

    Examples:
      >>> paths = ("a.dcm", "b.dcm#1", "b.dcm#2")
      >>> found = one_per_input(Rejection(path, "execute", "NO_PIXELS", "") for path in paths)
      >>> [rejection.path for rejection in found]
      ['a.dcm', 'b.dcm#1']
    """
    files: set[str] = set()
    kept = []
    for rejection in rejections:
        file, frame = split_quarantine_path(rejection.path)
        if frame:
            if file in files:
                continue
            files.add(file)
        kept.append(rejection)
    return kept


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """A record to write.

    Attributes:
      name: Name of the DICOM file within the source folder.
      source_id: Id of the image, as in `records.SliceRecord`.
      patient_key: Pseudonymous patient id.
      study_key: Pseudonymous study id.
      series_key: Pseudonymous series id.
      slice_index: Position in the ordered series, from 0.
      num_slices: Number of slices of the series.
      z_mm: Position along the normal of the series, mm.
      labels: 0 or 1 per class, in the order of `CLASSES`, or None where unknown; None without
        labels.
      frame: Number of the frame within an enhanced multi-frame file, from 1; 0 in other files.
      crop: Top, left, rows and columns to crop to, px; empty for the whole image.
      alternates: Names of other files that hold the same slice, for one that turns out bad.
      members: Name, frame and digest of each slice of a slab, in order; empty for a slice as it
        is. Name, frame and id of a slab are those of its middle slice.
      digest: `Header.digest` of the slice, by which a file that changes is noticed.
      annotated: Bits of the classes that masks and labels annotate; 0 in a conversion without
        masks.
      masks: Name within the folder of masks, and SHA-256, of each mask of the slice; and the
        number, from 0, of the slice of a slab that a PNG is of.
      exam_labels: Labels of the exam, in [0, 1], or None where unknown; empty in a conversion
        without labels of exams or unknown ones.
      label_level: Level of the exam's labels, as in `records.SliceRecord`.
    """

    name: str
    source_id: str
    patient_key: str
    study_key: str
    series_key: str
    slice_index: int
    num_slices: int
    z_mm: float
    labels: tuple[int | None, ...] | None
    frame: int = 0
    crop: tuple[int, ...] = ()
    alternates: tuple[str, ...] = ()
    members: tuple[tuple[str, int, str], ...] = ()
    digest: str = ""
    annotated: int = 0
    masks: tuple[tuple[str, str, int], ...] = ()
    exam_labels: tuple[float | None, ...] = ()
    label_level: str = ""

    @property
    def path(self) -> str:
        """Name in quarantine files: the file's, with `#frame` in a multi-frame file."""
        return quarantine_path(self.name, self.frame)

    def parts(self) -> list[PlannedSlice]:
        """The slices of a slab; a slice as it is is its own only part."""
        if not self.members:
            return [self]
        return [
            replace(self, name=name, frame=frame, digest=digest, members=())
            for name, frame, digest in self.members
        ]

    @property
    def paths(self) -> list[str]:
        """Names in quarantine files of all files that it can be made of, in their order."""
        if self.members:
            return [quarantine_path(name, frame) for name, frame, _ in self.members]
        return [quarantine_path(name, self.frame) for name in (self.name, *self.alternates)]


@dataclass(frozen=True, slots=True)
class PlannedSeries:
    """The records of a series, in order.

    Attributes:
      keys: Pseudonymous patient, study and series ids.
      num_slices: Number of slices.
      packed: All other fields of the slices, as JSON of plan.json. As objects, RSNA's 752,803
        slices would take six times the memory.
      exam_labels: Labels of the exam, as of its slices.
      label_level: Level of the exam's labels.
    """

    keys: tuple[str, str, str]
    num_slices: int
    packed: str
    exam_labels: tuple[float | None, ...] = ()
    label_level: str = ""

    @classmethod
    def pack(cls, keys: tuple[str, str, str], slices: Iterable[PlannedSlice]) -> PlannedSeries:
        """Packs slices into a series.

        Args:
          keys: Pseudonymous patient, study and series ids; those of the slices are ignored.
          slices: Slices in order; `slice_index`, `num_slices` and the exam's labels are ignored.
        """
        rows = [
            (
                slice_.name,
                slice_.frame,
                slice_.source_id,
                slice_.z_mm,
                slice_.labels,
                slice_.crop,
                slice_.alternates,
                slice_.members,
                slice_.digest,
                # As a plan without masks has always been.
                *((slice_.annotated, slice_.masks) if slice_.annotated or slice_.masks else ()),
            )
            for slice_ in slices
        ]
        return cls(keys, len(rows), json.dumps(rows, separators=(",", ":")))

    def places_mm(self) -> list[float]:
        """Position of each slice along the normal of the series, in order, mm."""
        return [row[3] for row in json.loads(self.packed)]

    def slices(self) -> Iterator[PlannedSlice]:
        """Unpacks the slices, in order."""
        patient_key, study_key, series_key = self.keys
        for position, row in enumerate(json.loads(self.packed)):
            name, frame, source_id, z_mm, labels, crop = row[:6]
            # Rows of an older version, or without masks, lack these.
            rest: list[Any] = [*row[6:], *((), (), "", 0, ())[len(row) - 6 :]]
            alternates, members, digest, annotated, masks = rest
            yield PlannedSlice(
                name=name,
                source_id=source_id,
                patient_key=patient_key,
                study_key=study_key,
                series_key=series_key,
                slice_index=position,
                num_slices=self.num_slices,
                z_mm=z_mm,
                labels=None if labels is None else tuple(labels),
                frame=frame,
                crop=tuple(crop),
                alternates=tuple(alternates),
                members=tuple((member[0], member[1], member[2]) for member in members),
                digest=digest,
                annotated=annotated,
                masks=tuple((name, sha256, part) for name, sha256, part in masks),
                exam_labels=self.exam_labels,
                label_level=self.label_level,
            )


@dataclass(frozen=True)
class PlannedShard:
    """A shard to write.

    Attributes:
      name: Name of the TFRecord file.
      split: `test`, `fold-0` ..., or `unlabelled`.
      series: Series of the shard, in order.
    """

    name: str
    split: str
    series: tuple[PlannedSeries, ...]

    @property
    def num_slices(self) -> int:
        """Number of slices of all series."""
        return sum(series.num_slices for series in self.series)

    def slices(self) -> Iterator[PlannedSlice]:
        """The slices of all series, in order."""
        for series in self.series:
            yield from series.slices()

    def file_names(self) -> list[str]:
        """Names of the files that the shard may be made of, in order, each once."""
        names = (
            (part.name, *part.alternates) for slice_ in self.slices() for part in slice_.parts()
        )
        return [*dict.fromkeys(itertools.chain.from_iterable(names))]

    def json_text(self) -> str:
        """JSON of the shard in plan.json, in which the keys of a series occur once."""
        head = json.dumps({"name": self.name, "split": self.split})
        rows = (
            f'{{"keys":{json.dumps(series.keys)},{_exam_json(series)}"slices":{series.packed}}}'
            for series in self.series
        )
        return f'{head[:-1]}, "series":[{",".join(rows)}]}}'

    @classmethod
    def from_json(cls, text: str) -> PlannedShard:
        """Reads the output of `json_text`.

        Raises:
          ValueError: If the text is not the JSON of a shard.
        """
        shard = read_shard(text)
        members = []
        for series in shard.series:
            exam = series.exam or ExamContent((), "")
            packed = json.dumps(series.slices, separators=(",", ":"))
            members.append(
                PlannedSeries(series.keys, len(series.slices), packed, exam.labels, exam.level)
            )
        return cls(checked_shard_name(shard.name), shard.split, tuple(members))

    def sha256(self, config: Mapping[str, Any]) -> str:
        """SHA-256 of the shard's part of the plan, under the plan's `config`."""
        return _json_sha256([config, self.json_text()])


def _exam_json(series: PlannedSeries) -> str:
    """Member of a series' JSON with the labels of its exam; empty without any."""
    if not series.exam_labels:
        return ""
    exam = {"labels": series.exam_labels, "level": series.label_level}
    return f'"exam":{json.dumps(exam)},'


@dataclass(frozen=True, slots=True, order=True)
class SeriesKind:
    """Series that are alike and were treated alike: a row of the report's table.

    Attributes:
      content: One of `dicom.description.CONTENTS`.
      origin: One of `dicom.description.ORIGINS`.
      kernel: One of `dicom.kernels.KERNELS`.
      contrast: One of `dicom.description.CONTRASTS`.
      thickness_mm: Thickness of the slices, else their distance, to 0.5 mm; 0 if unknown.
      why_not: Why they are left out; empty if they are converted.
      num_series: Number of series, each pass counted.
      num_slices: Number of their slices.
    """

    content: str
    origin: str
    kernel: str
    contrast: str
    thickness_mm: float
    why_not: str
    num_series: int = 0
    num_slices: int = 0


@dataclass(frozen=True)
class Plan:
    """Plan of a conversion.

    Attributes:
      config: Options that the shards depend on (`ConversionConfig.planned`).
      shards: Shards, sorted by split and number.
      patients: Sorted keys of the patients of each split.
      rejections: Inputs that were left out before any pixel was read.
      num_inputs: Number of files, and of labels without a file.
      kinds: All series by kind, chosen or not.
      mask_rejections: Masks that are not used.
      masks_dir: Folder of the masks, which a repair reads; empty without masks. The plan's hash
        does not depend on it, as it does not on the folder of the DICOM files.
      agreement: Lines on how far readers of the exams agree; empty if labels are of no readers.
    """

    config: dict[str, Any]
    shards: tuple[PlannedShard, ...]
    patients: dict[str, list[str]]
    rejections: tuple[Rejection, ...] = ()
    num_inputs: int = 0
    kinds: tuple[SeriesKind, ...] = ()
    mask_rejections: tuple[Rejection, ...] = ()
    masks_dir: str = ""
    agreement: str = ""

    @property
    def is_labelled(self) -> bool:
        """Whether its slices have labels, and its patients folds."""
        return UNLABELLED not in self.patients

    @property
    def is_former(self) -> bool:
        """Whether a former version of the schema made it, whose records are read but not made."""
        return self.config.get("schema_version") not in (SCHEMA_VERSION, EXAM_SCHEMA_VERSION)

    @property
    def has_exams(self) -> bool:
        """Whether its records have the features of exams' labels."""
        return "label_level" in self.config

    @property
    def has_masks(self) -> bool:
        """Whether its records have the features of masks."""
        return "mask_format" in self.config

    @cached_property
    def shard_sha256(self) -> dict[str, str]:
        """SHA-256 of each shard's part of the plan; a shard is written again when it changes."""
        return {shard.name: shard.sha256(self.config) for shard in self.shards}

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole plan."""
        return _json_sha256(
            [
                self.config,
                self.patients,
                [asdict(rejection) for rejection in self.rejections],
                self.num_inputs,
                self.shard_sha256,
                # Plans of schema 2 have none.
                *([[asdict(kind) for kind in self.kinds]] if self.kinds else []),
                *([[asdict(line) for line in self.mask_rejections]] if self.has_masks else []),
                *([self.agreement] if self.has_exams else []),
            ]
        )

    def json_lines(self, source: Path) -> Iterator[str]:
        """Text of plan.json, with a line per shard: RSNA's plan has 752,803 slices.

        Args:
          source: Folder or archive of the DICOM files, which a repair reads. The plan's hash does
            not depend on it, so that a moved folder does not change the plan.
        """
        head = {
            "sha256": _file_sha256(self, str(source)),
            "source": str(source),
            "config": self.config,
            "num_inputs": self.num_inputs,
            "patients": self.patients,
            "rejections": [asdict(rejection) for rejection in self.rejections],
            "kinds": [asdict(kind) for kind in self.kinds],
        }
        if self.has_masks:
            head["mask_rejections"] = [asdict(line) for line in self.mask_rejections]
            head["masks_dir"] = self.masks_dir
        if self.has_exams:
            head["agreement"] = self.agreement
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
    """Reads plan.json.

    Args:
      data_dir: Folder of the shards.

    Returns:
      The plan, and the folder or archive of the DICOM files that it was made from.

    Raises:
      DataError: If there is no plan, or it was changed after it was written.
    """
    path = Path(data_dir) / PLAN
    advice = (
        "Run ich_tf.make_tfrecords again with the flags of this conversion: it makes the plan anew."
    )
    try:
        with open(path, encoding="utf-8") as file:
            head, shards = _read_plan(file)
        plan = Plan(
            head.config,
            tuple(shards),
            head.patients,
            head.rejections,
            head.num_inputs,
            head.kinds,
            head.mask_rejections,
            head.masks_dir,
            head.agreement,
        )
        sha256 = _file_sha256(plan, head.source)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {advice}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a plan of this version (no UTF-8 text). {advice}") from error
    except ValueError as error:
        raise DataError(f"{path}: not a plan of this version ({error}). {advice}") from error
    if sha256 != head.sha256:
        raise DataError(f"{path}: was changed after it was written. {advice}")
    return plan, Path(head.source)


@dataclass(frozen=True)
class _Head:
    """The first line of plan.json; the fields are those of `Plan`."""

    sha256: str
    source: str
    config: dict[str, Any]
    num_inputs: int
    patients: dict[str, list[str]]
    rejections: tuple[Rejection, ...]
    kinds: tuple[SeriesKind, ...] = ()
    mask_rejections: tuple[Rejection, ...] = ()
    masks_dir: str = ""
    agreement: str = ""


def _read_plan(lines: Iterator[str]) -> tuple[_Head, list[PlannedShard]]:
    """Content of the first line, and the shards, line by line: one value would fill the memory."""
    first = next(lines, "").rstrip("\n")
    if not first.endswith(_SHARDS):
        raise ValueError("its first line is not a plan's")
    head = read_fields(_Head, loads(first[: -len(_SHARDS)] + "}"))
    shards = []
    for line in lines:
        text = line.rstrip("\n")
        if text == _END:
            break
        shards.append(PlannedShard.from_json(text.rstrip(",")))
    else:
        raise ValueError("its end is missing")
    return head, shards


def _file_sha256(plan: Plan, source: str) -> str:
    """SHA-256 of all that plan.json holds."""
    return _json_sha256([plan.sha256, source, *([plan.masks_dir] if plan.has_masks else [])])


def _json_sha256(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
