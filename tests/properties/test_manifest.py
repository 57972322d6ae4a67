"""manifest.json and sidecars: any change of a valid file is a valid one, or one error."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.conversion.equal_pixels import stored_equal_pixels
from ich_tf.conversion.summary import retry_remark
from ich_tf.dicom.pixel_hash import hashes_text
from ich_tf.dicom.reasons import Rejection
from ich_tf.errors import DataError
from ich_tf.labels import CLASSES
from ich_tf.records.data_files import MANIFEST, SUCCESS, sidecar_path
from ich_tf.records.exam_statistics import ExamStatistics
from ich_tf.records.manifest import Manifest, deal_shards, label_counts
from ich_tf.records.mask_statistics import MaskStatistics
from ich_tf.records.sidecar import Sidecar, read_sidecar
from ich_tf.records.statistics import HISTOGRAM_BINS, SliceStatistics
from tests.support.strategies import damaged, file_texts, mutated_json, refused_in_a_paragraph


def content() -> dict[str, Any]:
    """A manifest as `make_tfrecords` writes it, of two empty shards."""
    shards = [
        {
            "name": f"{split}-00000-of-00001.tfrecord",
            "split": split,
            "num_records": 4,
            "num_bytes": 0,
            "sha256": hashlib.sha256().hexdigest(),
            "label_counts": [1, 0, 0, 0, 2, 3],
        }
        for split in ("fold-0", "fold-1")
    ]
    config = {
        "image_size": 64,
        "windows": ["brain", "subdural"],
        "crop": "none",
        "encoding": "png",
        "num_folds": 2,
        "schema_version": 4,
        "patient_from": "id",
        "hash_key": "",
    }
    return {
        "schema_version": 4,
        "config": config,
        "classes": [*CLASSES],
        "num_records": 8,
        "num_folds": 2,
        "patients": {"fold-0": ["a", "b"], "fold-1": ["c"]},
        "equal_pixels": {"images": 0, "patients": 0, "images_in_two_splits": 0},
        "quarantine": {"NOT_CT": 1, "NO_DECODER": 2},
        "to_retry": 2,
        "masks": {"marked": dict.fromkeys(CLASSES, 1)},
        "shards": shards,
    }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / SUCCESS).touch()
    for shard in content()["shards"]:
        (folder / shard["name"]).touch()
    return folder


@given(mutated_json(content()))
@example(json.dumps({**content(), "schema_version": 4.0}))
@example(json.dumps({**content(), "shards": [{**content()["shards"][0], "name": "a" * 300}]}))
@example(json.dumps({**content(), "shards": [{**content()["shards"][0], "name": "../x"}]}))
@example(json.dumps({**content(), "shards": [{**content()["shards"][0], "name": "a\0b"}]}))
@example(json.dumps({**content(), "masks": {"marked": []}}))
@example(json.dumps({**content(), "equal_pixels": {"images": -1}}))
@example("[" * 100_000)
@example('"\\ud800"')
def test_a_changed_manifest_is_a_manifest_or_refused(data_dir: Path, text: str) -> None:
    (data_dir / MANIFEST).write_text(text, "utf-8")
    with refused_in_a_paragraph(data_dir):
        check_manifest(Manifest.load(data_dir))
    with refused_in_a_paragraph(data_dir):
        assert stored_equal_pixels(data_dir).images >= 0
    with refused_in_a_paragraph(data_dir):
        retry_remark(data_dir)


@given(st.data())
def test_a_damaged_manifest_is_a_manifest_or_refused(data_dir: Path, data: st.DataObject) -> None:
    valid = json.dumps(content()).encode()
    (data_dir / MANIFEST).write_bytes(data.draw(st.one_of(damaged(valid), st.binary(max_size=50))))
    with refused_in_a_paragraph(data_dir):
        check_manifest(Manifest.load(data_dir))


def check_manifest(manifest: Manifest) -> None:
    """What readers do with a manifest."""
    manifest.fingerprint()
    assert all(type(size) is int for size in manifest.image_shape)
    assert label_counts(manifest.shards).shape == (len(CLASSES),)
    assert all(shard.path.parent == manifest.data_dir for shard in manifest.shards)
    for split in ("fold-0", "test"):
        with refused_in_a_paragraph(manifest.data_dir):
            manifest.split_shards(split)
    with refused_in_a_paragraph(manifest.data_dir):
        manifest.train_shards(1)
    with refused_in_a_paragraph("shards"):
        deal_shards(manifest.shards, 2)


def test_a_manifest_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / SUCCESS).touch()
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(DataError, match=MANIFEST):
        Manifest.load(tmp_path)


counts = st.integers(0, 2**53)
by_name = st.dictionaries(file_texts(8), counts, max_size=3)
by_class = st.tuples(*[counts] * len(CLASSES))
rejections = st.builds(
    Rejection,
    path=st.text(max_size=9),
    stage=st.sampled_from(("index", "plan", "execute")),
    reason=st.sampled_from(("NOT_CT", "NO_DECODER")),
    message=file_texts(9),
    sha256=st.just("0" * 64),
)
slices = st.builds(
    SliceStatistics,
    label_counts=by_class,
    repairs=by_name,
    decoders=by_name,
    transfer_syntaxes=by_name,
    scanners=by_name,
    spacings=by_name,
    num_tilted=counts,
    num_pixels=counts,
    stored_sum=counts,
    hu_min=st.one_of(st.none(), st.floats(-1024, 3071)),
    hu_max=st.one_of(st.none(), st.floats(-1024, 3071)),
    hu_histogram=st.lists(counts, min_size=1, max_size=4).map(
        lambda bins: np.resize(np.array(bins, np.int64), HISTOGRAM_BINS)
    ),
)
sidecars = st.builds(
    Sidecar,
    name=st.just("fold-0-00000-of-00001.tfrecord"),
    split=st.sampled_from(("test", "fold-0", "unlabelled")),
    plan_sha256=st.just("1" * 64),
    sources_sha256=st.just("2" * 64),
    versions=st.dictionaries(file_texts(8), file_texts(8), max_size=3),
    num_records=st.just(2**53),
    num_bytes=counts,
    sha256=st.just("3" * 64),
    statistics=slices,
    quarantine=st.lists(rejections, max_size=3).map(tuple),
    pixel_hashes=st.lists(st.integers(0, 2**64 - 1), max_size=3).map(hashes_text),
    masks=st.one_of(st.none(), st.builds(MaskStatistics, by_class, by_class, by_class)),
    mask_quarantine=st.lists(rejections, max_size=2).map(tuple),
    exams=st.one_of(
        st.none(), st.builds(ExamStatistics, counts, by_class, by_name, by_class, by_class)
    ),
)


def as_values(sidecar: Sidecar) -> dict[str, Any]:
    values = dataclasses.asdict(sidecar)
    values["statistics"]["hu_histogram"] = sidecar.statistics.hu_histogram.tolist()
    return values


@given(sidecars)
def test_a_sidecar_comes_back(folder: Path, sidecar: Sidecar) -> None:
    shard = folder / sidecar.name
    sidecar_path(shard).write_text(sidecar.text(), "utf-8")
    read = read_sidecar(shard)
    assert as_values(read) == as_values(sidecar)
    assert read.text() == sidecar.text()


@given(st.data())
def test_a_changed_sidecar_is_a_sidecar_or_refused(folder: Path, data: st.DataObject) -> None:
    sidecar = data.draw(sidecars)
    shard = folder / sidecar.name
    text = data.draw(mutated_json(json.loads(sidecar.text())))
    sidecar_path(shard).write_text(text, "utf-8")
    with refused_in_a_paragraph(folder):
        read = read_sidecar(shard)
        # What a conversion does with it gives the same file again.
        sidecar_path(shard).write_text(read.text(), "utf-8")
        assert as_values(read_sidecar(shard)) == as_values(read)
        assert label_counts([read.shard(folder)]).min() >= 0
        SliceStatistics.total([read.statistics, read.statistics])
