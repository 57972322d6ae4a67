"""A planned shard becomes a committed shard: the work of one task of an executor."""

from __future__ import annotations

import functools
import multiprocessing
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

import ich_tf
from ich_tf.conversion.plan import PlannedShard, PlannedSlice, quarantine_path
from ich_tf.dicom.crop import cut
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.reader import Slice
from ich_tf.dicom.reasons import DicomError, Rejection
from ich_tf.dicom.source_reader import SourceReader
from ich_tf.dicom.sources import Source, stamps_sha256
from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records.example import encode
from ich_tf.records.images import encode_image
from ich_tf.records.pixel_hash import pixel_hash
from ich_tf.records.schema import SliceRecord
from ich_tf.records.shards import EncodedSlice, commit_shard
from ich_tf.records.statistics import SliceStatistics
from ich_tf.runtime.folder_lock import check_owner
from ich_tf.windows import apply_windows, preset_windows, store_hu

# Packages to look at when bytes differ between two machines.
_VERSIONED = ("numpy", "opencv-python-headless", "pydicom", "google-crc32c")
_NO_LABELS = (0,) * len(CLASSES)


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write a shard.

    Attributes:
      shard: Slices of the shard, in order.
      plan_sha256: SHA-256 of the shard's part of the plan.
      sources: DICOM files of the shard, as they were listed.
      out_dir: Folder to write the shard to.
      image_size: Rows and columns of the stored images, px.
      windows: Names of the window presets, one per channel.
      encoding: Image format of the records, one of `records.ENCODINGS`.
      owner: `FolderLock.owner` of the run, without which nothing is committed; empty for a folder
        that no other run can know.
    """

    shard: PlannedShard
    plan_sha256: str
    sources: tuple[Source, ...]
    out_dir: Path
    image_size: int
    windows: tuple[str, ...]
    encoding: str
    owner: str = ""


def write_shard(task: ShardTask) -> None:
    """Reads, windows, encodes and writes the slices of a shard.

    A slice that cannot be read is left out; the sidecar lists it with the reason.
    """
    commit_shard(
        task.out_dir / task.shard.name,
        _encoded_slices(task),
        split=task.shard.split,
        plan_sha256=task.plan_sha256,
        # As listed, before the first file was read: a file that changes later is noticed.
        sources_sha256=stamps_sha256(task.sources),
        versions=library_versions(),
        check_run=functools.partial(_check_run, task),
    )


def _check_run(task: ShardTask) -> None:
    """Raises an error if the run that a shard is written for has ended or lost its folder."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise DataError(f"{task.out_dir}: nothing more is written, since the run was ended.")
    if task.owner:
        check_owner(task.out_dir, task.owner)


@functools.cache
def library_versions() -> dict[str, str]:
    """Version of each library that a shard's bytes depend on, by package."""
    return {
        "ich_tf": ich_tf.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONED},
    }


def _encoded_slices(task: ShardTask) -> Iterator[EncodedSlice | Rejection]:
    """Serialized record and statistics of each slice of a shard, or why it is left out.

    Of several files that hold a slice, the first that can be read is used.
    """
    sources = {source.name: source for source in task.sources}
    with SourceReader() as reader:
        for planned in task.shard.slices():
            for candidate in (planned.name, *planned.alternates):
                try:
                    with guarded():
                        encoded = _encode(task, planned, sources[candidate], reader)
                except DicomError as error:
                    path, message = quarantine_path(candidate, planned.frame), str(error)
                    yield Rejection(path, "execute", error.reason.value, message, reader.sha256)
                    continue
                yield encoded
                break


def _encode(
    task: ShardTask, planned: PlannedSlice, source: Source, reader: SourceReader
) -> EncodedSlice:
    """Serialized record and statistics of a slice.

    Its arrays are freed on return: a generator would hold them while the next slice is read, which
    made raw records 5 % slower.
    """
    slice_ = reader.slice(source, planned.frame)
    stored = store_hu(cut(slice_.hu, planned.crop), task.image_size)
    # Before the image is encoded: the stored slice is still in the processor's cache.
    statistics, pixels = _statistics(planned, slice_, stored), pixel_hash(stored)
    record = _record(task, planned, slice_, stored, reader.sha256)
    return EncodedSlice(encode(record), statistics, pixels)


def _record(
    task: ShardTask, planned: PlannedSlice, slice_: Slice, stored: np.ndarray, sha256: str
) -> SliceRecord:
    if task.encoding == "hu16":
        image = stored[..., None]
    else:
        image = apply_windows(stored, preset_windows(task.windows))
    return SliceRecord(
        encoded=encode_image(image, task.encoding),
        format=task.encoding,
        height=image.shape[0],
        width=image.shape[1],
        channels=image.shape[2],
        source_id=planned.source_id,
        sha256=sha256,
        labels=planned.labels or _NO_LABELS,
        label_present=int(planned.labels is not None),
        patient_key=planned.patient_key,
        study_key=planned.study_key,
        series_key=planned.series_key,
        slice_index=planned.slice_index,
        num_slices=planned.num_slices,
        z_mm=planned.z_mm,
        spacing_mm=slice_.header.spacing_mm,
        gantry_tilt_deg=slice_.header.gantry_tilt_deg,
        scanner=slice_.scanner,
        repairs=_repairs(slice_),
        crop=planned.crop,
        kernel=slice_.header.kernel,
        thickness_mm=slice_.header.thickness_mm,
        contrast=slice_.header.contrast,
        origin=slice_.header.origin,
        content=slice_.header.content,
    )


def _statistics(planned: PlannedSlice, slice_: Slice, stored: np.ndarray) -> SliceStatistics:
    return SliceStatistics.of_slice(
        stored,
        labels=planned.labels or _NO_LABELS,
        repairs=_repairs(slice_),
        decoder=slice_.decoder,
        transfer_syntax=slice_.header.transfer_syntax,
        scanner=slice_.scanner,
        row_spacing_mm=slice_.header.spacing_mm[0],
        gantry_tilt_deg=slice_.header.gantry_tilt_deg,
    )


def _repairs(slice_: Slice) -> tuple[str, ...]:
    """Names of the repairs that were applied to a slice."""
    return tuple(repair.value for repair in slice_.repairs)
