"""Estimate of a conversion: what it would write, how long it would take, what it would miss."""

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

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import plan_conversion
from ich_tf.conversion.exam_summary import levels_text, planned_levels
from ich_tf.conversion.input_folder import check_folders, list_inputs
from ich_tf.conversion.known_splits import known_splits
from ich_tf.conversion.out_of_reach import OutOfReach, to_write
from ich_tf.conversion.output_folder import stored_plan, unfinished_shards
from ich_tf.conversion.plan import PlannedSeries, PlannedShard
from ich_tf.conversion.side_by_side import side_by_side
from ich_tf.conversion.summary import bad_reasons, num_not_chosen
from ich_tf.conversion.write_shard import ShardTask, shard_tasks, write_shard
from ich_tf.dicom.decoders import can_decode, why_not
from ich_tf.dicom.elements import uid
from ich_tf.records.sidecar import read_sidecar
from ich_tf.runtime.executors.local import LocalExecutor

# Number of slices that are converted to measure size and time: half a second's work.
_SAMPLE = 64
_SAMPLE_NAME = "sample.tfrecord"


@dataclass(frozen=True)
class ConversionEstimate:
    """Estimate of a conversion.

    Attributes:
      out_dir: Output folder; nothing in it was changed.
      splits: Numbers of patients, slices and shards of each split.
      num_shards: Number of shards.
      num_kept: Number of shards that an earlier run has finished.
      num_to_write: Number of slices of the shards to write.
      num_bytes: Size of the shards to write, bytes, by a sample.
      core_seconds: Time to write them on one core, seconds, by the same sample; the index is not
        included.
      num_workers: Number of workers that share the work; 0 if a cluster decides.
      free_bytes: Free space of the disk, bytes.
      missing_decoders: Number of slices that cannot be decoded here, by the reason.
      rejections: Number of inputs that headers and labels exclude, by reason code.
      num_inputs: Number of files, and of labels without a file.
      num_not_chosen: Number of slices of the series that would not be chosen.
      side_by_side: Labels and files that do not join, several lines; empty if there are none.
      sample_size: Number of slices of the sample.
      sample_rejections: Number of slices of the sample that were left out, by reason code.
      masks: Number of slices that would have a mask; 0 without masks.
      mask_rejections: Number of masks that would not be used, by reason code.
      exams: Words for the numbers of exams by the level of their labels; empty in a conversion
        whose labels are all of slices and known.
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
    num_not_chosen: int
    side_by_side: str
    sample_size: int
    sample_rejections: dict[str, int]
    masks: int = 0
    mask_rejections: dict[str, int] = field(default_factory=dict)
    exams: str = ""

    def report(self) -> str:
        """Summary of the estimate, several lines of text."""
        lines = [
            f"{self.out_dir}: would hold {sum(n for _, n, _ in self.splits.values())} slices in "
            f"{self.num_shards} shards ({self.num_kept} of them done already)"
        ]
        for split, (patients, slices, shards) in self.splits.items():
            lines.append(f"  {split:<11}{patients:>8} patients{slices:>9} slices{shards:>6} shards")
        if self.exams:
            lines.append(f"  exams: {self.exams}")
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
        if self.num_not_chosen:
            lines.append(f"  not chosen by --series: {self.num_not_chosen} slices")
        for reason, count in self.sample_rejections.items():
            lines.append(f"  left out of the sample: {reason:<17}{count:>8}")
        if self.masks or self.mask_rejections:
            lines.append(f"  masks: {self.masks} slices have one")
        for reason, count in self.mask_rejections.items():
            lines.append(f"  mask would not be used: {reason:<17}{count:>8}")
        if self.side_by_side:
            lines += [f"  {line}" for line in self.side_by_side.splitlines()]
        if self.num_bytes > self.free_bytes:
            lines.append("  the disk has too little room for it")
        lines.append("nothing was written")
        return "\n".join(lines)


def estimate(config: ConversionConfig) -> ConversionEstimate:
    """Reads every header, plans, and converts a sample in a temporary folder.

    Args:
      config: Config of the conversion.

    Raises:
      InputError: If the conversion would raise it before it writes anything.
    """
    out_dir = Path(config.out_dir)
    check_folders(config)
    listing = list_inputs(config)
    previous = stored_plan(out_dir, config)
    known = known_splits(out_dir, config, previous)
    # On this machine, whatever the runner: a cluster's executor may write where it works.
    with LocalExecutor(config.num_workers) as executor:
        plan, slices = plan_conversion(config, listing, executor, previous, known)
        rehash = config.verify == "full"
        unfinished = unfinished_shards(out_dir, plan, listing, executor, rehash=rehash)
    unfinished = to_write(out_dir, plan, unfinished, listing, OutOfReach(plan.rejections))
    sample = _sample(shard_tasks(plan, unfinished, listing, out_dir))
    count = sum(shard.num_slices for shard in unfinished)
    splits = {}
    for split, patients in plan.patients.items():
        shards = [shard for shard in plan.shards if shard.split == split]
        num_slices = sum(shard.num_slices for shard in shards)
        splits[split] = len(patients), num_slices, len(shards)
    rejections = bad_reasons(plan.rejections)
    return ConversionEstimate(
        out_dir=out_dir,
        splits=splits,
        num_shards=len(plan.shards),
        num_kept=len(plan.shards) - len(unfinished),
        num_to_write=count,
        num_bytes=round(count * sample.bytes_per_slice),
        core_seconds=count * sample.seconds_per_slice,
        num_workers=0 if config.runner != "local" else config.num_workers or os.cpu_count() or 1,
        free_bytes=_free_bytes(out_dir),
        missing_decoders=_missing_decoders(slices.transfer_syntaxes),
        rejections=dict(rejections.most_common()),
        num_inputs=plan.num_inputs,
        num_not_chosen=num_not_chosen(plan.rejections),
        side_by_side=side_by_side(slices, config.label_key),
        sample_size=sample.size,
        sample_rejections=sample.rejections,
        masks=sum(bool(slice_.masks) for shard in plan.shards for slice_ in shard.slices()),
        mask_rejections=dict(Counter(line.reason for line in plan.mask_rejections)),
        exams=levels_text(planned_levels(plan)) if plan.has_exams else "",
    )


@dataclass(frozen=True)
class _SampleCost:
    """Size and time of a few slices, converted."""

    size: int = 0
    bytes_per_slice: float = 0.0
    seconds_per_slice: float = 0.0
    rejections: dict[str, int] = field(default_factory=dict)


def _sample(tasks: Sequence[ShardTask]) -> _SampleCost:
    """Converts a few slices of some shards, evenly spread, in a temporary folder."""
    count = sum(task.shard.num_slices for task in tasks)
    if not count:
        return _SampleCost()
    sources = {source.name: source for task in tasks for source in task.sources}
    slices = (planned for task in tasks for planned in task.shard.slices())
    chosen = list(itertools.islice(slices, 0, None, -(-count // _SAMPLE)))
    with tempfile.TemporaryDirectory() as folder:

        def write(name: str, number: int) -> float:
            # With the exam's labels of one of them, which take as many bytes as any other's.
            series = replace(
                PlannedSeries.pack(("", "", ""), chosen[:number]),
                exam_labels=chosen[0].exam_labels,
                label_level=chosen[0].label_level,
            )
            shard = PlannedShard(name, "sample", (series,))
            begun = time.perf_counter()
            files = tuple(sources[file] for file in shard.file_names())
            write_shard(replace(tasks[0], shard=shard, sources=files, out_dir=Path(folder)))
            return time.perf_counter() - begun

        write("warm-up.tfrecord", 1)
        seconds = write(_SAMPLE_NAME, len(chosen))
        sidecar = read_sidecar(Path(folder) / _SAMPLE_NAME)
    reasons = Counter(rejection.reason for rejection in sidecar.quarantine)
    return _SampleCost(
        size=len(chosen),
        bytes_per_slice=sidecar.num_bytes / len(chosen),
        seconds_per_slice=seconds / len(chosen),
        rejections=dict(reasons.most_common()),
    )


def _missing_decoders(syntaxes: Counter[str]) -> dict[str, int]:
    """Number of slices without a decoder, by the reason; `syntaxes` counts slices by UID."""
    missing: Counter[str] = Counter()
    for name, count in syntaxes.items():
        syntax = uid(name)
        if syntax.is_transfer_syntax and syntax.is_compressed and not can_decode(name):
            missing[why_not(syntax)] += count
    return dict(missing.most_common())


def _free_bytes(folder: Path) -> int:
    """Free space of the disk that holds, or will hold, a folder, bytes."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
