"""Rebuilds damaged shards, bit for bit, from the plan that stands beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from ich_tf.conversion.convert import write_shards
from ich_tf.conversion.plan import load_plan, save_plan
from ich_tf.conversion.summary import finish
from ich_tf.errors import DataError, InputError
from ich_tf.records.data_files import SUCCESS
from ich_tf.records.manifest import Manifest
from ich_tf.records.sidecar import read_sidecar
from ich_tf.runtime.executors.local import LocalExecutor


def repair(
    data_dir: str | Path,
    damaged: Collection[str],
    dicom_dir: str = "",
    num_workers: int = 0,
) -> list[str]:
    """Writes the named shards again, and all that sums the conversion up.

    Args:
      data_dir: A finished conversion with damage in it.
      damaged: Names of its shards.
      dicom_dir: Where the DICOM files are now; empty: where the conversion read them.
      num_workers: Processes; 0 means one per core.

    Returns:
      The names of the shards that were rebuilt.

    Raises:
      InputError: If the DICOM files are gone, or not those that were converted.
    """
    folder = Path(data_dir)
    plan, source = load_plan(folder)
    planned = [one for one in plan.shards if one.name in damaged]
    claimed = _claimed_hashes(folder)
    if planned:
        root = Path(dicom_dir) if dicom_dir else source
        if not root.exists():
            raise InputError(f"{root}: not found; give --dicom_dir, the source of this conversion.")
        with LocalExecutor(num_workers) as executor:
            write_shards(plan, planned, root, folder, executor)
    for one in planned:
        found = read_sidecar(folder / one.name).sha256
        if claimed[one.name] and found not in claimed[one.name]:
            raise InputError(
                f"{folder / one.name}: was rebuilt with other bytes than it had: the DICOM files, "
                "or the versions named in manifest.json, have changed. Run ich_tf.make_tfrecords "
                "with the flags of this conversion."
            )
    save_plan(folder, plan, source)
    finish(folder, plan)
    return [one.name for one in planned]


def _claimed_hashes(folder: Path) -> dict[str, set[str]]:
    """What manifest and `_SUCCESS` say of each shard; one of them may be damaged too."""
    claimed: dict[str, set[str]] = defaultdict(set)
    success = folder / SUCCESS
    if success.is_file():
        for line in success.read_text("utf-8", "replace").splitlines():
            sha256, _, name = line.partition("  ")
            claimed[name].add(sha256)
    try:
        for one in Manifest.load(folder, check_files=False).shards:
            claimed[one.path.name].add(one.sha256)
    except DataError:
        pass  # it is damaged, and made anew
    return claimed
