"""Inputs that the machine cannot give for now: their records are no longer planned, nor dropped."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from ich_tf.conversion.plan import Plan, PlannedSeries, PlannedShard, PlannedSlice
from ich_tf.dicom.listing import SourceListing
from ich_tf.dicom.reasons import DicomError, Reason, Rejection
from ich_tf.errors import DataError, InputError
from ich_tf.records.shards import committed
from ich_tf.records.sidecar import read_sidecar
from ich_tf.runtime.names import printable

_LOG = logging.getLogger(__name__)


class OutOfReach:
    """Files and folders that could not be read or listed, with all that lies below them."""

    def __init__(self, rejections: Iterable[Rejection]) -> None:
        """Notes the inputs of which nothing is known.

        Args:
          rejections: Inputs that were left out, and why.
        """
        # A link that leads nowhere may have led to a disk that is not mounted.
        self._reasons = {
            rejection.path: rejection.reason
            for rejection in rejections
            if rejection.stage == "index"
            and (
                Reason(rejection.reason).is_of_machine
                or rejection.reason == Reason.NOT_A_FILE.value
            )
        }

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def find(self, name: str) -> str:
        """The file or folder out of reach that a file is or lies in; empty if there is none.

        Args:
          name: Name of the file within the source.
        """
        path = PurePosixPath(printable(name))
        places = (str(place) for place in (path, *path.parents))
        return next((place for place in places if place in self._reasons), "")

    def check_plan_is_known(self, out_dir: Path) -> None:
        """Refuses to plan anew over shards whose plan cannot be read.

        Args:
          out_dir: Output folder, whose plan is damaged or missing.

        Raises:
          InputError: If it holds shards, and inputs are out of reach.
        """
        if self and any(out_dir.glob("*.tfrecord")):
            raise InputError(
                f"{out_dir}: its plan cannot be read, nor can {next(iter(self._reasons))} among "
                "the inputs, so that nothing says which records to keep. Make the inputs readable "
                "and run the same command again, or give --overwrite to replace the conversion."
            )

    def slices(self, shard: PlannedShard) -> list[PlannedSlice]:
        """Slices of a shard whose files are out of reach."""
        if not self:
            return []
        return [slice_ for slice_ in shard.slices() if self.find(slice_.name)]


def carry_over(
    series_of: dict[str, list[PlannedSeries]],
    labels: dict[str, list[np.ndarray]],
    previous: Plan,
    out_of_reach: OutOfReach,
) -> None:
    """Adds the slices of an earlier plan that are out of reach to those of a new one.

    Args:
      series_of: New series of each patient, by key, to which the slices are added.
      labels: Labels of each patient, to which those of the slices are added.
      previous: Earlier plan.
      out_of_reach: Inputs of which nothing is known.
    """
    lost = [
        (series, missing)
        for shard in previous.shards
        for series in shard.series
        if (missing := [slice_ for slice_ in series.slices() if out_of_reach.find(slice_.name)])
    ]
    wanted = {slice_.source_id for _, missing in lost for slice_ in missing}
    # An image that another file holds is not lost.
    planned = {
        slice_.source_id
        for series_list in series_of.values()
        if wanted
        for series in series_list
        for slice_ in series.slices()
        if slice_.source_id in wanted
    }
    count = 0
    for series, missing in lost:
        kept = [slice_ for slice_ in missing if slice_.source_id not in planned]
        if not kept:
            continue
        count += len(kept)
        members = series_of.setdefault(series.keys[0], [])
        at = next((i for i, one in enumerate(members) if one.keys == series.keys), len(members))
        known = [slice_ for one in members[at : at + 1] for slice_ in one.slices()]
        rows = sorted([*known, *kept], key=lambda slice_: slice_.z_mm)
        exam = series
        if at < len(members) and members[at].label_level not in ("", "slice"):
            exam = members[at]
        members[at : at + 1] = [
            replace(
                PlannedSeries.pack(series.keys, rows),
                exam_labels=exam.exam_labels,
                label_level=exam.label_level,
            )
        ]
        for slice_ in kept:
            if slice_.labels is not None and None not in slice_.labels:
                labels.setdefault(series.keys[0], []).append(np.array(slice_.labels))
    if count:
        _LOG.warning(
            "%d images cannot be read for now; they stay as they were planned, and their records "
            "as they were written",
            count,
        )


def with_images_only(rejections: Iterable[Rejection], plan: Plan) -> Iterator[Rejection]:
    """Rejections without those of labels whose images are planned, though out of reach."""
    planned = {slice_.source_id for shard in plan.shards for slice_ in shard.slices()}
    if plan.has_exams:
        planned.update(key for shard in plan.shards for one in shard.series for key in one.keys)
    for rejection in rejections:
        if rejection.reason != Reason.IMAGE_MISSING.value or rejection.path not in planned:
            yield rejection


def to_write(
    out_dir: Path,
    plan: Plan,
    unfinished: Sequence[PlannedShard],
    listing: SourceListing,
    out_of_reach: OutOfReach,
) -> list[PlannedShard]:
    """Chooses among unfinished shards those that can be written without losing records.

    Args:
      out_dir: Output folder.
      plan: Plan of the conversion.
      unfinished: Shards that do not hold what is planned, or whose files cannot be compared.
      listing: DICOM files.
      out_of_reach: Inputs of which nothing is known.

    Raises:
      InputError: If a shard has to be written again that holds records of files out of reach.
    """
    chosen: list[PlannedShard] = []
    for shard in unfinished:
        lost = [
            slice_
            for slice_ in out_of_reach.slices(shard)
            if not _may_be_read(listing, slice_, out_of_reach.find(slice_.name))
        ]
        if not lost:
            chosen.append(shard)
            continue
        try:
            sidecar = read_sidecar(out_dir / shard.name)
        except DataError:
            chosen.append(shard)  # holds nothing that could be lost
            continue
        planned_sha256 = plan.shard_sha256[shard.name]
        if sidecar.plan_sha256 != planned_sha256:
            place = out_of_reach.find(lost[0].name)
            raise InputError(
                f"{place}: cannot be read, and {out_dir / shard.name} holds records of its files. "
                "They would be lost, since other inputs of that shard have changed, so that it "
                "has to be written again. Make the files readable, and run the same command again."
            )
        if committed(out_dir / shard.name, planned_sha256) is None:
            chosen.append(shard)
    return chosen


def _may_be_read(listing: SourceListing, slice_: PlannedSlice, place: str) -> bool:
    """Whether a file can be found in a folder that cannot be listed."""
    if place == printable(slice_.name):
        return False  # its own bytes could not be read
    try:
        return bool(listing.find(slice_.name).stamp())
    except DicomError:
        return False
