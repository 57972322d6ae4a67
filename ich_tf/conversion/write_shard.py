"""A planned shard becomes a committed shard: the work of one task of an executor."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

import ich_tf
from ich_tf.conversion.exam_fields import exam_fields, stored_labels
from ich_tf.conversion.mask_files import MaskOptions
from ich_tf.conversion.mask_reader import MaskReader
from ich_tf.conversion.plan import Plan, PlannedShard, PlannedSlice
from ich_tf.conversion.planned_reader import PlannedReader
from ich_tf.conversion.slab_reader import read_slab
from ich_tf.dicom.crop import cut
from ich_tf.dicom.guard import guarded
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.pixel_hash import pixel_hash
from ich_tf.dicom.reader import Slice
from ich_tf.dicom.reasons import DicomError, Rejection, quarantine_path
from ich_tf.dicom.sources import Source, stamps_sha256
from ich_tf.errors import DataError
from ich_tf.masks.class_map import ClassMap
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.example import encode
from ich_tf.records.images import encode_image
from ich_tf.records.schema import SliceRecord
from ich_tf.records.shards import EncodedSlice, commit_shard
from ich_tf.records.sidecar import read_sidecar
from ich_tf.records.statistics import SliceStatistics
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.folder_lock import check_owner
from ich_tf.windows import apply_windows, preset_windows, store_hu

# Packages to look at when bytes differ between two machines.
_VERSIONED = ("numpy", "opencv-python-headless", "pydicom", "google-crc32c")


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
      masks: Options of the masks; None to write records without masks.
      owner: `FolderLock.owner` of the run, without which nothing is committed; empty for a folder
        that no other run can know.
      careful: Whether each file is read in a sandbox first, since one of them ends its reader.
    """

    shard: PlannedShard
    plan_sha256: str
    sources: tuple[Source, ...]
    out_dir: Path
    image_size: int
    windows: tuple[str, ...]
    encoding: str
    masks: MaskOptions | None = None
    owner: str = ""
    careful: bool = False


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


def write_carefully(task: ShardTask) -> None:
    """As `write_shard`, for a shard that ended its worker: the file that does so is left out."""
    write_shard(replace(task, careful=True))


def is_finished(task: ShardTask, rehash: bool = False) -> bool:
    """Whether a committed shard may stay as it is. Runs in a worker.

    It may not if it lacks a slice for a reason of the machine, and the slice can be read by now.

    Args:
      task: Task that wrote the shard.
      rehash: Whether the shard's bytes are compared with its hash.
    """
    path = task.out_dir / task.shard.name
    sidecar = read_sidecar(path)
    if rehash and file_sha256(path) != sidecar.sha256:
        return False
    missing = {rejection.path for rejection in sidecar.to_retry}
    with PlannedReader(task.sources) as reader:
        for planned in task.shard.slices() if missing else ():
            for part in planned.parts():
                for candidate, listed in zip(
                    (part.name, *part.alternates), part.paths, strict=True
                ):
                    if listed in missing:
                        with contextlib.suppress(DicomError):
                            reader.read(part, candidate)
                            return False
    return True


def shard_tasks(
    plan: Plan,
    planned: Sequence[PlannedShard],
    listing: SourceListing,
    out_dir: Path,
    owner: str = "",
) -> list[ShardTask]:
    """Tasks of the workers that write shards.

    Args:
      plan: The whole plan.
      planned: Shards to write.
      listing: DICOM files.
      out_dir: Folder to write the shards to.
      owner: Owner of the folder's lock; empty if it has none.
    """
    return [
        ShardTask(
            shard=shard,
            plan_sha256=plan.shard_sha256[shard.name],
            sources=tuple(map(listing.find, shard.file_names())),
            out_dir=out_dir,
            image_size=plan.config["image_size"],
            windows=tuple(plan.config["windows"]),
            encoding=plan.config["encoding"],
            masks=_mask_options(plan),
            owner=owner,
        )
        for shard in planned
    ]


