"""Features of series: each patient's by the network that was not trained on this patient."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf.errors import DataError, InputError
from ich_tf.inference.config import ExtractConfig
from ich_tf.inference.feature_extraction import extract
from ich_tf.labels import CLASSES
from ich_tf.records.example import decode
from ich_tf.records.feature_manifest import FeatureManifest
from ich_tf.records.known_labels import known_labels
from ich_tf.records.manifest import Manifest
from ich_tf.records.series_features import SeriesFeatures, flat
from ich_tf.records.tfrecord import read_records
from ich_tf.runtime.files import write_json
from ich_tf.runtime.strategies import Worker
from ich_tf.training.config import TrainConfig
from ich_tf.training.trainer import make_task

# Networks of all folds are trained for them.
pytestmark = pytest.mark.slow


@pytest.fixture
def features_copy(features_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(features_dir, tmp_path / "f"))


def test_every_slice_once_by_the_network_that_did_not_see_its_patient(
    data_dir: Path, folds_dir: Path, features_dir: Path
) -> None:
    manifest = Manifest.load(data_dir)
    features = FeatureManifest.load(features_dir)
    assert features.num_folds == 3 and len(features.networks) == 3
    oof = pd.read_csv(folds_dir / "oof_predictions.csv").set_index("source_id")
    folds = [f"fold-{fold}" for fold in range(3)]
    series = list(features.read(*folds))
    ids = [source_id for one_series in series for source_id in one_series.source_id]
    assert sorted(ids) == sorted(oof.index)
    for one_series in series:
        fold = features.networks[one_series.network]["validation_fold"]
        assert one_series.patient_key in manifest.patients[f"fold-{fold}"]
        assert one_series.slice_index.tolist() == sorted(one_series.slice_index)
        assert (np.diff(one_series.z_mm) > 0).all()
        rows = oof.loc[list(one_series.source_id)]
        np.testing.assert_allclose(
            one_series.logits, rows[[f"logit_{name}" for name in CLASSES]], atol=1e-4
        )
        np.testing.assert_array_equal(
            one_series.labels, rows[[f"label_{name}" for name in CLASSES]]
        )
        assert one_series.features.shape == (len(one_series), features.feature_dim)
    test = list(features.read("test"))
    assert {one_series.network for one_series in test} == {0, 1, 2}
    assert {one_series.patient_key for one_series in test} == set(manifest.patients["test"])
    assert np.isfinite(flat(series, "features")).all()


def test_counts_and_hashes_stand_in_the_manifest(features_copy: Path) -> None:
    features = FeatureManifest.load(features_copy)
    for shard in features.shards:
        of_network = [
            one_series
            for one_series in features.read(shard.split)
            if one_series.network == shard.network
        ]
        assert (shard.num_series, shard.num_slices) == (len(of_network), sum(map(len, of_network)))
        assert shard.label_counts == tuple(flat(of_network, "labels").sum(axis=0).astype(int))
    path = features_copy / features.shards[0].name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="missing or damaged"):
        FeatureManifest.load(features_copy)


def test_features_of_a_network_that_saw_the_patient_are_refused(features_copy: Path) -> None:
    content = json.loads((features_copy / "features.json").read_text())
    swapped = {**content, "networks": content["networks"][::-1]}
    write_json(features_copy / "features.json", swapped)
    with pytest.raises(DataError, match="by a network that was trained on it"):
        FeatureManifest.load(features_copy)
    patients = {**content["patients"], "test": content["patients"]["fold-1"]}
    write_json(features_copy / "features.json", {**content, "patients": patients})
    with pytest.raises(DataError, match="patients are in two splits"):
        FeatureManifest.load(features_copy)


def test_a_record_survives_the_disk(features_dir: Path) -> None:
    record = next(FeatureManifest.load(features_dir).read("fold-0"))
    again = SeriesFeatures.decode(record.encode())
    for field in dataclasses.fields(record):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(record, field.name))
    assert again.encode() == record.encode()


def test_runs_that_are_not_one_a_fold_are_refused(
    data_dir: Path, folds_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    config = ExtractConfig(data_dir=str(data_dir), out_dir=str(tmp_path / "f"))
    with pytest.raises(InputError, match=r"validated on folds \[0\]"):
        extract(dataclasses.replace(config, work_dir=str(work_dir)))
    copied = Path(shutil.copytree(folds_dir, tmp_path / "w"))
    run = json.loads((copied / "fold-1/run.json").read_text())
    run["data"]["sha256"] = "0" * 64
    (copied / "fold-1/run.json").write_text(json.dumps(run))
    with pytest.raises(InputError, match="trained on other data"):
        extract(dataclasses.replace(config, work_dir=str(copied)))
    assert not (tmp_path / "f").exists()


def extract_config(data_dir: Path, work_dir: Path, folder: Path) -> ExtractConfig:
    return ExtractConfig(
        data_dir=str(data_dir), work_dir=str(work_dir), out_dir=str(folder), feature_dim=4,
        num_aligned=100, batch_size=16,
    )  # fmt: skip


def test_a_network_of_other_patients_gives_the_features_of_all(
    mixed_dir: Path, work_dir: Path, tmp_path: Path
) -> None:
    manifest = Manifest.load(mixed_dir)
    with pytest.raises(InputError, match="trained on other data .* saw .* of their patients"):
        extract(extract_config(mixed_dir, work_dir, tmp_path / "f"))
    other = Path(shutil.copytree(work_dir, tmp_path / "w"))
    run = json.loads((other / "run.json").read_text())
    for folds in run["patients"].values():
        for fold, ids in folds.items():
            folds[fold] = [f"other {name}" for name in ids]
    (other / "run.json").write_text(json.dumps(run))
    features = extract(extract_config(mixed_dir, other, tmp_path / "f"))
    splits = [shard.split for shard in features.shards]
    assert sorted(splits) == ["fold-0", "fold-1", "fold-2", "test"]
    loaded = FeatureManifest.load(tmp_path / "f")
    records = {
        record.source_id: record
        for shard in manifest.shards
        for record in map(decode, read_records(shard.path))
    }
    series = list(loaded.read(*splits))
    assert sum(map(len, series)) == len(records)
    for one_series in series:
        of_series = [records[source_id] for source_id in one_series.source_id]
        np.testing.assert_array_equal(one_series.labels, [known_labels(one) for one in of_series])
        np.testing.assert_array_equal(one_series.exam_labels, of_series[0].exam_labels)
    task = make_task(
        TrainConfig(
            data_dir=str(tmp_path / "f"), work_dir=str(tmp_path / "s"), backbone="attention",
            weights="none", batch_size=2,
        )
    )  # fmt: skip
    task.deal(Worker(0, 1, 1))
    assert task.spec.validation_folds == (-1,) and task.steps
