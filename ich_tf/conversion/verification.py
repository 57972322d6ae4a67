"""Comparison of a folder of shards with its plan: sizes, hashes, records, leakage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf import errors
from ich_tf.conversion.exam_fields import LabelCount, exam_differences, stored_labels
from ich_tf.conversion.known_splits import with_planned
from ich_tf.conversion.lookup import written_slices
from ich_tf.conversion.mask_verification import mask_differences
from ich_tf.conversion.plan import Plan, PlannedShard, PlannedSlice, load_plan
from ich_tf.conversion.summary import success_text, summarize
from ich_tf.labels import CLASSES
from ich_tf.records import data_files, manifest, shard_index, splits, tfrecord
from ich_tf.records.dealt_splits import load_splits
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.runtime import files
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.names import printable


@dataclass(frozen=True)
class Mismatch:
    """A difference between a folder and its plan.

    Attributes:
      file: Name of the file within the folder.
      description: What the file has, and what was expected.
    """

    file: str
    description: str


@dataclass(frozen=True)
class _Task:
    """A shard to compare with its plan.

    Attributes:
      folder: Folder of the shards.
      shard: Planned shard.
      plan_sha256: SHA-256 of the shard's part of the plan.
      config: Config of the plan.
      full: Whether every byte is read.
    """

    folder: Path
    shard: PlannedShard
    plan_sha256: str
    config: dict[str, Any]
    full: bool


@dataclass(frozen=True)
class _Finding:
    """What a shard has.

    Attributes:
      sidecar: Its sidecar; None if that is damaged.
      mismatches: Differences between shard and plan.
      patients: Keys of the patients of its records, if every byte was read.
    """

    sidecar: Sidecar | None
    mismatches: list[Mismatch]
    patients: set[str]


def verify(data_dir: str | Path, full: bool = False, num_workers: int = 1) -> list[Mismatch]:
    """Compares a folder with its plan.

    Args:
      data_dir: Folder of the shards.
      full: Whether every byte is read: hashes, CRCs, fields, image and location of every record.
      num_workers: Number of worker processes that read; 0 for one per core, 1 for the calling
        process alone.

    Returns:
      All differences, slices that are to be tried again among them; empty if there are none.

    Raises:
      DataError: If the folder has no plan to compare with.
    """
    folder = Path(data_dir)
    plan, _ = load_plan(folder)
    mismatches: list[Mismatch] = []
    sidecars: list[Sidecar] = []
    patients: dict[str, set[str]] = {}
    tasks = [
        _Task(folder, shard, plan.shard_sha256[shard.name], plan.config, full)
        for shard in plan.shards
    ]
    # Without reading the shards there is too little work to start processes for.
    with LocalExecutor(num_workers if full else 1) as executor:
        for shard, finding in zip(plan.shards, executor.map(_check, tasks, "verify"), strict=True):
            mismatches += finding.mismatches
            patients.setdefault(shard.split, set()).update(finding.patients)
            if finding.sidecar is not None:
                sidecars.append(finding.sidecar)
    if len(sidecars) == len(plan.shards):
        mismatches += _check_summaries(folder, plan, sidecars)
    mismatches += _check_splits(folder, plan)
    known = {shard.name for shard in plan.shards}
    for path in sorted(folder.glob("*.tfrecord*")):
        if data_files.shard_of(path.name) not in known:
            mismatches.append(Mismatch(path.name, "belongs to no shard of this plan; remove it."))
    return [
        *mismatches,
        *_check_leakage(data_files.PLAN, plan.patients),
        *_check_leakage("the records", patients),
    ]


def _check(task: _Task) -> _Finding:
    """Compares a shard with its plan. Runs in a worker."""
    path = task.folder / task.shard.name
    patients: set[str] = set()
    try:
        sidecar = read_sidecar(path)
    except errors.DataError as error:
        name = data_files.sidecar_path(path).name
        return _Finding(None, [Mismatch(name, f"{error}")], patients)
    mismatches = [*_check_sizes(path, task.plan_sha256, task.shard, sidecar)]
    if task.full and path.is_file():
        mismatches += _check_content(path, task.config, task.shard, sidecar, patients)
    mismatches += (
        Mismatch(
            task.shard.name,
            f"lacks {printable(rejection.path)}, which is to be retried: {rejection.reason}, "
            f"{rejection.message}",
        )
        for rejection in (*sidecar.to_retry, *sidecar.mask_quarantine)
    )
    return _Finding(sidecar, mismatches, patients)


def _check_splits(folder: Path, plan: Plan) -> Iterator[Mismatch]:
    """Compares splits.json with the plan; it may have more patients, who were there before."""
    try:
        stored = load_splits(folder)
    except errors.DataError as error:
        yield Mismatch(data_files.SPLITS, f"{error}")
        return
    if plan.is_former and not stored:
        return
    if with_planned(stored, plan) != stored:
        yield Mismatch(
            data_files.SPLITS, "lacks patients of the plan, or has other splits for them."
        )


def _check_leakage(source: str, patients: Mapping[str, Iterable[str]]) -> Iterator[Mismatch]:
    """Looks for patients in two splits.

    Args:
      source: File, or other source, of the splits.
      patients: Keys of the patients of each split.
    """
    try:
        splits.check_leakage(patients)
    except splits.LeakageError as error:
        yield Mismatch(source, str(error))


def _check_sizes(
    path: Path, plan_sha256: str, shard: PlannedShard, sidecar: Sidecar
) -> Iterator[Mismatch]:
    """Compares a shard's files, by size, and its sidecar with the plan."""
    if not path.is_file():
        yield Mismatch(shard.name, "is missing.")
    elif path.stat().st_size != sidecar.num_bytes:
        yield Mismatch(
            shard.name, f"has {path.stat().st_size} bytes; its sidecar lists {sidecar.num_bytes}."
        )
    if not data_files.index_path(path).is_file():
        yield Mismatch(data_files.index_path(path).name, "is missing.")
    planned = shard.name, shard.split, plan_sha256
    if (sidecar.name, sidecar.split, sidecar.plan_sha256) != planned:
        yield Mismatch(data_files.sidecar_path(path).name, "belongs to another shard or plan.")


