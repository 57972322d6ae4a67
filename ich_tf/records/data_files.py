"""Names of the files in a folder of TFRecords."""

from __future__ import annotations

from pathlib import Path

PLAN = "plan.json"
SPLITS = "splits.json"
MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
QUARANTINE = "quarantine.jsonl"
REPORT = "report.html"


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
