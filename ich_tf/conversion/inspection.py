"""One slice of a conversion, traced: its record, its place, its DICOM file, its pixels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ich_tf.conversion.lookup import StoredRecord, stored_records
from ich_tf.conversion.plan import Plan, PlannedShard, PlannedSlice, load_plan
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.conversion.summary import quarantined
from ich_tf.dicom.reasons import Reason, Rejection, Repair
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.records import manifest
from ich_tf.records.images import read_image
from ich_tf.records.schema import SliceRecord
from ich_tf.records.sidecar import read_sidecar
from ich_tf.windows import apply_windows, preset_windows

_CAPTION_ROWS = 20


@dataclass(frozen=True, eq=False)
class FoundSlice:
    """A slice of a conversion.

    Attributes:
      stored: Where its record lies.
      record: What it holds.
      split: `test`, `fold-0` ..., or `unlabelled`.
      source: The folder or archive of the DICOM files.
      windows: The presets of the conversion.
      versions: Of the libraries that wrote it.
    """

    stored: StoredRecord
    record: SliceRecord
    split: str
    source: Path
    windows: tuple[str, ...]
    versions: Mapping[str, str]

    def describe(self) -> dict[str, Any]:
        """All that is known of it but its pixels, as JSON values by name."""
        one, planned, stored = self.record, self.stored.planned, self.stored
        labels = [name for name, label in zip(CLASSES, one.labels, strict=True) if label]
        return {
            "id": one.source_id,
            "labels": labels if one.label_present else None,
            "split": self.split,
            "shard": str(stored.shard),
            "record": stored.number,
            "offset": stored.offset,
            "size": stored.size,
            "dicom": str(self.source / planned.name),
            "frame": planned.frame,
            "dicom_sha256": one.sha256,
            "patient_key": one.patient_key,
            "study_key": one.study_key,
            "series_key": one.series_key,
            "slice_index": one.slice_index,
            "num_slices": one.num_slices,
            "z_mm": one.z_mm,
            "spacing_mm": list(one.spacing_mm),
            "gantry_tilt_deg": one.gantry_tilt_deg,
            "repairs": {name: Repair(name).meaning for name in one.repairs},
            "crop": list(one.crop),
            "format": one.format,
            "shape": [one.height, one.width, one.channels],
            "windows": list(self.windows),
            "versions": self.versions,
        }

    def report(self) -> str:
        """The same, as lines for a person."""
        return "\n".join(f"{name:<16} {_text(value)}" for name, value in self.describe().items())

    def picture(self) -> np.ndarray:
        """The slice in each window, side by side under the windows' names.

        Returns:
          uint8 [rows + 20, columns * windows].
        """
        image = read_image(self.record)
        if self.record.format == "hu16":
            image = apply_windows(image[..., 0], preset_windows(self.windows))
        panels = []
        for channel, name in enumerate(self.windows):
            caption = np.zeros((_CAPTION_ROWS, image.shape[1]), np.uint8)
            cv2.putText(caption, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,))
            panels.append(np.vstack([caption, image[..., channel]]))
        return np.hstack(panels)


def find_slice(data_dir: str | Path, identifier: str, hash_key: bytes = b"") -> FoundSlice:
    """Finds a slice by any of its names.

    Args:
      data_dir: A finished conversion.
      identifier: An image id of the label CSV, an id as it is stored, a SOP instance UID (with
        `/frame` for a frame), or the file's path (within the source, from here, or absolute),
        name, or name without extension.
      hash_key: What the conversion hashed ids with; empty for the public key.

    Raises:
      InputError: If there is no such slice, if there are several, or if it was left out, which
        is told with its reason.
      DataError: If the folder is damaged.
    """
    folder = Path(data_dir)
    manifest.Manifest.load(folder)
    plan, source = load_plan(folder)
    with contextlib.suppress(ValueError):
        # A path from here, or from the root, is one within the source.
        identifier = Path(identifier).absolute().relative_to(source.absolute()).as_posix()
    found = _matches(plan, identifier, hash_key)
    if len(found) > 1:
        several = ", ".join(one.path for _, one in found[:5])
        raise InputError(
            f"{identifier}: is the name of {len(found)} slices ({several}"
            f"{', ...' if len(found) > 5 else ''}). Give the path of one of them."
        )
    if not found:
        line = _left_out(_quarantine(folder, plan), (identifier, pseudonym(identifier, hash_key)))
        raise InputError(line or _unknown(plan, identifier))
    ((shard, planned),) = found
    sidecar = read_sidecar(folder / shard.name)
    for stored in stored_records(folder, shard):
        if stored.planned == planned:
            return FoundSlice(
                stored=stored,
                record=stored.read(),
                split=shard.split,
                source=source,
                windows=tuple(plan.config["windows"]),
                versions=sidecar.versions,
            )
    raise InputError(_left_out(sidecar.quarantine, (planned.path,)))


def _matches(
    plan: Plan, identifier: str, hash_key: bytes
) -> Sequence[tuple[PlannedShard, PlannedSlice]]:
    """The slices of that id or path; if there are none, those whose file has that name."""
    ids = {identifier, pseudonym(identifier, hash_key)}
    exact, loose = [], []
    for shard in plan.shards:
        for one in shard.slices():
            if one.source_id in ids or one.path == identifier:
                exact.append((shard, one))
            elif identifier in _names(one.name):
                loose.append((shard, one))
    return exact or loose


def _names(path: str) -> tuple[str, str, str]:
    """What a file may be called: its path, its name, its name without extension."""
    name = path.rsplit("/", 1)[-1]
    return path, name, name.rsplit(".", 1)[0]


def _quarantine(folder: Path, plan: Plan) -> tuple[Rejection, ...]:
    """Inputs that were left out, from where quarantine.jsonl is made."""
    return quarantined(plan, [read_sidecar(folder / shard.name) for shard in plan.shards])


def _left_out(quarantine: Iterable[Rejection], names: Sequence[str]) -> str:
    """Why an input was left out; empty if it was not."""
    for rejection in quarantine:
        if any(name in _names(rejection.path) for name in names):
            return (
                f"{rejection.path}: was left out at stage {rejection.stage}: {rejection.reason}, "
                f"{rejection.message} ({Reason(rejection.reason).meaning})"
            )
    return ""


def _unknown(plan: Plan, identifier: str) -> str:
    slices = (one for shard in plan.shards for one in shard.slices())
    known = chain.from_iterable((one.source_id, _names(one.name)[2]) for one in slices)
    near = sorted({one for one in known if _is_near(one, identifier)})[:3]
    return (
        f"{identifier}: no slice and no input of this conversion has that name. "
        + (f"Near it: {', '.join(near)}. " if near else "")
        + "Expected an image id, a SOP instance UID (with --hash_key_file, if the conversion had "
        "one), or a file's name."
    )


def _is_near(one: str, other: str) -> bool:
    """Whether two names differ in no more than two places; quick, for 750,000 of them."""
    if len(one) != len(other):
        return False
    return sum(a != b for a, b in zip(one, other, strict=True)) <= 2


def _text(value: Any) -> str:
    if value is None:
        return "unlabelled"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} ({what})" for name, what in value.items()) or "none"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
