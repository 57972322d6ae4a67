"""Rebuilds damaged shards, bit for bit, from the plan in their folder."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from ich_tf.conversion.convert import write_shards
from ich_tf.conversion.known_splits import with_planned
from ich_tf.conversion.plan import load_plan, save_plan
from ich_tf.conversion.summary import finish
from ich_tf.dicom.listing import named_sources
from ich_tf.errors import DataError, InputError
from ich_tf.records.data_files import SUCCESS
from ich_tf.records.dealt_splits import load_splits, save_splits
from ich_tf.records.manifest import Manifest
from ich_tf.records.sidecar import read_sidecar
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.runtime.folder_lock import FolderLock

_LOG = logging.getLogger(__name__)


def repair(
    data_dir: str | Path,
    damaged: Collection[str],
    dicom_dir: str = "",
    num_workers: int = 0,
    masks_dir: str = "",
) -> list[str]:
    """Writes shards again that are damaged or lack slices, and all files that sum them up.

    Args:
      data_dir: Folder of a finished conversion.
      damaged: Names of the shards.
      dicom_dir: Folder or archive of the DICOM files; empty for the one that was converted.
      num_workers: Number of worker processes; 0 for one per core.
      masks_dir: Folder of the masks; empty for the one that was converted.

    Returns:
      Names of the shards that were rebuilt.

    Raises:
      InputError: If the DICOM files or masks are missing, or are not those that were converted,
        or another run writes to the folder.
    """
    folder = Path(data_dir)
    with FolderLock(folder) as lock:
        return _repair(folder, damaged, dicom_dir, num_workers, lock.owner, masks_dir)


def _repair(
    folder: Path,
    damaged: Collection[str],
    dicom_dir: str,
    num_workers: int,
    owner: str,
    masks_dir: str,
) -> list[str]:
    plan, source = load_plan(folder)
    if plan.is_former:
        raise InputError(
            f"{folder}: holds records of a former version (schema "
            f"{plan.config.get('schema_version')}), which are read but no longer written; nothing "
            "was changed. Run ich_tf.make_tfrecords with the flags of this conversion: it writes "
            "all shards again, and its patients keep their splits."
        )
    planned = [shard for shard in plan.shards if shard.name in damaged]
    recorded = _recorded_hashes(folder)
    incomplete = {shard.name for shard in planned if _lacks_slices(folder / shard.name)}
    if planned:
        root = Path(dicom_dir) if dicom_dir else source
        if not root.exists():
            raise InputError(f"{root}: not found; give --dicom_dir, the source of this conversion.")
        at = replace(plan, masks_dir=masks_dir or plan.masks_dir)
        if plan.has_masks and not Path(at.masks_dir).is_dir():
            raise InputError(
                f"{at.masks_dir}: not found; give --masks_dir, the masks of this conversion."
            )
        with LocalExecutor(num_workers) as executor:
            write_shards(at, planned, named_sources(root), folder, executor, owner)
    for shard in planned:
        if shard.name in incomplete:
            continue  # slices that can be read by now have come to those that it had
        sha256 = read_sidecar(folder / shard.name).sha256
        if recorded[shard.name] and sha256 not in recorded[shard.name]:
            raise InputError(
                f"{folder / shard.name}: was rebuilt with other bytes than it had: the DICOM "
                "files, the masks, or the versions named in manifest.json, have changed. Run "
                "ich_tf.make_tfrecords with the flags of this conversion."
            )
    save_splits(folder, with_planned(_stored_splits(folder), plan))
    save_plan(folder, plan, source)
    finish(folder, plan)
    return [shard.name for shard in planned]


def _stored_splits(folder: Path) -> dict[str, str]:
    """Splits by splits.json; of a damaged one nothing is kept but what the plan has as well."""
    try:
        return load_splits(folder)
    except DataError as error:
        _LOG.warning("%s It is made anew, from the plan.", error)
        return {}


def _lacks_slices(shard: Path) -> bool:
    """Whether a shard lacks slices for a reason of the machine, or masks."""
    try:
        sidecar = read_sidecar(shard)
        return bool(sidecar.to_retry or sidecar.mask_quarantine)
    except DataError:
        return False


def _recorded_hashes(folder: Path) -> dict[str, set[str]]:
    """SHA-256 of each shard in the manifest and in `_SUCCESS`, either of which may be damaged."""
    recorded: dict[str, set[str]] = defaultdict(set)
    success = folder / SUCCESS
    if success.is_file():
        for line in success.read_text("utf-8", "replace").splitlines():
            sha256, _, name = line.partition("  ")
            recorded[name].add(sha256)
    try:
        for shard in Manifest.load(folder, check_files=False).shards:
            recorded[shard.path.name].add(shard.sha256)
    except DataError:
        pass  # a damaged manifest is written anew
    return recorded
