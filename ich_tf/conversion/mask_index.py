"""Masks of a conversion by slice: every file is read once, and what it tells is noted."""

from __future__ import annotations

from dataclasses import dataclass

from ich_tf.conversion.mask_files import MaskOptions, list_masks, mask_rejection
from ich_tf.conversion.mask_images import check_images_folder, no_image_of_png
from ich_tf.conversion.mask_labels import SliceMask
from ich_tf.conversion.mask_matching import match_series, match_slices, read_table
from ich_tf.conversion.mask_tasks import (
    PngTask,
    SliceMasks,
    VolumeTask,
    find_mask,
    found_died,
    read_slice,
    read_volume,
    slice_died,
    volume_died,
)
from ich_tf.conversion.slice_index import IndexedSlice, SliceIndex
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.reasons import Rejection
from ich_tf.runtime.executors.base import Executor


@dataclass(frozen=True)
class MaskIndex:
    """Masks by slice.

    Attributes:
      masks: What the masks tell of a slice, by its file's name and its frame.
      rejections: Masks that are not used, with their reasons.
    """

    masks: SliceMasks
    rejections: tuple[Rejection, ...]

    def of(self, slice_: IndexedSlice) -> SliceMask:
        """What the masks tell of a slice; nothing where it has none."""
        return self.masks.get((slice_.name, slice_.header.frame), SliceMask())


def index_masks(
    options: MaskOptions, slices: SliceIndex, listing: SourceListing, executor: Executor
) -> MaskIndex:
    """Reads every mask once, and notes what it tells of the slices that it belongs to.

    Args:
      options: Options of the masks.
      slices: Index of the slices.
      listing: DICOM files.
      executor: Executor whose workers read the masks.

    Raises:
      InputError: If the folder of the masks cannot be listed, or that of their images is missing.
    """
    if options.images is not None:
        check_images_folder(options.images)
    names, rejections = list_masks(options.folder)
    pngs = [name for name in names if _is_png(name, options.format)]
    others = sorted(set(names) - set(pngs))
    results: list[SliceMasks | Rejection] = [*rejections]
    results += _read_pngs(options, pngs, slices, listing, executor)
    results += _read_volumes(options, others, slices, listing, executor)
    masks: SliceMasks = {}
    unused_masks: list[Rejection] = []
    for result in results:
        if isinstance(result, Rejection):
            unused_masks.append(result)
            continue
        for place, mask in result.items():
            masks[place] = masks[place] | mask if place in masks else mask
    unused_masks.sort(key=lambda rejection: rejection.path)
    return MaskIndex(masks, tuple(unused_masks))


def _is_png(name: str, format_: str) -> bool:
    return format_ == "png" or (format_ == "auto" and name.lower().endswith(".png"))


def _read_pngs(
    options: MaskOptions,
    names: list[str],
    slices: SliceIndex,
    listing: SourceListing,
    executor: Executor,
) -> list[SliceMasks | Rejection]:
    matches = match_slices(names, slices, listing)
    tasks, results = [], list[SliceMasks | Rejection]()
    for name in names:
        members = matches.slices.get(name, [])
        if len(members) != 1:
            results.append(mask_rejection(name, matches.error(name)))
            continue
        if options.images is not None:
            results.append(mask_rejection(name, no_image_of_png()))
            continue
        (slice_,) = members
        header = slice_.header
        place = slice_.name, header.frame
        tasks.append(PngTask(options, name, place, header.rows, header.columns))
    return [*results, *executor.map(read_slice, tasks, "masks", slice_died)]


def _read_volumes(
    options: MaskOptions,
    names: list[str],
    slices: SliceIndex,
    listing: SourceListing,
    executor: Executor,
) -> list[SliceMasks | Rejection]:
    results = list[SliceMasks | Rejection]()
    found = []
    for mask in executor.map(find_mask, [(options, name) for name in names], "", found_died):
        if isinstance(mask, Rejection):
            results.append(mask)
        else:
            found.append(mask)
    table, unknown = read_table(options.folder, names)
    matches, unmatched = match_series(found, slices, listing, table)
    results += [*unknown, *unmatched]
    tasks = [VolumeTask(mask, tuple(matches[mask.name])) for mask in found if mask.name in matches]
    return [*results, *executor.map(read_volume, tasks, "masks", volume_died)]