def _mask_options(plan: Plan) -> MaskOptions | None:
    """Options of a plan's masks; None if it has none."""
    if not plan.has_masks:
        return None
    classes = ClassMap.parse(plan.config["mask_classes"])
    return MaskOptions(Path(plan.masks_dir), plan.config["mask_format"], classes)


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

    Of several files that hold a slice, the first that can be read is used. The masks that cannot be
    read come last.
    """
    masks = None
    if task.masks is not None:
        masks = MaskReader(task.masks, task.shard, task.sources)
    counted: set[str] = set()
    with PlannedReader(task.sources, careful=task.careful) as reader:
        for planned in task.shard.slices():
            if planned.members:
                for entry in _encoded_slab(task, planned, reader, masks):
                    yield _with_exam(entry, planned, counted)
                continue
            for candidate in (planned.name, *planned.alternates):
                try:
                    with guarded():
                        encoded = _encode(task, planned, candidate, reader, masks)
                except DicomError as error:
                    path, message = quarantine_path(candidate, planned.frame), str(error)
                    yield Rejection(path, "execute", error.reason.value, message, reader.sha256)
                    continue
                yield _with_exam(encoded, planned, counted)
                break
    if masks is not None:
        yield from masks.rejections.values()


def _with_exam(
    entry: EncodedSlice | Rejection, planned: PlannedSlice, counted: set[str]
) -> EncodedSlice | Rejection:
    """A slice with the statistics of its labels, in a conversion with labels of exams.

    Args:
      entry: The slice, or why it is left out.
      planned: The slice as it was planned.
      counted: Series whose exam is counted; this one's is added.
    """
    if isinstance(entry, Rejection) or not planned.exam_labels:
        return entry
    statistics = ExamStatistics.of_slice(planned.labels)
    if planned.series_key not in counted:
        counted.add(planned.series_key)
        exam = ExamStatistics.of_exam(planned.exam_labels, planned.label_level)
        statistics = ExamStatistics.total((statistics, exam))
    return entry._replace(exams=statistics)


def _encode(
    task: ShardTask,
    planned: PlannedSlice,
    name: str,
    reader: PlannedReader,
    masks: MaskReader | None,
) -> EncodedSlice:
    """Serialized record and statistics of a slice.

    Its arrays are freed on return: a generator would hold them while the next slice is read, which
    made raw records 5 % slower.
    """
    return _encode_slice(task, planned, reader.read(planned, name), reader.sha256, masks)


def _encoded_slab(
    task: ShardTask, planned: PlannedSlice, reader: PlannedReader, masks: MaskReader | None
) -> Iterator[EncodedSlice | Rejection]:
    """The slices of a slab that cannot be read, and the mean of the others."""
    slab = read_slab(reader, planned)
    yield from slab.rejections
    if slab.slice_ is None:
        return
    try:
        with guarded():
            encoded = _encode_slice(task, planned, slab.slice_, slab.sha256, masks, slab.num_slices)
    except DicomError as error:
        # A slab is missing where all of its slices are listed.
        listed = {rejection.path for rejection in slab.rejections}
        for path in planned.paths:
            if path not in listed:
                yield Rejection(path, "execute", error.reason.value, str(error))
        return
    yield encoded


def _encode_slice(
    task: ShardTask,
    planned: PlannedSlice,
    slice_: Slice,
    sha256: str,
    masks: MaskReader | None,
    num_slices: int = 1,
) -> EncodedSlice:
    stored = store_hu(cut(slice_.hu, planned.crop), task.image_size)
    # Before the image is encoded: the stored slice is still in the processor's cache.
    statistics, pixels = _statistics(planned, slice_, stored), pixel_hash(stored)
    record = replace(_record(task, planned, slice_, stored, sha256), slab=num_slices)
    if masks is None:
        return EncodedSlice(encode(record), statistics, pixels)
    mask = masks.read(planned, slice_.header, task.image_size)
    record = replace(record, **vars(mask))
    of_mask = masks.statistics(planned, mask, slice_.header.thickness_mm)
    return EncodedSlice(encode(record), statistics, pixels, of_mask)


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
        labels=stored_labels(planned.labels),
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
        **exam_fields(planned),
    )


def _statistics(planned: PlannedSlice, slice_: Slice, stored: np.ndarray) -> SliceStatistics:
    return SliceStatistics.of_slice(
        stored,
        labels=stored_labels(planned.labels),
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
