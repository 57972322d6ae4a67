"""One planned shard -> one committed shard. What every executor runs, in a worker."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

import ich_tf
from ich_tf.conversion.plan import PlannedShard, PlannedSlice
from ich_tf.dicom.crop import cut
from ich_tf.dicom.reader import Slice, read_slice
from ich_tf.dicom.reasons import DicomError, Rejection
from ich_tf.dicom.sources import Source, stamps_sha256
from ich_tf.labels import CLASSES
from ich_tf.records.example import encode
from ich_tf.records.images import encode_image
from ich_tf.records.schema import SliceRecord
from ich_tf.records.shards import Sidecar, commit_shard
from ich_tf.windows import apply_windows, preset_windows, store_hu

# Where a user looks when bytes differ between two machines.
_VERSIONED = ("numpy", "opencv-python-headless", "pydicom", "google-crc32c")


@dataclass(frozen=True)
class ShardTask:
    """A shard to write, with all that the worker needs to know.

    Attributes:
      shard: What goes in.
      plan_sha256: Of what the plan says of it.
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


def write_shard(task: ShardTask) -> None:
    """Reads, windows, encodes and writes a shard's slices.

    A slice that cannot be read is left out and stands, with its reason, in the sidecar.
    """
    sidecar = Sidecar(task.shard.name, task.shard.split, task.plan_sha256)
    # Before the first file is read: one that changes later is found to have changed.
    sidecar.sources_sha256 = sources_sha256(task.shard, task.root)
    sidecar.versions = library_versions()
    commit_shard(task.out_dir, sidecar, _payloads(task, sidecar))


def sources_sha256(shard: PlannedShard, root: Path) -> str:
    """The hash of the stamps of the DICOM files that a shard is made of."""
    return stamps_sha256(
        Source(root, name) for name in dict.fromkeys(o.name for o in shard.slices())
    )


@functools.cache
def library_versions() -> dict[str, str]:
    """The versions that a shard's bytes depend on."""
    return {
        "ich_tf": ich_tf.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONED},
    }


def _payloads(task: ShardTask, sidecar: Sidecar) -> Iterator[bytes]:
    """The serialized records; adds to the sidecar's sums as it goes."""
    name, data, sha256 = "", b"", ""
    for planned in task.shard.slices():
        try:
            if planned.name != name:  # the frames of one file follow each other
                name, sha256 = "", ""
                data = Source(task.root, planned.name).read()
                sha256 = hashlib.sha256(data).hexdigest()
                name = planned.name
            one = read_slice(data, planned.frame)
            hu = cut(one.hu, planned.crop)
        except DicomError as error:
            rejection = Rejection(planned.path, "execute", error.reason.value, str(error), sha256)
            sidecar.quarantine.append(asdict(rejection))
            continue
        yield encode(_record(task, planned, one, hu, sha256, sidecar))


def _record(
    task: ShardTask,
    planned: PlannedSlice,
    one: Slice,
    hu: np.ndarray,
    sha256: str,
    sidecar: Sidecar,
) -> SliceRecord:
    stored = store_hu(hu, task.image_size)
    if task.encoding == "hu16":
        image = stored[..., None]
    else:
        image = apply_windows(stored, preset_windows(task.windows))
    labels = planned.labels or (0,) * len(CLASSES)
    repairs = tuple(repair.value for repair in one.repairs)
    _count(sidecar, one, labels, repairs)
    sidecar.add_statistics(stored)
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
        spacing_mm=one.header.spacing_mm,
        gantry_tilt_deg=one.header.gantry_tilt_deg,
        scanner=one.scanner,
        repairs=repairs,
        crop=planned.crop,
    )


def _count(sidecar: Sidecar, one: Slice, labels: tuple[int, ...], repairs: tuple[str, ...]) -> None:
    for counts, key in (
        *((sidecar.repairs, repair) for repair in repairs),
        (sidecar.decoders, one.decoder),
        (sidecar.transfer_syntaxes, one.header.transfer_syntax),
        (sidecar.scanners, one.scanner),
        (sidecar.spacings, f"{one.header.spacing_mm[0]:.3f}"),
    ):
        if key:
            counts[key] = counts.get(key, 0) + 1
    sidecar.num_tilted += abs(one.header.gantry_tilt_deg) > 0.5
    for i, label in enumerate(labels):
        sidecar.label_counts[i] += label
