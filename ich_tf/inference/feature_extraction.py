"""Slices' records and the runs of all folds -> records of series, for a sequence model.

A patient's features come from the network that did not train on him; those of the test patients
from every network.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.errors import InputError
from ich_tf.inference.config import ExtractConfig
from ich_tf.inference.ensemble import Member, find_members
from ich_tf.inference.forward import NetworkOutputs, SliceOutputs, make_logits_fn, predict_outputs
from ich_tf.inference.postprocessing.smoothing import rows_of
from ich_tf.inference.slice_predictor import Predictor, load_member
from ich_tf.labels import CLASSES
from ich_tf.models.feature_axes import AXES, Axes, fit_axes, principal_axes, save_axes
from ich_tf.models.slice_model import with_features
from ich_tf.records.feature_manifest import FeatureManifest, write_series
from ich_tf.records.input_pipeline import eval_batches
from ich_tf.records.manifest import Manifest, Shard, damage_named, num_records
from ich_tf.records.series_features import SeriesFeatures
from ich_tf.records.splits import fold_name
from ich_tf.runtime.files import file_sha256
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import make_strategy

_LOG = logging.getLogger(__name__)
TEST = "test"


def extract(config: ExtractConfig) -> FeatureManifest:
    """Writes the features of every labelled slice of a conversion.

    Raises:
      InputError: If the runs are not one for each fold of these data.
    """
    manifest = Manifest.load(config.data_dir)
    members = _members(config, manifest)
    strategy = make_strategy("mirrored")
    folder = Path(config.out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    axes: list[Axes] = []
    shards, networks = [], []
    reference: np.ndarray | None = None
    sample = _Sample(manifest, config)
    for number, member in enumerate(members):
        loaded = load_member(member, strategy)
        Predictor([loaded]).check_data(manifest, member.work_dir)
        outputs_fn = make_logits_fn(with_features(loaded.model), strategy)
        fold = member.validation_fold()
        found = sample.outputs(outputs_fn, loaded.spec.neighbours)[:, len(CLASSES) :]
        if reference is None:
            axes.append(principal_axes(found, config.feature_dim))
            reference = axes[0](found)
        else:
            rows = sample.outside(fold_name(members[0].validation_fold()), fold_name(fold))
            axes.append(fit_axes(found[rows], reference[rows]))
        _LOG.info(
            "network %d, fold %d: %.2f of the variance of the first one's axes",
            *(number, fold, axes[-1].explained),
        )
        splits = [fold_name(fold), *([TEST] if manifest.patients.get(TEST) else [])]
        for split in splits:
            own = manifest.split_shards(split)
            batches = eval_batches(
                own,
                manifest.image_shape,
                batch_size=config.batch_size,
                encoding=manifest.encoding,
                neighbours=loaded.spec.neighbours,
            )
            with damage_named(own):
                outputs = predict_outputs(outputs_fn, batches, num_records(own))
            series = _series(outputs, axes[-1], number)
            path = folder / f"{split}.network-{number}.tfrecord"
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
    save_axes(folder / AXES, axes)
    written = FeatureManifest(
        folder=folder,
        axes_sha256=file_sha256(folder / AXES),
        feature_dim=axes[0].weights.shape[1],
        data_sha256=manifest.fingerprint()["sha256"],
        networks=tuple(networks),
        shards=tuple(shards),
        patients=manifest.patients,
        num_folds=manifest.num_folds,
    )
    written.check_disjoint()
    written.save()
    return written


def _members(config: ExtractConfig, manifest: Manifest) -> list[Member]:
    """A run for each fold, of these data."""
    members = find_members(config.work_dir)
    data_sha256 = manifest.fingerprint()["sha256"]
    for one in members:
        if one.data_sha256() != data_sha256:
            raise InputError(
                f"{one.work_dir}: was trained on other data than {config.data_dir} holds. Give "
                "--data_dir the folder that it was trained on."
            )
    folds = [one.validation_fold() for one in members]
    if sorted(folds) != list(range(manifest.num_folds)):
        raise InputError(
            f"{config.work_dir}: holds runs that validated on folds {sorted(folds)}; features of "
            f"every patient by a network that did not see him need one for each of "
            f"{manifest.num_folds} folds. Train with --validation_fold=all."
        )
    return members


class _Sample:
    """Some slices of all folds, the same for every network."""

    def __init__(self, manifest: Manifest, config: ExtractConfig) -> None:
        self._manifest, self._config = manifest, config
        self._shards: list[Shard] = manifest.fold_shards(*range(manifest.num_folds))
        batches = -(-num_records(self._shards) // config.batch_size)
        wanted = max(1, config.num_aligned // config.batch_size)
        self._every = max(1, batches // wanted)
        self._splits: list[str] = []

    def outputs(self, outputs_fn: Any, neighbours: int) -> np.ndarray:
        """What a network says of them, [m, 6 + F]."""
        batches = eval_batches(
            self._shards,
            self._manifest.image_shape,
            batch_size=self._config.batch_size,
            encoding=self._manifest.encoding,
            neighbours=neighbours,
        )
        split_of = {
            patient: split
            for split, patients in self._manifest.patients.items()
            for patient in patients
        }
        found, splits = [], []
        for number, batch in enumerate(batches):
            if number % self._every:
                continue
            keep = batch["mask"].numpy()
            found.append(outputs_fn(batch["image"])[keep])
            splits += [split_of[key.decode()] for key in batch["patient_key"].numpy()[keep]]
        self._splits = splits
        return np.concatenate(found)

    def outside(self, *splits: str) -> np.ndarray:
        """Which of them are in none of some splits; all, where that leaves too few."""
        rows = ~np.isin(self._splits, splits)
        enough = rows.sum() >= 2 * self._config.feature_dim
        return np.flatnonzero(rows) if enough else np.arange(len(rows))


def _series(outputs: SliceOutputs, axes: Axes, network: int) -> Iterator[SeriesFeatures]:
    """The series of a split, sorted by key."""
    logits, features = NetworkOutputs.split(outputs.outputs)
    features = axes(features)
    groups = rows_of(outputs.series_key)
    for key in sorted(groups):
        rows = groups[key][np.argsort(outputs.slice_index[groups[key]], kind="stable")]
        first = rows[0]
        yield SeriesFeatures(
            series_key=key,
            patient_key=outputs.patient_key[first],
            scanner=outputs.scanner[first],
            network=network,
            source_id=tuple(outputs.source_id[row] for row in rows),
            slice_index=outputs.slice_index[rows],
            z_mm=outputs.z_mm[rows],
            spacing_mm=_pair(outputs.spacing_mm[first]),
            gantry_tilt_deg=float(outputs.gantry_tilt_deg[first]),
            labels=outputs.labels[rows],
            logits=logits[rows],
            features=features[rows],
        )


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def summary(manifest: FeatureManifest) -> str:
    """A few lines for a person."""
    lines = [
        f"{manifest.folder}: {sum(one.num_slices for one in manifest.shards)} slices, "
        f"{manifest.feature_dim} numbers each"
    ]
    lines += [
        f"  {one.name}: {one.num_series} series, {one.num_slices} slices, by network {one.network}"
        for one in manifest.shards
    ]
    return "\n".join(lines)
