"""The whole conversion: index, plan, execute, sum up. It resumes where it was cut off."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ich_tf import errors
from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.index import SliceIndex, index
from ich_tf.conversion.matching import LabelMatcher
from ich_tf.conversion.plan import Plan, PlannedShard, load_plan, save_plan
from ich_tf.conversion.planning import make_plan
from ich_tf.conversion.pseudonyms import read_hash_key
from ich_tf.conversion.runners import make_executor
from ich_tf.conversion.summary import ConversionResult, finish
from ich_tf.conversion.write_shard import ShardTask, sources_sha256, write_shard
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.dicom.sources import Source, list_sources
from ich_tf.errors import InputError
from ich_tf.records import data_files, shards
from ich_tf.records.splits import UNLABELLED
from ich_tf.runtime import files
from ich_tf.runtime.executors.base import Executor

_LOG = logging.getLogger(__name__)


def convert(config: ConversionConfig) -> ConversionResult:
    """Converts DICOM files into a folder of shards.

    Run again over the same inputs it keeps every finished shard and writes the rest; run over
    inputs of which some were added or corrected, it writes the shards again that they touch.

    Raises:
      InputError: If the sources, the labels or the folder cannot be worked with.
    """
    out_dir = Path(config.out_dir)
    sources = list_sources(config.dicom_dir)
    previous = open_folder(out_dir, config)
    if out_dir.is_dir():
        files.remove_temporaries(out_dir)
    with make_executor(config) as executor:
        plan, _ = plan_conversion(config, sources, executor, previous)
        root = sources[0].root
        unfinished = unfinished_shards(out_dir, plan, root, rehash=config.verify == "full")
        kept = len(plan.shards) - len(unfinished)
        if kept:
            _LOG.info("%d of %d shards are done already", kept, len(plan.shards))
        out_dir.mkdir(parents=True, exist_ok=True)
        if unfinished or previous is None or previous.sha256 != plan.sha256:
            (out_dir / data_files.SUCCESS).unlink(missing_ok=True)
        save_plan(out_dir, plan, root)
        _remove_others(out_dir, plan)
        write_shards(plan, unfinished, root, out_dir, executor)
    # Of a cluster's workers that were killed, while others finished their work.
    files.remove_temporaries(out_dir)
    return finish(out_dir, plan, kept)


def plan_conversion(
    config: ConversionConfig,
    sources: Sequence[Source],
    executor: Executor,
    previous: Plan | None = None,
) -> tuple[Plan, SliceIndex]:
    """Reads the header of every file, and plans the shards.

    Args:
      config: The conversion's.
      sources: The files.
      executor: That runs the work.
      previous: The plan that stands in the folder, if there is one.

    Raises:
      InputError: If nothing can be converted, or too much of what was is gone.
    """
    # Both files are read first: what is wrong with them is said at once.
    hash_key = read_hash_key(config.hash_key_file)
    labels = LabelMatcher.from_csv(config.labels_csv) if config.labels_csv else None
    slices, rejections = index(sources, executor, labels, config.crop)
    if labels is not None:
        rejections += labels.without_images(sources, hash_key)
    plan = make_plan(slices, config, hash_key, previous)
    if not plan.shards:
        raise InputError(
            f"{config.dicom_dir}: none of {len(sources)} files can be converted "
            f"({_commonest(rejections)}). Expected axial head CT slices"
            + (f" whose ids stand in {config.labels_csv}." if labels is not None else ".")
        )
    if previous is not None:
        _check_losses(previous, plan, config)
    missing = sum(one.reason == Reason.IMAGE_MISSING.value for one in rejections)
    plan = replace(plan, rejections=tuple(rejections), num_inputs=len(sources) + missing)
    return plan, slices


def write_shards(
    plan: Plan,
    planned: Sequence[PlannedShard],
    root: Path,
    out_dir: Path,
    executor: Executor,
) -> None:
    """Writes some of a plan's shards.

    Args:
      plan: The whole plan.
      planned: Those to write.
      root: The folder or archive of the DICOM files.
      out_dir: Where to.
      executor: That runs the work.
    """
    for _ in executor.map(write_shard, shard_tasks(plan, planned, root, out_dir), "shards"):
        pass


def shard_tasks(
    plan: Plan, planned: Sequence[PlannedShard], root: Path, out_dir: Path
) -> list[ShardTask]:
    """What a worker needs to write each of some shards; arguments as of `write_shards`."""
    return [
        ShardTask(
            shard=one,
            plan_sha256=plan.shard_sha256[one.name],
            root=root,
            out_dir=out_dir,
            image_size=plan.config["image_size"],
            windows=tuple(plan.config["windows"]),
            encoding=plan.config["encoding"],
        )
        for one in planned
    ]


def too_many_bad(
    rejections: Mapping[str, int], num_inputs: int, config: ConversionConfig
) -> str | None:
    """The paragraph to fail with if more inputs are left out than the config allows."""
    count = sum(rejections.values())
    if count <= config.max_bad_fraction * num_inputs:
        return None
    commonest = ", ".join(f"{count} {reason}" for reason, count in rejections.items())
    where = (
        f"Run without --dry_run for each one's reason in {data_files.QUARANTINE}"
        if config.dry_run
        else f"The rest is converted. See {Path(config.out_dir) / data_files.QUARANTINE} for each "
        "one's reason"
    )
    return (
        f"{count} of {num_inputs} inputs are left out ({commonest}), more than "
        f"--max_bad_fraction={config.max_bad_fraction:g}. {where}; if this is to be expected, "
        "raise the flag."
    )


def open_folder(out_dir: Path, config: ConversionConfig) -> Plan | None:
    """The plan of the conversion that stands in the folder; None to plan anew.

    Raises:
      InputError: If the folder holds another conversion, or something else.
    """
    if not out_dir.is_dir() or not any(not files.is_temporary(one) for one in out_dir.iterdir()):
        return None
    if not (out_dir / data_files.PLAN).is_file():
        raise InputError(
            f"{out_dir}: is not empty and holds no conversion. Give an empty --out_dir."
        )
    if config.overwrite:
        return None
    try:
        plan, _ = load_plan(out_dir)
    except errors.DataError as error:
        _LOG.info("%s Planning anew; shards that fit are kept.", error)
        return None
    was_labelled = UNLABELLED not in plan.patients
    changed = [
        f"{name} was {plan.config.get(name)!r} and is now {value!r}"
        for name, value in config.planned().items()
        if plan.config.get(name) != value
    ]
    if was_labelled != bool(config.labels_csv):
        changed.append(f"it was made {'with' if was_labelled else 'without'} labels")
    if changed:
        raise InputError(
            f"{out_dir}: holds a conversion of another plan ({'; '.join(changed)}). Give another "
            "--out_dir, or --overwrite to replace it."
        )
    return plan


def _check_losses(previous: Plan, plan: Plan, config: ConversionConfig) -> None:
    """Refuses to drop what an earlier run converted, beyond what counts as few bad inputs."""
    now = {one.source_id for shard in plan.shards for one in shard.slices()}
    before = [one.source_id for shard in previous.shards for one in shard.slices()]
    lost = [one for one in before if one not in now]
    if len(lost) > config.max_bad_fraction * len(before):
        raise InputError(
            f"{config.out_dir}: {len(lost)} of the {len(before)} images of this conversion are no "
            f"longer among the inputs, the first {lost[0]}. If they are meant to go, raise "
            "--max_bad_fraction; if this is another data set, give another --out_dir, or "
            "--overwrite to replace it."
        )
    if lost:
        _LOG.info("%d images are no longer among the inputs; their records go", len(lost))


def unfinished_shards(out_dir: Path, plan: Plan, root: Path, *, rehash: bool) -> list[PlannedShard]:
    """The shards of a plan that are not in a folder as a run of it leaves them."""
    return [
        one
        for one in plan.shards
        if not shards.is_committed(
            out_dir / one.name,
            plan.shard_sha256[one.name],
            sources_sha256(one, root),
            rehash=rehash,
        )
    ]


def _remove_others(out_dir: Path, plan: Plan) -> None:
    """Removes the shards of an earlier plan that this one does not have."""
    names = {one.name for one in plan.shards}
    for path in out_dir.glob("*-of-*.tfrecord*"):
        if data_files.shard_of(path.name) not in names:
            shards.remove_shard(out_dir / data_files.shard_of(path.name))


def _commonest(rejections: Sequence[Rejection]) -> str:
    counts = Counter(one.reason for one in rejections)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common(4)) or "none"
