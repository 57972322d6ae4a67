"""The whole conversion: index, plan, execute, sum up. It resumes where it was cut off."""

from __future__ import annotations

import json
import logging
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ich_tf
from ich_tf import shards
from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.execute import ShardTask, write_shard
from ich_tf.conversion.index import Rejection, index
from ich_tf.conversion.local import LocalExecutor
from ich_tf.conversion.plan import Plan, PlannedShard, labels_without_images, make_plan
from ich_tf.dicom import Reason
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES, read_labels
from ich_tf.records import SCHEMA_VERSION
from ich_tf.sources import list_sources
from ich_tf.windows import stored_to_hu

_LOG = logging.getLogger(__name__)
# Where a user looks when bytes differ between two machines.
_VERSIONED = ("numpy", "opencv-python-headless", "pydicom", "google-crc32c")


@dataclass(frozen=True)
class ConversionResult:
    """What a conversion did.

    Attributes:
      out_dir: The folder of shards.
      num_records: In all shards.
      num_shards, num_kept: Shards in all, and those that an earlier run had finished.
      label_counts: Positive records by class.
      rejections: Reason code -> inputs left out.
      num_inputs: Files found, and labels without a file.
    """

    out_dir: Path
    num_records: int
    num_shards: int
    num_kept: int
    label_counts: dict[str, int]
    rejections: dict[str, int]
    num_inputs: int

    @property
    def bad_fraction(self) -> float:
        """The share of the inputs that was left out."""
        return sum(self.rejections.values()) / max(1, self.num_inputs)


def convert(config: ConversionConfig) -> ConversionResult:
    """Converts DICOM files into a folder of shards.

    Run again over the same inputs it keeps every finished shard and writes the rest.

    Raises:
      InputError: If the sources, the labels or the folder cannot be worked with.
    """
    sources = list_sources(config.dicom_dir)
    labels = read_labels(config.labels_csv) if config.labels_csv else None
    hash_key = _read_key(config.hash_key_file)
    out_dir = Path(config.out_dir)
    with LocalExecutor(config.num_workers) as executor:
        entries, rejections = index(sources, executor)
        plan, unmatched = make_plan(entries, labels, config, hash_key) if entries else (None, [])
        rejections += unmatched
        if labels is not None:
            stems = [source.stem for source in sources]
            rejections += labels_without_images(labels, stems, entries)
        if plan is None or not plan.shards:
            raise InputError(
                f"{config.dicom_dir}: none of {len(sources)} files can be converted "
                f"({_commonest(rejections)}). Expected axial head CT slices"
                + (f" whose ids stand in {config.labels_csv}." if labels is not None else ".")
            )
        root = sources[0].root
        _open_folder(out_dir, plan, root, config.overwrite)
        unfinished = [
            one
            for one in plan.shards
            if not shards.is_committed(
                out_dir / one.name, plan.sha256, rehash=config.verify == "full"
            )
        ]
        kept = len(plan.shards) - len(unfinished)
        if kept:
            _LOG.info("%d of %d shards are done already", kept, len(plan.shards))
        write_shards(plan, unfinished, root, out_dir, executor)
    return _finish(out_dir, plan, rejections, len(sources), kept)


def write_shards(
    plan: Plan,
    planned: Sequence[PlannedShard],
    root: Path,
    out_dir: Path,
    executor: LocalExecutor,
) -> list[shards.Sidecar]:
    """Writes some of a plan's shards.

    Args:
      plan: The whole plan.
      planned: Those to write.
      root: The folder or archive of the DICOM files.
      out_dir: Where to.
      executor: That runs the work.
    """
    tasks = [
        ShardTask(
            shard=one,
            plan_sha256=plan.sha256,
            root=root,
            out_dir=out_dir,
            image_size=plan.config["image_size"],
            windows=tuple(plan.config["windows"]),
            encoding=plan.config["encoding"],
        )
        for one in planned
    ]
    return list(executor.map(write_shard, tasks, "shards"))


def summarize(result: ConversionResult) -> str:
    """A few lines for a person."""
    lines = [
        f"{result.out_dir}: {result.num_records} records in {result.num_shards} shards"
        + (f" ({result.num_kept} kept from before)" if result.num_kept else "")
    ]
    for name, count in result.label_counts.items():
        lines.append(f"  {name:<17}{count:>8}  {count / max(1, result.num_records):6.1%}")
    for reason, count in result.rejections.items():
        lines.append(f"  left out: {reason:<17}{count:>8}")
    return "\n".join(lines)


def too_many_bad(result: ConversionResult, config: ConversionConfig) -> str | None:
    """The paragraph to fail with if more inputs were left out than the config allows."""
    if result.bad_fraction <= config.max_bad_fraction:
        return None
    commonest = ", ".join(f"{count} {reason}" for reason, count in result.rejections.items())
    return (
        f"{sum(result.rejections.values())} of {result.num_inputs} inputs were left out "
        f"({commonest}), more than --max_bad_fraction={config.max_bad_fraction:g}. The rest is "
        f"converted. See {result.out_dir / shards.QUARANTINE} for each one's reason; if this is "
        "to be expected, raise the flag."
    )


