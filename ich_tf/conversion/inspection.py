"""Traces a slice of a conversion: its record, the record's location, its DICOM file, its pixels."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ich_tf.conversion.lookup import RecordLocation, record_locations
from ich_tf.conversion.mask_summary import mask_quarantine
from ich_tf.conversion.plan import Plan, PlannedShard, PlannedSlice, load_plan
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.conversion.summary import quarantined
from ich_tf.dicom.reasons import Reason, Rejection, Repair
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.masks.errors import MaskReason
from ich_tf.records import manifest
from ich_tf.records.images import read_image
from ich_tf.records.mask_images import read_mask
from ich_tf.records.schema import SliceRecord
from ich_tf.records.sidecar import read_sidecar
from ich_tf.windows import apply_windows, preset_windows

_CAPTION_ROWS = 20


@dataclass(frozen=True, eq=False)
class SliceTrace:
    """A slice of a conversion, traced from its record to its DICOM file.

    Attributes:
      location: Location of the record.
      record: Content of the record.
      split: `test`, `fold-0` ..., or `unlabelled`.
      source: Folder or archive of the DICOM files.
      windows: Names of the conversion's window presets.
      versions: Version of each library that the record's bytes depend on.
    """

    location: RecordLocation
    record: SliceRecord
    split: str
    source: Path
    windows: tuple[str, ...]
    versions: Mapping[str, str]

    def _describe_mask(self) -> dict[str, Any]:
        """What the record has of masks; nothing in a conversion without masks."""
        record = self.record
        if not record.lesion_mm2:
            return {}
        return {
            "masks": [name for name, *_ in self.location.planned.masks],
            "annotated": [name for k, name in enumerate(CLASSES) if record.annotated >> k & 1],
            "lesion_mm2": {
                name: round(area, 2)
                for name, area in zip(CLASSES, record.lesion_mm2, strict=True)
                if area > 0
            },
        }

    def _describe_exam(self) -> dict[str, Any]:
        """Its unknown labels, and its exam's labels; nothing where all are of slices and known."""
        record = self.record
        if not record.exam_labels:
            return {}
        unknown = [
            name
            for k, name in enumerate(CLASSES)
            if not (record.label_present and record.labels_known >> k & 1)
        ]
        return {
            "unknown": unknown,
            "exam_labels": {
                name: None if math.isnan(value) else round(value, 4)
                for name, value in zip(CLASSES, record.exam_labels, strict=True)
            },
            "label_level": record.label_level or None,
        }

    def describe(self) -> dict[str, Any]:
        """Everything that is known of the slice but its pixels, as JSON values by name."""
        location, record, planned = self.location, self.record, self.location.planned
        labels = [name for name, label in zip(CLASSES, record.labels, strict=True) if label]
        return {
            "id": record.source_id,
            "labels": labels if record.label_present else None,
            **self._describe_exam(),
            "split": self.split,
            "shard": str(location.shard),
            "record": location.number,
            "offset": location.offset,
            "size": location.size,
            "dicom": str(self.source / planned.name),
            "frame": planned.frame,
            "dicom_sha256": record.sha256,
            "patient_key": record.patient_key,
            "study_key": record.study_key,
            "series_key": record.series_key,
            "slice_index": record.slice_index,
            "num_slices": record.num_slices,
            "z_mm": record.z_mm,
            "spacing_mm": list(record.spacing_mm),
            "gantry_tilt_deg": record.gantry_tilt_deg,
            "repairs": {name: Repair(name).meaning for name in record.repairs},
            "crop": list(record.crop),
            "kernel": record.kernel,
            "thickness_mm": record.thickness_mm,
            "contrast": record.contrast,
            "origin": record.origin,
            "content": record.content,
            "slab": record.slab,
            "format": record.format,
            "shape": [record.height, record.width, record.channels],
            "windows": list(self.windows),
            **self._describe_mask(),
            "versions": dict(self.versions),
        }

    def report(self) -> str:
        """The description as lines of text, `name value`."""
        return "\n".join(f"{name:<16} {_text(value)}" for name, value in self.describe().items())

    def picture(self) -> np.ndarray:
        """Draws the slice in each window, side by side under the windows' names, and its mask.

        Returns:
          uint8 [H + 20, W * number of windows]; a W more where pixels are marked.
        """
        image = read_image(self.record)
        if self.record.format == "hu16":
            image = apply_windows(image[..., 0], preset_windows(self.windows))
        panels = []
        for channel, name in enumerate(self.windows):
            caption = np.zeros((_CAPTION_ROWS, image.shape[1]), np.uint8)
            cv2.putText(caption, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,))
            panels.append(np.vstack([caption, image[..., channel]]))
        if self.record.mask:
            mask = read_mask(self.record)
            caption = np.zeros((_CAPTION_ROWS, mask.shape[1]), np.uint8)
            cv2.putText(caption, "mask", (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,))
            panels.append(np.vstack([caption, np.where(mask > 0, 255, 0).astype(np.uint8)]))
        return np.hstack(panels)


