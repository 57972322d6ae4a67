"""Feature extraction: records of series for a sequence model, from the runs of all folds.

A patient's features come from the network that was not trained on this patient; those of the test
patients from every network. Data whose slices nobody labelled have no such runs: a single network
that was trained on other data, on none of these patients, gives the features of all of them.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.config import ExtractConfig
from ich_tf.inference.ensemble import Member, find_members
from ich_tf.inference.forward import (
    LogitsFn,
    NetworkOutputs,
    SliceOutputs,
    make_logits_fn,
    predict_split_outputs,
)
from ich_tf.inference.hardware import choose_inference_hardware
from ich_tf.inference.held_out import check_held_out
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.inference.slice_predictor import Predictor, load_member
from ich_tf.models.bundle import refuse_bundle
from ich_tf.models.feature_axes import AXES, Axes, fit_axes, principal_axes, save_axes
from ich_tf.models.origins import Exposure, dump_origins, patient_ids
from ich_tf.models.slice_model import with_features
from ich_tf.records.feature_manifest import (
    EVERY_FOLD,
    FeatureManifest,
    FeatureShard,
    write_series,
)
from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest, num_records
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.records.splits import TEST, fold_name
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.folder_lock import FolderLock
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope

_LOG = logging.getLogger(__name__)


def extract(config: ExtractConfig) -> FeatureManifest:
    """Writes the features of every slice of a conversion that has a label, or whose exam has one.

    Raises:
      InputError: If the runs are not one for each fold of these data, or another run writes to the
        folder.
    """
    manifest = Manifest.load(config.data_dir)
    members = _members(config, manifest)
    folder = Path(config.out_dir)
    with FolderLock(folder, "Or give another --out_dir."):
        return _extract(config, manifest, members, folder)


def _extract(
    config: ExtractConfig, manifest: Manifest, members: Sequence[Member], folder: Path
) -> FeatureManifest:
    hardware = choose_inference_hardware(config.mixed_precision)
    strategy = hardware.strategy
    axes: list[Axes] = []
    reference: np.ndarray | None = None
    shards: list[FeatureShard] = []
    networks = []
    for number, member in enumerate(members):
        with policy_scope(hardware.precision):
            loaded = load_member(member, strategy)
        Predictor([loaded]).check_data(manifest, member.work_dir)
        outputs_fn = make_logits_fn(with_features(loaded.model), strategy)
        neighbours, fold = loaded.spec.neighbours, _held_out_fold(member, manifest)
        sample = _read_sample(manifest, config, outputs_fn, neighbours)
        if reference is None:
            axes.append(principal_axes(sample.features, config.feature_dim))
            reference = axes[0](sample.features)
        else:
            rows = sample.rows_outside(
                [fold_name(_held_out_fold(members[0], manifest)), fold_name(fold)],
                least=2 * config.feature_dim,
            )
            axes.append(
                fit_axes(
                    sample.features[rows], reference[rows], [sample.patients[row] for row in rows]
                )
            )
        _LOG.info(
            "network %d, fold %d: %.2f of the variance of the first one's axes",
            *(number, fold, axes[-1].explained),
        )
        folds = range(manifest.num_folds) if fold == EVERY_FOLD else [fold]
        tested = [TEST] if manifest.patients.get(TEST) else []
        for split in (*map(fold_name, folds), *tested):
            slices = predict_split_outputs(
                manifest, split, config.batch_size, outputs_fn, neighbours
            )
            path = folder / f"{split}.network-{number}.tfrecord"
            series = _series(slices, axes[-1], number, has_exams=manifest.has_exams)
            shards.append(write_series(path, series, split, number))
        networks.append(
            {
                "sha256": loaded.sha256,
                "validation_fold": fold,
                "work_dir": Path(os.path.relpath(member.work_dir, folder)).as_posix(),
                "explained": axes[-1].explained,
            }
        )
        keras.backend.clear_session()
    return _write_manifest(folder, manifest, members, axes, networks, shards)


def _write_manifest(
    folder: Path,
    manifest: Manifest,
    members: Sequence[Member],
    axes: Sequence[Axes],
    networks: Sequence[dict[str, Any]],
    shards: Sequence[FeatureShard],
) -> FeatureManifest:
    save_axes(folder / AXES, axes)
    patients, origins = dump_origins(
        dataclasses.replace(member.origin(), weights_sha256=network["sha256"])
        for member, network in zip(members, networks, strict=True)
    )
    features = FeatureManifest(
        folder=folder,
        axes_sha256=file_sha256(folder / AXES),
        feature_dim=axes[0].weights.shape[1],
        data_sha256=manifest.fingerprint()["sha256"],
        networks=tuple(networks),
        origins={"networks": origins, "patients": patients},
        shards=tuple(shards),
        patients=manifest.patients,
        num_folds=manifest.num_folds,
    )
    features.check_disjoint()
    features.save()
    return features


def _members(config: ExtractConfig, manifest: Manifest) -> list[Member]:
    """Returns the runs of a folder.

    Raises:
      InputError: If they are not one for each fold of these data, nor a single one of others that
        was trained on none of their patients.
    """
    refuse_bundle(config.work_dir, "and features name the folders of the runs that they come from")
    members = find_members(config.work_dir)
    data_sha256 = manifest.fingerprint()["sha256"]
    if len(members) == 1 and members[0].data_sha256() != data_sha256:
        _check_new_patients(members[0], manifest)
        return members
    for member in members:
        if member.data_sha256() != data_sha256:
            raise InputError(
                f"{member.work_dir}: was trained on other data than {config.data_dir} holds. Give "
                "--data_dir the folder that it was trained on."
            )
        check_held_out(member, manifest)
    folds = [member.validation_fold() for member in members]
    if sorted(folds) != list(range(manifest.num_folds)):
        raise InputError(
            f"{config.work_dir}: holds runs that validated on folds {sorted(folds)}; features of "
            f"every patient by a network that did not see him need one for each of "
            f"{manifest.num_folds} folds. Train with --validation_fold=all."
        )
    return members


def _held_out_fold(member: Member, manifest: Manifest) -> int:
    """Fold whose patients a network was not trained on; `EVERY_FOLD` for one of other data."""
    if member.data_sha256() != manifest.fingerprint()["sha256"]:
        return EVERY_FOLD
    return member.validation_fold()


def _check_new_patients(member: Member, manifest: Manifest) -> None:
    """Checks that a network of other data was trained on none of the patients of these.

    Logs a warning where that is not known.

    Raises:
      InputError: If it was, or an epoch of it was chosen by them.
    """
    origin = member.origin()
    exposure = Exposure()
    for split, keys in manifest.patients.items():
        exposure |= origin.exposure(patient_ids(keys), split, manifest.patient_keys)
    seen = exposure.trained | exposure.chosen
    if seen:
        raise InputError(
            f"{member.work_dir}: was trained on other data than {manifest.data_dir} holds, and saw "
            f"{len(seen)} of their patients. Features of patients must come from a network that "
            "did not see them: give the runs of --validation_fold=all on these data, or a run on "
            "data without these patients."
        )
    if not exposure.is_known:
        _LOG.warning(
            "%s: was trained on other data; the patients of %s may be among those that it saw",
            *(member.work_dir, manifest.data_dir),
        )


class _AlignmentSample(NamedTuple):
    """Features of a sample of slices of all folds, the same slices for every network.

    Attributes:
      features: Features of one network, float32 [m, F].
      patients: Patient key of each slice, [m].
      splits: Split of each slice, [m].
    """

    features: np.ndarray
    patients: list[str]
    splits: list[str]

    def rows_outside(self, splits: Sequence[str], least: int) -> np.ndarray:
        """Returns the rows of slices of other splits.

        Args:
          splits: Names of the splits to leave out: those that only one of two networks was trained
            on.
          least: Least number of rows; where fewer are left, all rows are returned.
        """
        outside = ~np.isin(self.splits, splits)
        return np.flatnonzero(outside) if outside.sum() >= least else np.arange(len(outside))


def _read_sample(
    manifest: Manifest, config: ExtractConfig, outputs_fn: LogitsFn, neighbours: int
) -> _AlignmentSample:
    """Computes features of about `num_aligned` slices, in every k-th batch of all folds."""
    shards = manifest.fold_shards(*range(manifest.num_folds))
    num_batches = -(-num_records(shards) // config.batch_size)
    step = max(1, num_batches // max(1, config.num_aligned // config.batch_size))
    batches = eval_batches(
        shards,
        manifest.image_shape,
        batch_size=config.batch_size,
        encoding=manifest.encoding,
        neighbours=neighbours,
    )
    split_of = {
        patient: split for split, patients in manifest.patients.items() for patient in patients
    }
    features: list[np.ndarray] = []
    patients: list[str] = []
    for number, batch in enumerate(batches):
        if number % step:
            continue
        keep = batch["mask"].numpy()
        features.append(NetworkOutputs.split(outputs_fn(batch["image"])[keep]).features)
        patients += [key.decode() for key in batch["patient_key"].numpy()[keep]]
    splits = [split_of[key] for key in patients]
    return _AlignmentSample(np.concatenate(features), patients, splits)


def _series(
    slices: SliceOutputs, axes: Axes, network: int, *, has_exams: bool
) -> Iterator[SeriesFeatures]:
    """Yields the series of a split with aligned features, sorted by key."""
    logits, features = NetworkOutputs.split(slices.outputs)
    features = axes(features)
    groups = rows_of(slices.series_key)
    for key in sorted(groups):
        rows = groups[key][np.argsort(slices.slice_index[groups[key]], kind="stable")]
        first = rows[0]
        spacing_mm = slices.spacing_mm[first]
        yield SeriesFeatures(
            series_key=key,
            patient_key=slices.patient_key[first],
            scanner=slices.scanner[first],
            network=network,
            source_id=tuple(slices.source_id[row] for row in rows),
            slice_index=slices.slice_index[rows],
            z_mm=slices.z_mm[rows],
            spacing_mm=(float(spacing_mm[0]), float(spacing_mm[1])),
            gantry_tilt_deg=float(slices.gantry_tilt_deg[first]),
            labels=slices.labels[rows],
            logits=logits[rows],
            features=features[rows],
            exam_labels=slices.exam_labels[first] if has_exams else None,
        )


def summary(manifest: FeatureManifest) -> str:
    """Describes written features in a few lines."""
    lines = [
        f"{manifest.folder}: {sum(shard.num_slices for shard in manifest.shards)} slices, "
        f"{manifest.feature_dim} numbers each"
    ]
    lines += [
        f"  {shard.name}: {shard.num_series} series, {shard.num_slices} slices, by network "
        f"{shard.network}"
        for shard in manifest.shards
    ]
    return "\n".join(lines)