def _read_key(path: str) -> bytes:
    if not path:
        return b""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; --hash_key_file names a file with a secret.")
    key = Path(path).read_bytes().strip()
    if len(key) < 16:
        raise InputError(f"{path}: holds {len(key)} bytes; a secret needs 16 or more.")
    return key


def _open_folder(out_dir: Path, plan: Plan, root: Path, overwrite: bool) -> None:
    """Makes the folder ready for the plan; an earlier conversion goes only if asked to."""
    out_dir.mkdir(parents=True, exist_ok=True)
    shards.remove_temporaries(out_dir)
    plan_path = out_dir / shards.PLAN
    if plan_path.is_file():
        before = shards.read_json(plan_path)
        if before.get("sha256") == plan.sha256:
            return
        if not overwrite:
            raise InputError(
                f"{out_dir}: holds a conversion of another plan "
                f"({_difference(before, plan)}). Give another --out_dir, or --overwrite to "
                "replace it."
            )
        _remove_conversion(out_dir)
    elif any(out_dir.iterdir()):
        raise InputError(
            f"{out_dir}: is not empty and holds no conversion. Give an empty --out_dir."
        )
    # The source is where a repair reads from; it is no part of the hash, so that a moved
    # folder does not change the plan. Compact: RSNA's plan has 752,803 slices.
    content = {"sha256": plan.sha256, "source": str(root), **plan.content()}
    text = json.dumps(content, separators=(",", ":"))
    shards.write_text(plan_path, text + "\n")


def _difference(before: dict[str, Any], plan: Plan) -> str:
    old = before.get("config", {})
    changed = [
        f"{name} was {old.get(name)!r} and is now {value!r}"
        for name, value in plan.config.items()
        if old.get(name) != value
    ]
    return "; ".join(changed) or "the files, their headers or the labels have changed"


def _remove_conversion(out_dir: Path) -> None:
    """Removes what a conversion wrote, the commit marks first, and nothing else."""
    (out_dir / shards.SUCCESS).unlink(missing_ok=True)
    for name in (shards.MANIFEST, shards.QUARANTINE):
        (out_dir / name).unlink(missing_ok=True)
    for shard in out_dir.glob("*-of-*.tfrecord*"):
        shard.unlink()
    (out_dir / shards.PLAN).unlink(missing_ok=True)


def _finish(
    out_dir: Path, plan: Plan, rejections: list[Rejection], num_files: int, kept: int
) -> ConversionResult:
    sidecars = [shards.read_sidecar(out_dir / one.name) for one in plan.shards]
    written = [one for one in sidecars if one is not None]
    if len(written) != len(plan.shards):
        raise InputError(f"{out_dir}: a shard vanished while it was written; run again.")
    lines = [asdict(one) for one in rejections]
    lines += [line for one in written for line in one.quarantine]
    counts = Counter(line["reason"] for line in lines)
    missing = counts[Reason.IMAGE_MISSING.value]
    totals = shards.label_counts([one.shard(out_dir) for one in written])
    result = ConversionResult(
        out_dir=out_dir,
        num_records=sum(one.num_records for one in written),
        num_shards=len(written),
        num_kept=kept,
        label_counts=dict(zip(CLASSES, totals.tolist(), strict=True)),
        rejections=dict(counts.most_common()),
        num_inputs=num_files + missing,
    )
    shards.write_text(
        out_dir / shards.QUARANTINE,
        "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines),
    )
    shards.write_json(out_dir / shards.MANIFEST, _manifest(plan, written, result))
    shards.write_text(out_dir / shards.SUCCESS, plan.sha256 + "\n")
    return result


def _manifest(
    plan: Plan, sidecars: Sequence[shards.Sidecar], result: ConversionResult
) -> dict[str, Any]:
    pixels = sum(one.num_pixels for one in sidecars)
    with_pixels = [one for one in sidecars if one.num_pixels]
    repairs: Counter[str] = Counter()
    decoders: Counter[str] = Counter()
    for one in sidecars:
        repairs.update(one.repairs)
        decoders.update(one.decoders)
    labelled = any(split != "unlabelled" for split in plan.patients)
    return {
        "schema_version": SCHEMA_VERSION,
        "config": plan.config,
        "plan_sha256": plan.sha256,
        "versions": {
            "ich_tf": ich_tf.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _VERSIONED},
        },
        "classes": list(CLASSES),
        "num_records": result.num_records,
        "num_folds": plan.config["num_folds"] if labelled else 0,
        "label_counts": result.label_counts,
        "patients": plan.patients,
        "hu": {
            "mean": stored_to_hu(sum(one.stored_sum for one in sidecars) / pixels)
            if pixels
            else None,
            "min": min((one.hu_min for one in with_pixels if one.hu_min is not None), default=None),
            "max": max((one.hu_max for one in with_pixels if one.hu_max is not None), default=None),
        },
        "num_tilted": sum(one.num_tilted for one in sidecars),
        "repairs": dict(sorted(repairs.items())),
        "decoders": dict(sorted(decoders.items())),
        "quarantine": result.rejections,
        "shards": [
            {key: value for key, value in asdict(one).items() if key != "quarantine"}
            for one in sidecars
        ],
    }


def _commonest(rejections: Sequence[Rejection]) -> str:
    counts = Counter(one.reason for one in rejections)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common(4)) or "none"
