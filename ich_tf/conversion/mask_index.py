"""Masks of a conversion: which file belongs to which slice, and what it tells of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ich_tf.conversion.mask_labels import SliceMask
from ich_tf.conversion.slice_index import IndexedSlice, SliceIndex
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.reasons import Rejection
from ich_tf.dicom.sources import Source
from ich_tf.dicom.walk import walk
from ich_tf.errors import InputError
from ich_tf.masks.bits import unpack
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.png_masks import read_png
from ich_tf.runtime.executors.base import Executor

# A mask of 4,096 pixels a side is smaller, compressed or not.
_MAX_BYTES = 64 * 2**20
# Name and frame of a slice.
_Place = tuple[str, int]


@dataclass(frozen=True)
class MaskIndex:
    """Masks by slice.

    Attributes:
      masks: What the masks tell of a slice, by its file's name and its frame.
      rejections: Masks that are not used, with their reasons.
    """

    masks: dict[_Place, SliceMask]
    rejections: tuple[Rejection, ...]

    def of(self, slice_: IndexedSlice) -> SliceMask:
        """What the masks tell of a slice; nothing where it has none."""
        return self.masks.get((slice_.name, slice_.header.frame), SliceMask())


def mask_rejection(name: str, error: MaskError) -> Rejection:
    """Line of quarantine.jsonl for a mask that is not used."""
    return Rejection(name, "mask", error.reason.value, str(error))


def read_mask_bytes(path: Path) -> bytes:
    """Content of a mask file.

    Raises:
      MaskError: MASK_UNREADABLE.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise MaskError(
            MaskReason.MASK_UNREADABLE, f"cannot be read ({error.strerror})."
        ) from error
    if len(data) > _MAX_BYTES:
        raise MaskError(
            MaskReason.MASK_FORMAT, f"has more than {_MAX_BYTES >> 20} MiB; expected one slice."
        )
    return data


def index_masks(
    folder: Path, slices: SliceIndex, listing: SourceListing, executor: Executor
) -> MaskIndex:
    """Reads every mask once, and notes what it tells of its slice.

    A mask belongs to the slice whose path within the source, image id, SOP instance UID or file's
    name it has, extensions aside.

    Args:
      folder: Folder of the masks, nested or not.
      slices: Index of the slices.
      listing: DICOM files.
      executor: Executor whose workers read the masks.

    Raises:
      InputError: If the folder cannot be listed.
    """
    names, rejections = _list_masks(folder)
    files = _by_stem(names)
    tasks: dict[str, list[_Task]] = {}
    for _, members in slices.by_series():
        for slice_ in members:
            file = next((files[name] for name in _names(slice_, listing) if name in files), None)
            if file is not None:
                header = slice_.header
                place = slice_.name, header.frame
                task = _Task(folder, file, place, header.rows, header.columns)
                tasks.setdefault(file, []).append(task)
    used = [group[0] for group in tasks.values() if len(group) == 1]
    for name in names:
        group = tasks.get(name, [])
        if len(group) == 1:
            continue
        message = (
            f"has the name of {len(group)} slices; expected a path that names one."
            if group
            else "is the name of no slice of this conversion."
        )
        error = MaskError(MaskReason.MASK_UNUSED, message)
        rejections.append(mask_rejection(name, error))
    masks: dict[_Place, SliceMask] = {}
    results = executor.map(_read, used, "masks", _died)
    for task, result in zip(used, results, strict=True):
        if isinstance(result, Rejection):
            rejections.append(result)
        else:
            masks[task.place] = result
    rejections.sort(key=lambda rejection: rejection.path)
    return MaskIndex(masks, tuple(rejections))


@dataclass(frozen=True, slots=True)
class _Task:
    """A mask to read, and the slice that it belongs to.

    Attributes:
      folder: Folder of the masks.
      name: Path of the mask within it.
      place: Name and frame of the slice.
      rows: Number of rows of the slice, px.
      columns: Number of columns of the slice, px.
    """

    folder: Path
    name: str
    place: _Place
    rows: int
    columns: int


def _read(task: _Task) -> SliceMask | Rejection:
    """Reads a mask. Runs in a worker."""
    try:
        data = read_mask_bytes(task.folder / task.name)
        bits, annotated = read_png(data, task.rows, task.columns)
    except MaskError as error:
        return mask_rejection(task.name, error)
    marked = sum(1 << k for k, mask in enumerate(unpack(bits)) if mask.any())
    return SliceMask(((task.name, hashlib.sha256(data).hexdigest()),), annotated, marked)


def _died(task: _Task) -> SliceMask | Rejection:
    """What stands for a mask that ended its worker twice."""
    error = MaskError(MaskReason.MASK_UNREADABLE, "ended the process that was to read it.")
    return mask_rejection(task.name, error)


def _list_masks(folder: Path) -> tuple[list[str], list[Rejection]]:
    """Paths of the masks, sorted, and what cannot be read."""
    rejections: list[Rejection] = []
    names: list[str] = []
    try:
        for file in walk(folder):
            if file.error is None:
                names.append(file.name)
            else:
                error = MaskError(MaskReason.MASK_UNREADABLE, str(file.error))
                rejections.append(mask_rejection(file.name, error))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}). Expected a folder of masks for "
            "--masks_dir."
        ) from error
    return sorted(names), rejections


def _by_stem(names: Sequence[str]) -> dict[str, str]:
    """Paths of masks by path without extension, and by name alone where only one has it."""
    paths = {_stem(name): name for name in reversed(names)}
    groups: dict[str, list[str]] = {}
    for stem, name in paths.items():
        groups.setdefault(stem.rpartition("/")[2], []).append(name)
    return {**{stem: group[0] for stem, group in groups.items() if len(group) == 1}, **paths}


def _stem(name: str) -> str:
    """Path of a mask without its extension; digits are none, since they end a UID."""
    suffix = PurePosixPath(name).suffix
    return name if suffix[1:].isdecimal() else name.removesuffix(suffix)


def _names(slice_: IndexedSlice, listing: SourceListing) -> list[str]:
    """Stems that the mask of a slice may have, the surest first."""
    within = listing.within(slice_.name)
    frame = f"_{slice_.header.frame}" if slice_.header.frame else ""
    stem = f"{Source(listing.root, within).stem}{frame}"
    ids = slice_.image_id, slice_.header.image_id
    path = str(PurePosixPath(within).with_name(stem))
    return [path, *(name.replace("/", "_") for name in ids), stem]
