"""Whether a folder of shards is what its plan says: sizes, hashes, records, leakage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ich_tf import shards, splits, tfrecord
from ich_tf.conversion.plan import Plan, PlannedShard, load_plan
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.progress import track
from ich_tf.records import SCHEMA_VERSION, decode_image, parse

_PARSE_BATCH = 64
# The fields of a record that the plan fixes.
_COMPARED = (
    "source_id",
    "patient_key",
    "series_key",
    "slice_index",
    "labels",
    "label_present",
    "schema_version",
)


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
      full: Also read every byte: hashes, CRCs, every record's fields, its image, its place.

    Returns:
      What is wrong, empty if nothing is.

    Raises:
      DataError: If the folder has no plan to compare with.
    """
    folder = Path(data_dir)
    plan, _ = load_plan(folder)
    problems = []
    if not (folder / shards.SUCCESS).is_file():
        problems.append(Problem(shards.SUCCESS, "is missing: the conversion is unfinished."))
    for shard in track(plan.shards, len(plan.shards), "verify", "shard"):
        found = list(_check_shard(folder, plan, shard))
        if full and not found:
            found = list(_check_content(folder, plan, shard))
        problems += found
    known = {shard.name for shard in plan.shards}
    for path in sorted(folder.glob("*.tfrecord")):
        if path.name not in known:
            problems.append(Problem(path.name, "is no shard of this plan; remove it."))
    try:
        splits.check_leakage(plan.patients)
    except splits.LeakageError as error:
        problems.append(Problem(shards.PLAN, str(error)))
    return problems


def _check_shard(folder: Path, plan: Plan, shard: PlannedShard) -> Iterator[Problem]:
    """What sizes and commit marks tell."""
    path = folder / shard.name
    sidecar = shards.read_sidecar(path)
    if not path.is_file():
        yield Problem(shard.name, "is missing.")
    elif sidecar is None:
        yield Problem(shard.name, "has no sidecar: its writing was cut off.")
    elif sidecar.plan_sha256 != plan.sha256:
        yield Problem(shard.name, "belongs to another plan.")
    elif path.stat().st_size != sidecar.num_bytes:
        yield Problem(
            shard.name, f"has {path.stat().st_size} bytes; its sidecar says {sidecar.num_bytes}."
        )
    elif not shards.index_path(path).is_file():
        yield Problem(shard.name, "has no .idx file.")


def _check_content(folder: Path, plan: Plan, shard: PlannedShard) -> Iterator[Problem]:
    """What reading every byte tells."""
    path = folder / shard.name
    sidecar = shards.read_sidecar(path)
    assert sidecar is not None  # _check_shard found it
    if shards.file_sha256(path) != sidecar.sha256:
        yield Problem(shard.name, "has another SHA-256 than its sidecar.")
    try:
        payloads = list(tfrecord.read_records(path))
    except tfrecord.CorruptShardError as error:
        yield Problem(shard.name, str(error))
        return
    left_out = {line["path"] for line in sidecar.quarantine}
    expected = [one for one in shard.slices if one.name not in left_out]
    if len(payloads) != len(expected):
        yield Problem(shard.name, f"holds {len(payloads)} records; expected {len(expected)}.")
        return
    shape = (plan.config["image_size"], plan.config["image_size"], len(plan.config["windows"]))
    found = _parse(payloads, plan.config["encoding"], shape)
    for number, (record, planned) in enumerate(zip(found, expected, strict=True)):
        wanted = {
            **{name: getattr(planned, name, None) for name in _COMPARED},
            "labels": planned.labels or (0,) * len(CLASSES),
            "label_present": int(planned.labels is not None),
            "schema_version": SCHEMA_VERSION,
        }
        wrong = [name for name in _COMPARED if record[name] != wanted[name]]
        if wrong:
            yield Problem(
                shard.name, f"record {number} differs from the plan in {', '.join(wrong)}."
            )


def _parse(
    payloads: list[bytes], encoding: str, shape: tuple[int, int, int]
) -> Iterator[dict[str, object]]:
    import tensorflow as tf

    for start in range(0, len(payloads), _PARSE_BATCH):
        batch = payloads[start : start + _PARSE_BATCH]
        try:
            fields = parse(tf.constant(batch))
            for encoded in fields["encoded"]:
                decode_image(encoded, encoding, shape)
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"a record does not parse: {error.message}") from error
        arrays = {name: fields[name].numpy() for name in _COMPARED}
        for i in range(len(batch)):
            yield {name: _plain(values[i]) for name, values in arrays.items()}


def _plain(value: object) -> object:
    """Bytes -> str, arrays -> tuples, NumPy scalars -> Python's."""
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "tolist"):
        plain = value.tolist()
        return tuple(plain) if isinstance(plain, list) else plain
    return value