def _check_summaries(folder: Path, plan: Plan, sidecars: list[Sidecar]) -> Iterator[Mismatch]:
    """Compares the files that follow from plan and sidecars with these."""
    texts = summarize(plan, sidecars).files()
    for name, text in texts.items():
        if not (folder / name).is_file():
            yield Mismatch(name, "is missing.")
        # A former version summed up other things; its files are compared by their hashes.
        elif not plan.is_former and (folder / name).read_bytes() != text.encode():
            yield Mismatch(name, "differs from what follows from plan and sidecars.")
    # Another machine may compress the report's pictures differently: only its hash is compared.
    if not (folder / data_files.REPORT).is_file():
        yield Mismatch(data_files.REPORT, "is missing.")
    try:
        lines = (folder / data_files.SUCCESS).read_bytes().splitlines()
    except FileNotFoundError:
        yield Mismatch(data_files.SUCCESS, "is missing: the conversion is unfinished.")
        return
    try:
        expected = success_text(folder, sidecars, texts).encode().splitlines()
    except FileNotFoundError:
        return  # reported above
    for line in sorted(set(expected) - set(lines)):
        name = line.decode().split("  ")[1]
        yield Mismatch(name, f"has another SHA-256 than {data_files.SUCCESS} lists.")
    if sorted(set(lines) - set(expected)) or len(lines) != len(expected):
        yield Mismatch(data_files.SUCCESS, "has lines that match no file.")


def _check_content(
    path: Path,
    config: dict[str, Any],
    shard: PlannedShard,
    sidecar: Sidecar,
    patients: set[str],
) -> Iterator[Mismatch]:
    """Reads every byte of a shard, and adds the patients of its records to `patients`."""
    if files.file_sha256(path) != sidecar.sha256:
        yield Mismatch(shard.name, "has another SHA-256 than its sidecar.")
    expected = written_slices(shard, sidecar)
    unread = {rejection.path for rejection in sidecar.mask_quarantine}
    counts = np.zeros(len(CLASSES), np.int64)
    labels = LabelCount()
    sizes: list[int] = []
    try:
        for number, payload in enumerate(tfrecord.read_records(path)):
            place = f"record {number} at byte {sum(sizes)}"
            sizes.append(len(payload) + tfrecord.OVERHEAD)
            try:
                record = decode(payload)
                image = read_image(record)
            except CorruptRecordError as error:
                yield Mismatch(shard.name, f"{place} {error}")
                continue
            counts += record.labels
            labels.add(record)
            patients.add(record.patient_key)
            if number < len(expected):
                wrong = _differences(record, image, expected[number], config)
                if "mask_format" in config:
                    wrong += mask_differences(record, expected[number], unread)
                if wrong:
                    yield Mismatch(
                        shard.name, f"{place} differs from the plan in {', '.join(wrong)}."
                    )
    except tfrecord.CorruptShardError as error:
        yield Mismatch(shard.name, str(error))
        return
    if len(sizes) != len(expected) or len(sizes) != sidecar.num_records:
        yield Mismatch(
            shard.name,
            f"holds {len(sizes)} records; expected {len(expected)}, and its sidecar lists "
            f"{sidecar.num_records}.",
        )
    listed = list(sidecar.statistics.label_counts)
    if counts.tolist() != listed:
        yield Mismatch(
            data_files.sidecar_path(path).name,
            f"lists {listed} positive records; there are {counts.tolist()}.",
        )
    if labels.statistics() != sidecar.exams:
        yield Mismatch(
            data_files.sidecar_path(path).name, "lists other numbers of known labels, or of exams."
        )
    index = data_files.index_path(path)
    if index.is_file() and index.read_bytes() != shard_index.index_lines(sizes).encode():
        yield Mismatch(index.name, "is not the index of its shard.")


def _differences(
    record: SliceRecord, image: np.ndarray, planned: PlannedSlice, config: dict[str, Any]
) -> list[str]:
    """Names of the fields of a record that differ from the plan."""
    expected = {
        "source_id": planned.source_id,
        "patient_key": planned.patient_key,
        "study_key": planned.study_key,
        "series_key": planned.series_key,
        "slice_index": planned.slice_index,
        "num_slices": planned.num_slices,
        "z_mm": float(np.float32(planned.z_mm)),
        "labels": stored_labels(planned.labels),
        "label_present": int(planned.labels is not None),
        "format": config["encoding"],
        "crop": planned.crop,
    }
    wrong = [name for name, value in expected.items() if getattr(record, name) != value]
    wrong += exam_differences(record, planned)
    shape = manifest.image_shape(config["image_size"], config["windows"], config["encoding"])
    return wrong if image.shape == shape else [*wrong, "image"]
