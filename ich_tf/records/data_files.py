"""Names of the files in a folder of TFRecords."""

from __future__ import annotations

import re
from pathlib import Path

PLAN = "plan.json"
SPLITS = "splits.json"
MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
QUARANTINE = "quarantine.jsonl"
REPORT = "report.html"
# A name of 255 bytes is the longest, and those of index and sidecar are longer.
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}\.tfrecord")


def shard_name(split: str, index: int, count: int) -> str:
    """Name of a shard.

    Args:
      split: Name of the split.
      index: Number of the shard within the split, from 0.
      count: Number of shards of the split.

    Examples:
      >>> shard_name("fold-0", 0, 8)
      'fold-0-00000-of-00008.tfrecord'
    """
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def checked_shard_name(name: object) -> str:
    """Name of a shard that a file of the folder tells: of that folder, and no path to another one.

    Raises:
      ValueError: If it is anything else.

    Examples:
      >>> checked_shard_name("fold-0-00000-of-00008.tfrecord")
      'fold-0-00000-of-00008.tfrecord'
    """
    if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name):
        raise ValueError(f"{str(name)[:80]!r} names no shard of the folder")
    return name


def sidecar_path(shard: Path) -> Path:
    """Path of a shard's sidecar."""
    return shard.with_name(shard.name + ".json")


def index_path(shard: Path) -> Path:
    """Path of a shard's index: a line `offset size` per record, as NVIDIA DALI reads it."""
    return shard.with_name(shard.name + ".idx")


def shard_of(file: str) -> str:
    """Name of the shard that a file belongs to; empty if it belongs to none.

    Examples:
      >>> shard_of("test-00000-of-00001.tfrecord.idx"), shard_of("plan.json")
      ('test-00000-of-00001.tfrecord', '')
    """
    return f"{file.split('.tfrecord')[0]}.tfrecord" if ".tfrecord" in file else ""
