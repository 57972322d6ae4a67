"""Series whose patient is in doubt: of one UID under several ids, or of another id than before."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from ich_tf.conversion.plan import Plan, PlannedShard
from ich_tf.errors import InputError
from ich_tf.records.splits import UNLABELLED

_LOG = logging.getLogger(__name__)


def warn_of_torn_series(
    patients: Mapping[tuple[str, str], Iterable[str]], split_of: Mapping[str, str]
) -> None:
    """Warns of series that stand under several patients: an id tore slices of one head apart.

    Args:
      patients: Study and series -> keys of their patients.
      split_of: Split of each patient.
    """
    torn = [set(of_series) for of_series in patients.values()]
    torn = [of_series for of_series in torn if len(of_series) > 1]
    if not torn:
        return
    in_two = sum(len({split_of.get(patient) for patient in of_series}) > 1 for of_series in torn)
    _LOG.warning(
        "%d series UIDs stand under several PatientIDs, %d of them in several splits: where one "
        "scan has two ids, as 0123 and 123, its slices are two series, and are trained and tested "
        "on. Correct the ids.",
        *(len(torn), in_two),
    )


def refuse_moved_series(
    previous: Plan, shards: Iterable[PlannedShard], several: Collection[str]
) -> None:
    """Refuses a plan by which series leave their split, since their patients have other ids now.

    Args:
      previous: Plan that the folder holds.
      shards: Shards of the new plan.
      several: Keys by which no series is known again, since several have had them.

    Raises:
      InputError: If a series is in another split than before.
    """
    before, now = _splits(previous.shards), _splits(shards)
    known = (before.keys() & now.keys()) - set(several)
    moved = [(before[key], now[key]) for key in known if before[key] != now[key]]
    if moved:
        old, new = min(moved)
        raise InputError(
            f"{len(moved)} series would move to another split, such as from {old} to {new}: they "
            "have other patients than in the conversion that the folder holds, by corrected ids or "
            "by --nifti_csv. Models would be tested on what they were trained on. Give the former "
            "ids, another --out_dir, or --overwrite to deal all patients anew."
        )


def _splits(shards: Iterable[PlannedShard]) -> dict[str, str]:
    """Split of each labelled series, by its key."""
    return {
        series.keys[2]: shard.split
        for shard in shards
        if shard.split != UNLABELLED
        for series in shard.series
    }
