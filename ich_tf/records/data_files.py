"""Names of the files in a folder of TFRecords."""

from __future__ import annotations

from pathlib import Path

PLAN = "plan.json"
MANIFEST = "manifest.json"
SUCCESS = "_SUCCESS"
QUARANTINE = "quarantine.jsonl"
REPORT = "report.html"


def shard_name(split: str, index: int, count: int) -> str:
    """`fold-0-00000-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def sidecar_path(shard: Path) -> Path:
    """Where a shard's sidecar lies."""
    return shard.with_name(shard.name + ".json")


def index_path(shard: Path) -> Path:
    """Where a shard's index lies: a line `offset size` a record, as DALI reads it."""
    return shard.with_name(shard.name + ".idx")


def shard_of(file: str) -> str:
    """The shard's name that a file beside it, or the shard itself, belongs to; empty if none."""
    return f"{file.split('.tfrecord')[0]}.tfrecord" if ".tfrecord" in file else ""
