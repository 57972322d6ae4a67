"""Whether a folder of shards is what its plan says: sizes, hashes, records, leakage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf import errors
from ich_tf.conversion.lookup import written_slices
from ich_tf.conversion.plan import Plan, PlannedShard, PlannedSlice, load_plan
from ich_tf.conversion.summary import success_text, summarize
from ich_tf.labels import CLASSES
from ich_tf.records import data_files, manifest, shards, splits, tfrecord
from ich_tf.records.example import decode
from ich_tf.records.images import read_image
from ich_tf.records.schema import CorruptRecordError, SliceRecord
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.runtime import files
from ich_tf.runtime.progress import track


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
      file: The file's name within the folder.
      what: What was found and what was expected.
    """

    file: str
    what: str


def verify(data_dir: str | Path, full: bool = False) -> list[Problem]:
    """Compares a folder with its plan.

    Args:
      data_dir: The folder of shards.
      full: Also read every byte: hashes, CRCs, every record's fields and image, its place.

    Returns:
      What is wrong, empty if nothing is.

    Raises:
      DataError: If the folder has no plan to compare with.
    """
    folder = Path(data_dir)
    plan, _ = load_plan(folder)
    problems: list[Problem] = []
    sidecars: list[Sidecar] = []
    patients: dict[str, set[str]] = {}
    for shard in track(plan.shards, len(plan.shards), "verify", "shard"):
        try:
            sidecar = read_sidecar(folder / shard.name)
        except errors.DataError as error:
            path = data_files.sidecar_path(folder / shard.name)
            problems.append(Problem(path.name, f"{error}"))
            continue
        sidecars.append(sidecar)
        problems += _check_sizes(folder, plan, shard, sidecar)
        if full and (folder / shard.name).is_file():
            found = patients.setdefault(shard.split, set())
            problems += _check_content(folder / shard.name, plan, shard, sidecar, found)
    if len(sidecars) == len(plan.shards):
        problems += _check_summaries(folder, plan, sidecars)
    known = {shard.name for shard in plan.shards}
    for path in sorted(folder.glob("*.tfrecord*")):
        if data_files.shard_of(path.name) not in known:
            problems.append(Problem(path.name, "belongs to no shard of this plan; remove it."))
    return [
        *problems,
        *_check_leakage(data_files.PLAN, plan.patients),
        *_check_leakage("the records", patients),
    ]


def _check_leakage(where: str, patients: Mapping[str, Iterable[str]]) -> Iterator[Problem]:
    try:
        splits.check_leakage(patients)
    except splits.LeakageError as error:
        yield Problem(where, str(error))


def _check_sizes(
    folder: Path, plan: Plan, shard: PlannedShard, sidecar: Sidecar
) -> Iterator[Problem]:
    """What sizes and commit marks tell."""
    path = folder / shard.name
    if not path.is_file():
        yield Problem(shard.name, "is missing.")
    elif path.stat().st_size != sidecar.num_bytes:
        yield Problem(
            shard.name, f"has {path.stat().st_size} bytes; its sidecar says {sidecar.num_bytes}."
        )
    if not data_files.index_path(path).is_file():
        yield Problem(data_files.index_path(path).name, "is missing.")
    found = sidecar.name, sidecar.split, sidecar.plan_sha256
    if found != (shard.name, shard.split, plan.shard_sha256[shard.name]):
        yield Problem(data_files.sidecar_path(path).name, "belongs to another shard or plan.")


def _check_summaries(folder: Path, plan: Plan, sidecars: list[Sidecar]) -> Iterator[Problem]:
    """What the files that follow from plan and sidecars tell."""
    summaries = summarize(plan, sidecars).files()
    for name, text in summaries.items():
        if not (folder / name).is_file():
            yield Problem(name, "is missing.")
        elif (folder / name).read_bytes() != text.encode():
            yield Problem(name, "does not say what plan and sidecars do.")
    # Its pictures may be compressed otherwise elsewhere: its bytes are held by their hash alone.
    if not (folder / data_files.REPORT).is_file():
        yield Problem(data_files.REPORT, "is missing.")
    try:
        claimed = (folder / data_files.SUCCESS).read_bytes().splitlines()
    except FileNotFoundError:
        yield Problem(data_files.SUCCESS, "is missing: the conversion is unfinished.")
        return
    try:
        expected = success_text(folder, sidecars, summaries).encode().splitlines()
    except FileNotFoundError:
        return  # named above
    for line in sorted(set(expected) - set(claimed)):
        name = line.decode().split("  ")[1]
        yield Problem(name, f"has another SHA-256 than {data_files.SUCCESS} says.")
    if sorted(set(claimed) - set(expected)) or len(claimed) != len(expected):
        yield Problem(data_files.SUCCESS, "has lines that no file answers to.")


def _check_content(
    path: Path, plan: Plan, shard: PlannedShard, sidecar: Sidecar, patients: set[str]
) -> Iterator[Problem]:
    """What reading every byte tells; adds the records' patients to `patients`."""
    if files.file_sha256(path) != sidecar.sha256:
        yield Problem(shard.name, "has another SHA-256 than its sidecar.")
    expected = written_slices(shard, sidecar)
    counts = np.zeros(len(CLASSES), np.int64)
    sizes: list[int] = []
    try:
        for number, payload in enumerate(tfrecord.read_records(path)):
            where = f"record {number} at byte {sum(sizes)}"
            sizes.append(len(payload) + tfrecord.OVERHEAD)
            try:
                record = decode(payload)
                image = read_image(record)
            except CorruptRecordError as error:
                yield Problem(shard.name, f"{where} {error}")
                continue
            counts += record.labels
            patients.add(record.patient_key)
            if number < len(expected):
                wrong = _differences(record, image, expected[number], plan.config)
                if wrong:
                    yield Problem(
                        shard.name, f"{where} differs from the plan in {', '.join(wrong)}."
                    )
    except tfrecord.CorruptShardError as error:
        yield Problem(shard.name, str(error))
        return
    if len(sizes) != len(expected) or len(sizes) != sidecar.num_records:
        yield Problem(
            shard.name,
            f"holds {len(sizes)} records; expected {len(expected)}, and its sidecar says "
            f"{sidecar.num_records}.",
        )
    expected_counts = sidecar.statistics.label_counts
    if tuple(counts.tolist()) != expected_counts:
        yield Problem(
            data_files.sidecar_path(path).name,
            f"counts {list(expected_counts)} positive records; there are {counts.tolist()}.",
        )
    index = data_files.index_path(path)
    if index.is_file() and index.read_bytes() != shards.index_lines(sizes).encode():
        yield Problem(index.name, "is not the index of its shard.")


def _differences(
    record: SliceRecord, image: np.ndarray, planned: PlannedSlice, config: dict[str, Any]
) -> list[str]:
    """The fields of a record that are not as planned."""
    wanted = {
        "source_id": planned.source_id,
        "patient_key": planned.patient_key,
        "study_key": planned.study_key,
        "series_key": planned.series_key,
        "slice_index": planned.slice_index,
        "num_slices": planned.num_slices,
        "z_mm": float(np.float32(planned.z_mm)),
        "labels": planned.labels or (0,) * len(CLASSES),
        "label_present": int(planned.labels is not None),
        "format": config["encoding"],
        "crop": planned.crop,
    }
    wrong = [name for name, value in wanted.items() if getattr(record, name) != value]
    shape = manifest.image_shape(config["image_size"], config["windows"], config["encoding"])
    return wrong if image.shape == shape else [*wrong, "image"]
