"""The whole conversion: index, plan, write, sum up; an interrupted one is resumed."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.index import index
from ich_tf.conversion.input_folder import check_folders, list_inputs
from ich_tf.conversion.known_splits import known_splits, with_planned
from ich_tf.conversion.label_sources import read_labels
from ich_tf.conversion.mask_index import index_masks
from ich_tf.conversion.nifti_ids import NiftiIds
from ich_tf.conversion.out_of_reach import OutOfReach, to_write, with_images_only
from ich_tf.conversion.output_folder import (
    remove_other_shards,
    stored_plan,
    unfinished_shards,
)
from ich_tf.conversion.patients import NO_PATIENT
from ich_tf.conversion.plan import Plan, PlannedShard, save_plan
from ich_tf.conversion.planning import make_plan
from ich_tf.conversion.pseudonyms import read_hash_key
from ich_tf.conversion.runners import make_executor
from ich_tf.conversion.side_by_side import side_by_side
from ich_tf.conversion.slice_index import SliceIndex
from ich_tf.conversion.summary import ConversionResult, finish
from ich_tf.conversion.write_shard import shard_tasks, write_carefully, write_shard
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.reasons import Reason, Rejection
from ich_tf.errors import InputError
from ich_tf.records import data_files
from ich_tf.records.dealt_splits import save_splits
from ich_tf.runtime import files
from ich_tf.runtime.executors.base import Executor
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.runtime.writing import writing

_LOG = logging.getLogger(__name__)


def convert(config: ConversionConfig) -> ConversionResult:
    """Converts DICOM files into a folder of shards.

    A second run over the same inputs keeps every finished shard and writes the others. If inputs
    were added or corrected, it writes the shards that contain them again.

    Args:
      config: Config of the conversion.

    Raises:
      InputError: If the sources, the labels or the output folder cannot be used, or another run
        writes to the folder.

    Examples:
      result = convert(ConversionConfig(dicom_dir="head_ct", labels_csv="", out_dir="tfrecords"))
      print(result.report())
    """
    out_dir = Path(config.out_dir)
    check_folders(config)
    with FolderLock(out_dir, "Or give another --out_dir.") as lock:
        return _convert(config, out_dir, lock.owner)


def _convert(config: ConversionConfig, out_dir: Path, owner: str) -> ConversionResult:
    listing = list_inputs(config)
    previous = stored_plan(out_dir, config)
    known = known_splits(out_dir, config, previous)
    files.remove_temporaries(out_dir)
    with make_executor(config) as executor:
        plan, _ = plan_conversion(config, listing, executor, previous, known)
        rehash = config.verify == "full"
        unfinished = unfinished_shards(out_dir, plan, listing, executor, rehash=rehash)
        unfinished = to_write(out_dir, plan, unfinished, listing, OutOfReach(plan.rejections))
        kept = len(plan.shards) - len(unfinished)
        if kept:
            _LOG.info("%d of %d shards are done already", kept, len(plan.shards))
        if unfinished or previous is None or previous.sha256 != plan.sha256:
            (out_dir / data_files.SUCCESS).unlink(missing_ok=True)
        # Before the plan: no patient has a split that only a plan knows.
        save_splits(out_dir, with_planned(known, plan))
        save_plan(out_dir, plan, listing.root)
        remove_other_shards(out_dir, plan)
        write_shards(plan, unfinished, listing, out_dir, executor, owner)
    # Left by workers of a cluster that were killed while others finished their work.
    files.remove_temporaries(out_dir)
    return finish(out_dir, plan, kept)


# The index is a temporary database.
@writing("the folder of temporary files (TMPDIR)", sqlite3.Error)
def plan_conversion(
    config: ConversionConfig,
    listing: SourceListing,
    executor: Executor,
    previous: Plan | None = None,
    known: Mapping[str, str] | None = None,
) -> tuple[Plan, SliceIndex]:
    """Reads the header of every file, and plans the shards.

    Args:
      config: Config of the conversion.
      listing: DICOM files.
      executor: Executor that reads the headers.
      previous: Plan that is stored in the output folder; None if there is none.
      known: Split of each patient that the folder ever held; None or empty to deal all.

    Returns:
      The plan, and the index of the slices.

    Raises:
      InputError: If nothing can be converted, the masks cannot be listed, or too many images of the
        stored conversion are no longer among the inputs.
    """
    # Both files are read first, so that their errors are reported at once.
    hash_key = read_hash_key(config.hash_key_file)
    labels = read_labels(config)
    slices, rejections = index(
        listing,
        executor,
        labels.slices,
        config.crop,
        config.patient_from,
        hash_key,
        config.image_size if config.join_duplicates else 0,
        NiftiIds.from_csv(config.nifti_csv) if config.nifti_csv else None,
        labels.exams,
        may_name_exams=labels.may_name_exams,
    )
    labels.check(slices.exams)
    out_of_reach = OutOfReach(rejections)
    if previous is None and not config.overwrite:
        out_of_reach.check_plan_is_known(Path(config.out_dir))
    masks = None
    if config.masks_dir:
        masks = index_masks(config.mask_options(), slices, listing, executor)
    plan = make_plan(slices, config, hash_key, previous, known, out_of_reach, masks)
    if out_of_reach:
        rejections = [*with_images_only(rejections, plan)]
    rejections += plan.rejections
    if not plan.shards:
        csvs = [path for path in (config.labels_csv, config.exam_labels_csv) if path]
        advice = ""
        if any(rejection.message == NO_PATIENT for rejection in rejections):
            advice += f" In some of them, {NO_PATIENT}"
        if labels and config.dry_run:
            advice += f"\n{side_by_side(slices, config.label_key)}"
        elif (slices.has_unlabelled and slices.unused_ids) or slices.without_labels:
            advice += " --dry_run shows labels and files that do not join side by side."
        raise InputError(
            f"{config.dicom_dir}: none of {len(listing)} files can be converted "
            f"({_commonest(rejections)}{_first(rejections)}). Expected axial head CT slices"
            + (f" whose ids are in {' or '.join(csvs)}." if labels else ".")
            + advice.rstrip("\n")
        )
    num_missing = sum(rejection.reason == Reason.IMAGE_MISSING.value for rejection in rejections)
    num_inputs = len(listing) + num_missing + plan.num_inputs
    if slices.exams is not None:
        num_inputs += len(slices.exams.ambiguous)
    plan = replace(plan, rejections=tuple(rejections), num_inputs=num_inputs)
    if previous is not None:
        _check_losses(previous, plan, config)
    return plan, slices


def write_shards(
    plan: Plan,
    planned: Sequence[PlannedShard],
    listing: SourceListing,
    out_dir: Path,
    executor: Executor,
    owner: str = "",
) -> None:
    """Writes some of a plan's shards.

    Args:
      plan: The whole plan.
      planned: Shards to write.
      listing: DICOM files.
      out_dir: Folder to write the shards to.
      executor: Executor that writes the shards.
      owner: Owner of the folder's lock; empty if it has none.
    """
    tasks = shard_tasks(plan, planned, listing, out_dir, owner)
    for _ in executor.map(write_shard, tasks, "shards", write_carefully):
        pass


def too_many_bad(
    rejections: Mapping[str, int], num_inputs: int, config: ConversionConfig
) -> str | None:
    """Error message if more inputs were left out than the config allows; None if not.

    Args:
      rejections: Number of inputs that could not be used, by reason code; without slices of
        series that were not chosen.
      num_inputs: Number of inputs.
      config: Config of the conversion.
    """
    count = sum(rejections.values())
    if count <= config.max_bad_fraction * num_inputs:
        return None
    commonest = ", ".join(f"{count} {reason}" for reason, count in rejections.items())
    advice = (
        f"Run without --dry_run for each input's reason in {data_files.QUARANTINE}"
        if config.dry_run
        else f"The rest is converted. See {Path(config.out_dir) / data_files.QUARANTINE} for each "
        "input's reason"
    )
    return (
        f"{count} of {num_inputs} inputs are left out ({commonest}), more than "
        f"--max_bad_fraction={config.max_bad_fraction:g}. {advice}; if this is to be expected, "
        "raise the flag."
    )


def _check_losses(previous: Plan, plan: Plan, config: ConversionConfig) -> None:
    """Checks that few images of the stored conversion are missing from the new plan.

    Raises:
      InputError: If their share is above `max_bad_fraction`.
    """
    # Few, as a rule: the ids of all images of a large conversion take a tenth of a gigabyte.
    changed = [
        shard
        for shard in previous.shards
        if plan.shard_sha256.get(shard.name) != previous.shard_sha256[shard.name]
    ]
    if not changed:
        return
    planned_ids = {slice_.source_id for shard in plan.shards for slice_ in shard.slices()}
    # A better series has come: what it replaces is there still.
    not_chosen = {line.path for line in plan.rejections if Reason(line.reason).is_choice}
    num_stored = sum(shard.num_slices for shard in previous.shards)
    lost = [
        slice_.source_id
        for shard in changed
        for slice_ in shard.slices()
        if slice_.source_id not in planned_ids and slice_.path not in not_chosen
    ]
    if len(lost) > config.max_bad_fraction * num_stored:
        raise InputError(
            f"{config.out_dir}: {len(lost)} of the {num_stored} images of this conversion are "
            f"no longer among the inputs, the first {lost[0]}. If they are meant to go, raise "
            "--max_bad_fraction; if this is another data set, give another --out_dir, or "
            "--overwrite to replace it."
        )
    if lost:
        _LOG.info("%d images are no longer among the inputs; their records are removed", len(lost))


def _first(rejections: Sequence[Rejection]) -> str:
    """Phrase about the first input that was left out; a label's path is no file's."""
    files = (one for one in rejections if one.reason != Reason.IMAGE_MISSING.value)
    return next((f"; the first, {one.path}: {one.message.rstrip('.')}" for one in files), "")


def _commonest(rejections: Sequence[Rejection]) -> str:
    counts = Counter(rejection.reason for rejection in rejections)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common(4)) or "none"
