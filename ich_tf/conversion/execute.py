"""One planned shard -> one committed shard. What every executor runs, in a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ich_tf.conversion.index import Rejection
from ich_tf.conversion.plan import PlannedShard, PlannedSlice
from ich_tf.dicom import DicomError, read_slice
from ich_tf.labels import CLASSES
from ich_tf.records import SliceRecord, encode, encode_image
from ich_tf.shards import Sidecar, commit_shard
from ich_tf.sources import Source
from ich_tf.windows import Window, apply_windows, preset_windows, store_hu, stored_to_hu


@dataclass(frozen=True)
class ShardTask:
    """A shard to write, with all that the worker needs to know.

    Attributes:
      shard: What goes in.
      plan_sha256: The plan it belongs to.
      root: The folder or archive of the DICOM files.
      out_dir: Where the shard goes.
      image_size, windows, encoding: As in the config.
    """

    shard: PlannedShard
    plan_sha256: str
    root: Path
    out_dir: Path
    image_size: int
    windows: tuple[str, ...]
    encoding: str


def write_shard(task: ShardTask) -> Sidecar:
    """Reads, windows, encodes and writes a shard's slices.

    A slice that cannot be read is left out and stands, with its reason, in the sidecar.
    """
    sidecar = Sidecar(task.shard.name, task.shard.split, task.plan_sha256)
    return commit_shard(task.out_dir, sidecar, _payloads(task, sidecar))


def _payloads(task: ShardTask, sidecar: Sidecar) -> Iterator[bytes]:
    """The serialized records; adds to the sidecar's sums as it goes."""
    windows = preset_windows(task.windows)
    for planned in task.shard.slices:
        sha256 = ""
        try:
            data = Source(task.root, planned.name).read()
            sha256 = hashlib.sha256(data).hexdigest()
            record = _record(task, planned, data, sha256, windows, sidecar)
        except DicomError as error:
            rejection = Rejection(planned.path, "execute", error.reason.value, str(error), sha256)
            sidecar.quarantine.append(asdict(rejection))
            continue
        yield encode(record)


def _record(
    task: ShardTask,
    planned: PlannedSlice,
    data: bytes,
    sha256: str,
    windows: tuple[Window, ...],
    sidecar: Sidecar,
) -> SliceRecord:
    one = read_slice(data, planned.frame)
    stored = store_hu(one.hu, task.image_size)
    image = stored[..., None] if task.encoding == "hu16" else apply_windows(stored, windows)
    header = one.header
    _add_statistics(sidecar, stored)
    if one.decoder:
        sidecar.decoders[one.decoder] = sidecar.decoders.get(one.decoder, 0) + 1
    for repair in one.repairs:
        sidecar.repairs[repair.value] = sidecar.repairs.get(repair.value, 0) + 1
    sidecar.num_tilted += abs(header.gantry_tilt_deg) > 0.5
    labels = planned.labels or (0,) * len(CLASSES)
    for i, label in enumerate(labels):
        sidecar.label_counts[i] += label
    return SliceRecord(
        encoded=encode_image(image, task.encoding),
        format=task.encoding,
        height=image.shape[0],
        width=image.shape[1],
        channels=image.shape[2],
        source_id=planned.source_id,
        sha256=sha256,
        labels=labels,
        label_present=int(planned.labels is not None),
        patient_key=planned.patient_key,
        study_key=planned.study_key,
        series_key=planned.series_key,
        slice_index=planned.slice_index,
        num_slices=planned.num_slices,
        z_mm=planned.z_mm,
        spacing_mm=header.spacing_mm,
        gantry_tilt_deg=header.gantry_tilt_deg,
        repairs=tuple(repair.value for repair in one.repairs),
    )


def _add_statistics(sidecar: Sidecar, stored: np.ndarray) -> None:
    """Sums in whole numbers, so that no order of additions shows."""
    low, high = (stored_to_hu(int(value)) for value in (stored.min(), stored.max()))
    sidecar.stored_sum += int(stored.sum(dtype=np.int64))
    sidecar.num_pixels += stored.size
    sidecar.hu_min = low if sidecar.hu_min is None else min(low, sidecar.hu_min)
    sidecar.hu_max = high if sidecar.hu_max is None else max(high, sidecar.hu_max)