def find_slice(data_dir: str | Path, identifier: str, hash_key: bytes = b"") -> SliceTrace:
    """Finds a slice by any of its names.

    Args:
      data_dir: Folder of a finished conversion.
      identifier: Image id of the label CSV; id as it is stored; SOP instance UID, with `/frame` for
        a frame; or the DICOM file's path (within the source, from the current folder, or
        absolute), name, or name without extension.
      hash_key: Secret under which the conversion hashed ids; empty for the public key.

    Raises:
      InputError: If there is no such slice, there are several, or it was left out; the message
        then has the reason.
      DataError: If the folder is damaged.

    Examples:
      trace = find_slice("data/tfrecords", "ID_0003d3cf8")
      print(trace.report())
    """
    folder = Path(data_dir)
    manifest.Manifest.load(folder)
    plan, source = load_plan(folder)
    with contextlib.suppress(ValueError):
        # A path from the current folder, or an absolute one, becomes one within the source.
        identifier = Path(identifier).absolute().relative_to(source.absolute()).as_posix()
    matches = _matches(plan, identifier, hash_key)
    if len(matches) > 1:
        paths = ", ".join(planned.path for _, planned in matches[:5])
        raise InputError(
            f"{identifier}: is the name of {len(matches)} slices ({paths}"
            f"{', ...' if len(matches) > 5 else ''}). Give the path of one of them."
        )
    if not matches:
        names = identifier, pseudonym(identifier, hash_key)
        reason = _reason_left_out(_quarantine(folder, plan), names)
        raise InputError(reason or _unknown(plan, identifier))
    ((shard, planned),) = matches
    sidecar = read_sidecar(folder / shard.name)
    for location in record_locations(folder, shard):
        if location.planned == planned:
            return SliceTrace(
                location=location,
                record=location.read(),
                split=shard.split,
                source=source,
                windows=tuple(plan.config["windows"]),
                versions=sidecar.versions,
            )
    raise InputError(_reason_left_out(sidecar.quarantine, (planned.path,)))


def _matches(
    plan: Plan, identifier: str, hash_key: bytes
) -> Sequence[tuple[PlannedShard, PlannedSlice]]:
    """Slices with that id or path; else those whose file has that name; else without extension."""
    ids = {identifier, pseudonym(identifier, hash_key)}
    exact, by_name, by_stem = [], [], []
    for shard in plan.shards:
        for planned in shard.slices():
            if planned.source_id in ids or identifier in planned.paths:
                exact.append((shard, planned))
            elif any(identifier in _names(part.name)[:2] for part in planned.parts()):
                by_name.append((shard, planned))
            elif any(identifier == _names(part.name)[2] for part in planned.parts()):
                by_stem.append((shard, planned))
    return exact or by_name or by_stem


def _names(path: str) -> tuple[str, str, str]:
    """Names of a file: its path, its name, its name without extension."""
    name = path.rsplit("/", 1)[-1]
    return path, name, name.rsplit(".", 1)[0]


def _quarantine(folder: Path, plan: Plan) -> Sequence[Rejection]:
    """Inputs and masks that were left out, read from plan and sidecars."""
    sidecars = [read_sidecar(folder / shard.name) for shard in plan.shards]
    return (*quarantined(plan, sidecars), *mask_quarantine(plan, sidecars))


def _reason_left_out(quarantine: Iterable[Rejection], names: Sequence[str]) -> str:
    """Sentence on why an input was left out; empty if it is not in quarantine."""
    for rejection in quarantine:
        if any(name in _names(rejection.path) for name in names):
            return (
                f"{rejection.path}: was left out at stage {rejection.stage}: {rejection.reason}, "
                f"{rejection.message} ({_meaning(rejection)})"
            )
    return ""


def _meaning(rejection: Rejection) -> str:
    reasons = MaskReason if rejection.is_of_mask else Reason
    return reasons(rejection.reason).meaning


def _unknown(plan: Plan, identifier: str) -> str:
    """Sentence on an identifier that matches nothing, with similar ones."""
    slices = (planned for shard in plan.shards for planned in shard.slices())
    known = chain.from_iterable((planned.source_id, _names(planned.name)[2]) for planned in slices)
    near = sorted({name for name in known if _is_near(name, identifier)})[:3]
    return (
        f"{identifier}: no slice and no input of this conversion has that name. "
        + (f"Near it: {', '.join(near)}. " if near else "")
        + "Expected an image id, a SOP instance UID (with --hash_key_file, if the conversion had "
        "one), or a file's name."
    )


def _is_near(name: str, identifier: str) -> bool:
    """Whether two names differ in at most two places; fast enough for 750,000 names."""
    if len(name) != len(identifier):
        return False
    return sum(a != b for a, b in zip(name, identifier, strict=True)) <= 2


def _text(value: Any) -> str:
    if value is None:
        return "unlabelled"
    if isinstance(value, dict) and set(value) == set(CLASSES):
        return ", ".join(
            f"{name} {'unknown' if text is None else f'{text:g}'}" for name, text in value.items()
        )
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} ({text})" for name, text in value.items()) or "none"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
