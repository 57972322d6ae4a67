"""Making a plan: orders the series, splits the patients, fills the shards."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.equal_pixels import SharedImages
from ich_tf.conversion.exam_matching import SeriesKey
from ich_tf.conversion.label_rows import union_of_labels
from ich_tf.conversion.mask_index import MaskIndex
from ich_tf.conversion.out_of_reach import OutOfReach, carry_over
from ich_tf.conversion.patients_of_series import refuse_moved_series, warn_of_torn_series
from ich_tf.conversion.plan import Plan, PlannedSeries, PlannedShard, PlannedSlice
from ich_tf.conversion.planned_exams import PlannedExams, split_vector, with_exam
from ich_tf.conversion.planned_masks import PlannedMasks
from ich_tf.conversion.pseudonyms import key_fingerprint, pseudonym
from ich_tf.conversion.selection import SeriesSelection
from ich_tf.conversion.slice_index import IndexedSlice, SliceIndex
from ich_tf.dicom.choice import SeriesChoice
from ich_tf.dicom.geometry import places_along
from ich_tf.dicom.slabs import seams_of, slab_groups
from ich_tf.records import splits
from ich_tf.records.data_files import shard_name
from ich_tf.records.manifest import image_shape

_LOG = logging.getLogger(__name__)
# Measured on a real series: a windowed head compresses to a quarter of its raw bytes.
_BYTES_PER_PIXEL = {"png": 0.25, "raw": 1.0, "hu16": 1.0, "jpeg": 0.17}


def make_plan(
    slices: SliceIndex,
    config: ConversionConfig,
    hash_key: bytes = b"",
    previous: Plan | None = None,
    known_splits: Mapping[str, str] | None = None,
    out_of_reach: OutOfReach | None = None,
    masks: MaskIndex | None = None,
) -> Plan:
    """Plans a conversion.

    Args:
      slices: Index of the slices to convert.
      config: Config of the conversion.
      hash_key: Secret under which ids are hashed; empty for the public key.
      previous: Plan of an earlier run with the same config. Its series keep their shards, so that
        few shards have to be written again.
      known_splits: Split of each patient that the folder ever held; these keep theirs. None or
        empty to deal all.
      out_of_reach: Inputs of which nothing is known; what the earlier plan has of them stays
        planned.
      masks: Masks of the slices; None to convert without masks.

    Returns:
      The plan, whose rejections are the slices that `config.series` or contradictory labels leave
      out, and whose number of inputs is that of the labels of these; without shards if there are no
      slices.

    Raises:
      LeakageError: If a patient is in two splits.
      InputError: If there are too few patients for the folds.
    """
    selection = SeriesSelection(SeriesChoice.parse(config.series))
    exams = (
        PlannedExams(slices.exams, hash_key, slices.is_cut) if slices.exams is not None else None
    )
    planned_config = config.planned(key_fingerprint(hash_key), has_exams=exams is not None)
    series_of: dict[str, list[PlannedSeries]] = {}
    labels: dict[str, list[np.ndarray]] = {}
    to_settle: list[tuple[SeriesKey, PlannedSeries]] = []
    shared = SharedImages()
    planned_masks = PlannedMasks(masks) if masks is not None else None
    same_id: Counter[str] = Counter()
    # Keys of series UIDs that several series have, by which none of them is known again.
    several: set[str] = set()
    patients_of: dict[tuple[str, str], set[str]] = {}
    for ids, members in selection.chosen(slices.by_series()):
        patient, study, key = (pseudonym(identifier, hash_key) for identifier in ids)
        # Readers tell series apart by their key alone, and some archives give one UID to several.
        same_id[ids[2]] += 1
        patients_of.setdefault((study, ids[2]), set()).add(patient)
        if same_id[ids[2]] > 1:
            several.add(key)
            key = pseudonym(f"{ids[2]} {same_id[ids[2]]}", hash_key)
            several.add(key)
        shared.add(patient, [slice_.pixel_hash for slice_ in members])
        planned = _plan_series(
            (patient, study, key), members, hash_key, config.slab_mm, planned_masks
        )
        if exams is not None:
            to_settle.append((ids, planned))
            continue
        series_of.setdefault(patient, []).append(planned)
        rows = [np.array(slice_.labels) for slice_ in members if slice_.labels is not None]
        if rows:
            labels.setdefault(patient, []).append(np.max(rows, axis=0))
    if exams is not None:
        for planned in exams.settle(to_settle):
            series_of.setdefault(planned.keys[0], []).append(planned)
    if previous is not None and out_of_reach:
        carry_over(series_of, labels, previous, out_of_reach)
    rejections = tuple(selection.rejections)
    if exams is not None:
        series_of = {patient: [*map(with_exam, of)] for patient, of in series_of.items()}
        labels = {patient: [*map(split_vector, of)] for patient, of in series_of.items()}
        rejections += tuple(exams.rejections)
    if not series_of:
        return Plan(planned_config, (), {}, rejections)
    selection.log()
    slices.transfer_syntaxes -= selection.transfer_syntaxes
    patients: dict[str, list[str]] = {}
    for patient, split in _split_patients(
        series_of, labels, shared, config, known_splits or {}
    ).items():
        patients.setdefault(split, []).append(patient)
    shards: list[PlannedShard] = []
    for split in sorted(patients):
        patients[split].sort()
        members_of_split = [
            planned for patient in patients[split] for planned in series_of[patient]
        ]
        stored = [shard for shard in previous.shards if shard.split == split] if previous else []
        if stored:
            shards += _refill_shards(split, members_of_split, config, stored)
        else:
            shards += _fill_shards(split, members_of_split, config)
    _check_leakage(shards)
    if previous is not None:
        refuse_moved_series(previous, shards, several)
    split_of = {patient: split for split, members in patients.items() for patient in members}
    warn_of_torn_series(patients_of, split_of)
    return Plan(
        planned_config,
        tuple(shards),
        patients,
        rejections,
        num_inputs=exams.num_shared if exams is not None else 0,
        kinds=selection.kinds(),
        mask_rejections=planned_masks.rejections if planned_masks is not None else (),
        masks_dir=config.masks_dir,
        agreement=slices.exams.rows.agreement if slices.exams is not None else "",
    )


def _check_leakage(shards: Iterable[PlannedShard]) -> None:
    patients: dict[str, set[str]] = {}
    for shard in shards:
        patients.setdefault(shard.split, set()).update(planned.keys[0] for planned in shard.series)
    splits.check_leakage(patients)


def _plan_series(
    keys: tuple[str, str, str],
    members: Sequence[IndexedSlice],
    hash_key: bytes,
    slab_mm: float,
    masks: PlannedMasks | None,
) -> PlannedSeries:
    """The slices or slabs of a series, in order, as records to write."""
    headers = [slice_.header for slice_ in members]
    places = places_along(headers)
    groups = slab_groups(places, slab_mm, seams_of(headers) if slab_mm else ())
    rows = [
        # The id is the one under which the labels were found, so that records join to the CSV.
        PlannedSlice(
            name=slice_.name,
            source_id=pseudonym(slice_.image_id, hash_key),
            patient_key=keys[0],
            study_key=keys[1],
            series_key=keys[2],
            slice_index=position,
            num_slices=len(groups),
            z_mm=round(float(np.mean([places[i] for i in group])), 3),
            labels=union_of_labels([members[i].labels for i in group]),
            frame=slice_.header.frame,
            crop=slice_.crop,
            alternates=slice_.alternates if len(group) == 1 else (),
            members=()
            if len(group) == 1
            else tuple(
                (members[i].name, members[i].header.frame, members[i].header.digest())
                for i in group
            ),
            digest=slice_.header.digest(),
            **(masks.of([members[i] for i in group]) if masks is not None else {}),
        )
        for position, group in enumerate(groups)
        for slice_ in (members[group[len(group) // 2]],)
    ]
    return PlannedSeries.pack(keys, rows)


def _split_patients(
    patients: Iterable[str],
    labels: Mapping[str, Sequence[np.ndarray]],
    shared: SharedImages,
    config: ConversionConfig,
    known: Mapping[str, str],
) -> dict[str, str]:
    """Split of each patient."""
    if not labels:
        return dict.fromkeys(sorted(patients), splits.UNLABELLED)
    vectors = {patient: np.max(labels[patient], axis=0) for patient in patients}
    num_folds, test_fraction = config.num_folds, config.test_fraction
    groups = shared.groups()
    if groups:
        _LOG.info(
            "%d patients share images with others; %d groups of them are each kept in one split",
            *(len(groups), len(set(groups.values()))),
        )
    of_groups = splits.join_labels(vectors, groups)
    if not known:
        dealt = splits.split_patients(of_groups, num_folds, test_fraction, config.seed)
    else:
        known_groups = splits.join_splits(known, groups)
        dealt = splits.place_patients(of_groups, known_groups, num_folds, test_fraction)
    return {
        patient: known.get(patient) or dealt[groups.get(patient, patient)] for patient in vectors
    }


def _fill_shards(
    split: str, members: list[PlannedSeries], config: ConversionConfig
) -> list[PlannedShard]:
    """Deals whole series to shards of about equal size, in an order that the seed determines."""
    num_slices = sum(planned.num_slices for planned in members)
    count = max(1, round(num_slices * _record_bytes(config) / (config.shard_mb * 2**20)))
    count = min(count, len(members))
    bins: list[list[PlannedSeries]] = [[] for _ in range(count)]
    num_dealt = 0
    for planned in _mixed(members, config.seed):
        bins[min(num_dealt * count // num_slices, count - 1)].append(planned)
        num_dealt += planned.num_slices
    bins = [contents for contents in bins if contents]
    return [
        PlannedShard(shard_name(split, i, len(bins)), split, tuple(contents))
        for i, contents in enumerate(bins)
    ]


def _refill_shards(
    split: str,
    members: list[PlannedSeries],
    config: ConversionConfig,
    stored: Sequence[PlannedShard],
) -> list[PlannedShard]:
    """Leaves series in their shards; each new series goes to the smallest shard at that moment."""
    home = {planned.keys: shard.name for shard in stored for planned in shard.series}
    bins: dict[str, list[PlannedSeries]] = {shard.name: [] for shard in stored}
    sizes = dict.fromkeys(bins, 0)
    # Series with a home first: all sizes are known before the first new series is placed.
    ordered = _mixed(members, config.seed)
    for planned in sorted(ordered, key=lambda planned: planned.keys not in home):
        name = home.get(planned.keys) or min(sizes, key=lambda name: (sizes[name], name))
        bins[name].append(planned)
        sizes[name] += planned.num_slices
    largest = max(sizes.values()) * _record_bytes(config) / 2**20
    if largest > 2 * config.shard_mb:
        _LOG.info(
            "a shard of %s has grown to about %.0f MiB; --overwrite deals the series anew",
            split,
            largest,
        )
    return [
        PlannedShard(name, split, tuple(_mixed(contents, config.seed)))
        for name, contents in bins.items()
        if contents
    ]


def _record_bytes(config: ConversionConfig) -> float:
    """Expected size of a record, bytes."""
    rows, columns, channels = image_shape(config.image_size, config.windows, config.encoding)
    return rows * columns * channels * _BYTES_PER_PIXEL[config.encoding]


def _mixed(members: Sequence[PlannedSeries], seed: int) -> list[PlannedSeries]:
    """Series in the order of a hash, in which each keeps its place when others come or go."""

    def place(planned: PlannedSeries) -> str:
        _, study_key, series_key = planned.keys
        return hashlib.sha256(f"{seed}/{series_key}/{study_key}".encode()).hexdigest()

    return sorted(members, key=place)
