"""What a conversion would write, how long it would take, and what stands in its way."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.uid import UID

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import open_folder, plan_conversion, shard_tasks, unfinished_shards
from ich_tf.conversion.plan import PlannedSeries, PlannedShard
from ich_tf.conversion.write_shard import ShardTask, write_shard
from ich_tf.dicom.decoders import can_decode, why_not
from ich_tf.dicom.sources import list_sources
from ich_tf.records.sidecar import read_sidecar
from ich_tf.runtime.executors.local import LocalExecutor

# Slices that are converted to see how large and how slow they are: half a second's work.
_SAMPLE = 64


@dataclass(frozen=True)
class Estimate:
    """What a conversion would do.

    Attributes:
      out_dir: The folder it would write to; nothing there was touched.
      splits: Split -> its patients, slices, shards.
      num_shards, num_kept: Shards in all, and those that an earlier run has finished.
      num_to_write: Slices of the shards to write.
      num_bytes: That these shards would take, from a sample.
      core_seconds: Of work to write them, from the same sample; index not included.
      num_workers: That would share it; 0 where a cluster decides.
      free_bytes: Of the disk.
      missing_decoders: Why a kind of slice cannot be decoded here -> how many there are.
      rejections: Reason code -> inputs that would be left out, by their headers and labels.
      num_inputs: Files found, and labels without a file.
      sample_size: Slices of the sample.
      sample_rejections: Reason code -> slices of the sample that would be left out.
    """

    out_dir: Path
    splits: dict[str, tuple[int, int, int]]
    num_shards: int
    num_kept: int
    num_to_write: int
    num_bytes: int
    core_seconds: float
    num_workers: int
    free_bytes: int
    missing_decoders: dict[str, int]
    rejections: dict[str, int]
    num_inputs: int
    sample_size: int
    sample_rejections: dict[str, int]

    def report(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.out_dir}: would hold {sum(n for _, n, _ in self.splits.values())} slices in "
            f"{self.num_shards} shards ({self.num_kept} of them done already)"
        ]
        for split, (patients, slices, shards) in self.splits.items():
            lines.append(f"  {split:<11}{patients:>8} patients{slices:>9} slices{shards:>6} shards")
        lines.append(
            f"  disk: {_mebibytes(self.num_bytes)} to write, {_mebibytes(self.free_bytes)} free"
        )
        if self.num_workers:
            workers = "1 worker" if self.num_workers == 1 else f"{self.num_workers} workers"
            lines.append(f"  time: {self.core_seconds / self.num_workers:.0f} s with {workers}")
        else:
            lines.append(f"  time: {self.core_seconds:.0f} s on one core, shared by the cluster")
        if self.sample_size:
            lines.append(f"  (disk and time by a sample of {self.sample_size} slices)")
        for why, count in self.missing_decoders.items():
            lines.append(f"  not decodable here: {count} slices: {why}")
        for reason, count in self.rejections.items():
            lines.append(f"  would be left out: {reason:<17}{count:>8}")
        for reason, count in self.sample_rejections.items():
            lines.append(f"  left out of the sample: {reason:<17}{count:>8}")
        if self.num_bytes > self.free_bytes:
            lines.append("  the disk has too little room for it")
        lines.append("nothing was written")
        return "\n".join(lines)


def estimate(config: ConversionConfig) -> Estimate:
    """Reads every header, plans, and converts a sample elsewhere.

    Raises:
      InputError: As the conversion would, before it writes anything.
    """
    out_dir = Path(config.out_dir)
    sources = list_sources(config.dicom_dir)
    previous = open_folder(out_dir, config)
    # On this machine, whatever the runner: a cluster's executor may write where it works.
    with LocalExecutor(config.num_workers) as executor:
        plan, slices = plan_conversion(config, sources, executor, previous)
    root = sources[0].root
    to_write = unfinished_shards(out_dir, plan, root, rehash=config.verify == "full")
    sample = _sample(shard_tasks(plan, to_write, root, out_dir))
    count = sum(one.num_slices for one in to_write)
    splits = {}
    for split, patients in plan.patients.items():
        shards = [one for one in plan.shards if one.split == split]
        splits[split] = (len(patients), sum(one.num_slices for one in shards), len(shards))
    return Estimate(
        out_dir=out_dir,
        splits=splits,
        num_shards=len(plan.shards),
        num_kept=len(plan.shards) - len(to_write),
        num_to_write=count,
        num_bytes=round(count * sample.bytes_per_slice),
        core_seconds=count * sample.seconds_per_slice,
        num_workers=0 if config.runner != "local" else config.num_workers or os.cpu_count() or 1,
        free_bytes=_free_bytes(out_dir),
        missing_decoders=_missing_decoders(slices.transfer_syntaxes),
        rejections=dict(Counter(one.reason for one in plan.rejections).most_common()),
        num_inputs=plan.num_inputs,
        sample_size=sample.size,
        sample_rejections=sample.rejections,
    )


@dataclass(frozen=True)
class _Sample:
    size: int = 0
    bytes_per_slice: float = 0.0
    seconds_per_slice: float = 0.0
    rejections: dict[str, int] = field(default_factory=dict)


def _sample(tasks: Sequence[ShardTask]) -> _Sample:
    """Converts a few slices of the given shards, evenly spread, in a temporary folder."""
    count = sum(task.shard.num_slices for task in tasks)
    if not count:
        return _Sample()
    slices = (one for task in tasks for one in task.shard.slices())
    chosen = list(itertools.islice(slices, 0, None, -(-count // _SAMPLE)))
    with tempfile.TemporaryDirectory() as folder:

        def write(name: str, number: int) -> float:
            series = PlannedSeries.pack(("", "", ""), chosen[:number])
            shard = PlannedShard(name, "sample", (series,))
            begun = time.perf_counter()
            write_shard(replace(tasks[0], shard=shard, out_dir=Path(folder)))
            return time.perf_counter() - begun

        write("warm-up", 1)
        seconds = write("sample", len(chosen))
        sidecar = read_sidecar(Path(folder) / "sample")
    reasons = Counter(rejection.reason for rejection in sidecar.quarantine)
    return _Sample(
        size=len(chosen),
        bytes_per_slice=sidecar.num_bytes / len(chosen),
        seconds_per_slice=seconds / len(chosen),
        rejections=dict(reasons.most_common()),
    )


def _missing_decoders(syntaxes: Counter[str]) -> dict[str, int]:
    missing: Counter[str] = Counter()
    for name, count in syntaxes.items():
        syntax = UID(name)
        if syntax.is_transfer_syntax and syntax.is_compressed and not can_decode(name):
            missing[why_not(syntax)] += count
    return dict(missing.most_common())


def _free_bytes(folder: Path) -> int:
    """Of the disk on which the folder is, or will be made."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
