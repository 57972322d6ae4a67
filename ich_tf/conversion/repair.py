"""Rebuilds damaged shards, bit for bit, from the plan that stands beside them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ich_tf import shards
from ich_tf.conversion.convert import write_shards
from ich_tf.conversion.local import LocalExecutor
from ich_tf.conversion.plan import load_plan
from ich_tf.errors import InputError


def repair(
    data_dir: str | Path, damaged: Collection[str], dicom_dir: str = "", num_workers: int = 0
) -> list[str]:
    """Writes the named shards again.

    Args:
      data_dir: A finished conversion with damage in it.
      damaged: Names of its shards.
      dicom_dir: Where the DICOM files are now; empty: where the conversion read them.
      num_workers: Processes; 0 means one per core.

    Returns:
      The names of the shards that were rebuilt.

    Raises:
      InputError: If a rebuilt shard is not the one that the manifest describes.
    """
    folder = Path(data_dir)
    plan, source = load_plan(folder)
    root = Path(dicom_dir) if dicom_dir else source
    if not root.exists():
        raise InputError(f"{root}: not found; give --dicom_dir, the source of this conversion.")
    manifest = shards.read_json(folder / shards.MANIFEST)
    expected = {one["name"]: one["sha256"] for one in manifest["shards"]}
    planned = [one for one in plan.shards if one.name in damaged]
    with LocalExecutor(num_workers) as executor:
        written = write_shards(plan, planned, root, folder, executor)
    for sidecar in written:
        if sidecar.sha256 != expected[sidecar.name]:
            raise InputError(
                f"{folder / sidecar.name}: was rebuilt with other bytes than the manifest's: the "
                "DICOM files, or the versions named in manifest.json, have changed. Convert "
                "again with --overwrite."
            )
    return [sidecar.name for sidecar in written]
