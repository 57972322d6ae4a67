"""Output folder of a conversion: the plan and the shards that an earlier run left there."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.plan import Plan, PlannedShard, load_plan
from ich_tf.conversion.pseudonyms import key_fingerprint, read_hash_key
from ich_tf.conversion.write_shard import is_finished, shard_tasks
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.sources import stamps_sha256
from ich_tf.errors import DataError, InputError
from ich_tf.records import data_files, shards
from ich_tf.records.splits import UNLABELLED
from ich_tf.runtime import files
from ich_tf.runtime.executors.base import Executor
from ich_tf.runtime.folder_lock import LOCK

_HASH_KEY, _SCHEMA = "hash_key", "schema_version"
_LOG = logging.getLogger(__name__)


def stored_plan(out_dir: Path, config: ConversionConfig) -> Plan | None:
    """Reads the plan of the conversion that the output folder holds.

    Args:
      out_dir: Output folder.
      config: Config of the new conversion.

    Returns:
      The plan to continue from; None to plan anew.

    Raises:
      InputError: If the folder holds another conversion, or something else.
    """
    if not out_dir.is_dir() or all(map(_is_left_over, out_dir.iterdir())):
        return None
    if not (out_dir / data_files.PLAN).is_file() and not _was_planned(out_dir):
        raise InputError(
            f"{out_dir}: is not empty and has no {data_files.PLAN}, as a conversion has. Give an "
            "empty --out_dir."
        )
    if config.overwrite:
        return None
    try:
        plan, _ = load_plan(out_dir)
    except DataError as error:
        _LOG.warning("%s Planning anew; shards that fit are kept.", error)
        plan = None
    former = _manifest_config(out_dir) if plan is None else plan.config
    was_labelled = not any(out_dir.glob(f"{UNLABELLED}-*")) if plan is None else plan.is_labelled
    changed = [
        f"{name} was {former[name]!r} and is now {value!r}"
        for name, value in config.planned().items()
        # Former schemas lack options; their default is what they did.
        if former.get(name, value) != value and name not in (_HASH_KEY, _SCHEMA)
    ]
    fingerprint = key_fingerprint(read_hash_key(config.hash_key_file))
    if former and former.get(_HASH_KEY, "") != fingerprint:
        changed.append(
            f"its ids were hashed {'under another' if former.get(_HASH_KEY) else 'without a'} "
            "secret; see --hash_key_file"
        )
    if was_labelled != config.is_labelled:
        changed.append(f"it was made {'with' if was_labelled else 'without'} labels")
    if changed:
        raise InputError(
            f"{out_dir}: holds a conversion of another plan ({'; '.join(changed)}). Give another "
            "--out_dir, or --overwrite to replace it."
        )
    if former.get("mask_format") and not config.masks_dir:
        _LOG.warning(
            "%s: was made with masks, which its records lose now: without --masks_dir all of its "
            "shards are written again.",
            out_dir,
        )
    if plan is not None and plan.is_former:
        _LOG.warning(
            "%s: was written by a former version (schema %s). All its shards are written again; "
            "its patients keep their splits.",
            *(out_dir, plan.config.get(_SCHEMA)),
        )
    return plan


def _was_planned(out_dir: Path) -> bool:
    """Whether a folder without a plan had one: its splits, or the list of its files, say so."""
    if (out_dir / data_files.SPLITS).is_file():
        return True
    try:
        lines = (out_dir / data_files.SUCCESS).read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    return any(line.endswith(f"  {data_files.PLAN}") for line in lines)


def _manifest_config(out_dir: Path) -> dict[str, Any]:
    """Config of the plan by the manifest; empty if that cannot be read either."""
    try:
        config = files.read_json(out_dir / data_files.MANIFEST)["config"]
    except (DataError, KeyError, OSError, TypeError):
        return {}
    return config if isinstance(config, dict) else {}


def _is_left_over(path: Path) -> bool:
    """Whether a file is no conversion: a lock, splits without a plan, or an unfinished file."""
    return path.name in (LOCK, data_files.SPLITS) or files.is_temporary(path)


def unfinished_shards(
    out_dir: Path, plan: Plan, listing: SourceListing, executor: Executor, *, rehash: bool
) -> list[PlannedShard]:
    """Shards of a plan that the output folder does not hold as a run of the plan leaves them.

    Args:
      out_dir: Output folder.
      plan: Plan of the conversion.
      listing: DICOM files.
      executor: Executor whose workers look at shards that need a closer look.
      rehash: Whether the hash of each shard is compared, besides its size.
    """
    finished, doubtful = set(), []
    for shard in plan.shards:
        sidecar = shards.committed(out_dir / shard.name, plan.shard_sha256[shard.name])
        if sidecar is None or sidecar.sources_sha256 != stamps_sha256(
            map(listing.find, shard.file_names())
        ):
            continue
        if sidecar.mask_quarantine:  # masks that this run could read when it made the plan
            continue
        if rehash or sidecar.to_retry:
            doubtful.append(shard)
        else:
            finished.add(shard.name)
    tasks = shard_tasks(plan, doubtful, listing, out_dir)
    answers = executor.map(functools.partial(is_finished, rehash=rehash), tasks)
    finished |= {task.shard.name for task, answer in zip(tasks, answers, strict=True) if answer}
    return [shard for shard in plan.shards if shard.name not in finished]


def remove_other_shards(out_dir: Path, plan: Plan) -> None:
    """Removes the shards of an earlier plan that a plan does not have."""
    names = {shard.name for shard in plan.shards}
    for path in out_dir.glob("*-of-*.tfrecord*"):
        if data_files.shard_of(path.name) not in names:
            shards.remove_shard(out_dir / data_files.shard_of(path.name))
