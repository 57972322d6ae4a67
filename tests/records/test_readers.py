"""Others read the shards: tf.data by README's own code, and tensorflow_datasets."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.tfds import TFDS_FILES
from ich_tf.conversion.verification import verify
from ich_tf.records.example import decode as decode_record
from ich_tf.records.images import read_image
from ich_tf.records.tfrecord import read_records
from tests.support.commands import ROOT
from tests.support.conversions import config_for


def convert_small(phantoms: Path, out_dir: Path, **changes: object) -> Path:
    convert(config_for(phantoms, out_dir, **changes))
    return out_dir


def test_the_code_in_the_guide_reads_a_record(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = convert_small(phantom_dir, tmp_path / "data" / "tfrecords")
    [code] = [
        block
        for block in re.findall(
            r"```python\n(.*?)```", (ROOT / "docs/conversion.md").read_text(), re.S
        )
        if "TFRecordDataset" in block
    ]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    first = next(iter(read_records(sorted(folder.glob("fold-*.tfrecord"))[0])))
    expected = decode_record(first)
    np.testing.assert_array_equal(names["image"].numpy(), read_image(expected))
    assert names["record"]["image/source_id"].numpy().decode() == expected.source_id


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": "png"},
        {"encoding": "raw"},
        {"encoding": "hu16"},
        {"encoding": "jpeg", "allow_lossy": True},
        {"windows": ("brain", "bone")},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_tensorflow_datasets(phantom_dir: Path, tmp_path: Path, changes: dict) -> None:
    tfds = pytest.importorskip("tensorflow_datasets", reason="the extra tfds is not installed")
    folder = convert_small(phantom_dir, tmp_path / "out", **changes)
    builder = tfds.builder_from_directory(folder)
    shards = json.loads((folder / "manifest.json").read_text())["shards"]
    counts: dict[str, int] = {}
    for one in shards:
        counts[one["split"]] = counts.get(one["split"], 0) + one["num_records"]
    assert {name: info.num_examples for name, info in builder.info.splits.items()} == counts
    expected = {
        record.source_id: record
        for path in folder.glob("fold-1-*.tfrecord")
        for record in map(decode_record, read_records(path))
    }
    seen = set()
    for found in tfds.as_numpy(builder.as_dataset(split="fold-1")):
        record = expected[found["image/source_id"].decode()]
        seen.add(record.source_id)
        image = found["image/encoded"].reshape(record.height, record.width, record.channels)
        # Decoders of JPEG may differ.
        tolerance = 24 if record.format == "jpeg" else 0
        np.testing.assert_allclose(image.astype(int), read_image(record), atol=tolerance)
        assert found["image/class/multilabel"].tolist() == list(record.labels)
        assert [one.decode() for one in found["ct/repairs"]] == list(record.repairs)
        np.testing.assert_allclose(found["ct/spacing_mm"], record.spacing_mm, rtol=1e-6)
    assert seen == set(expected)


def test_shards_that_are_not_numbered_through_have_no_such_files(
    phantom_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "stage_2_train")
    shutil.copy(phantom_dir / "stage_2_train.csv", tmp_path)
    changes = {"image_size": 96, "encoding": "raw", "max_bad_fraction": 1.0}
    folder = convert_small(tmp_path, tmp_path / "out", **changes)
    assert all((folder / name).is_file() for name in TFDS_FILES)
    plan, _ = load_plan(folder)
    gone = next(one for one in plan.shards if not one.name.endswith("00000-of-00001.tfrecord"))
    for one in gone.slices():
        (tmp_path / "stage_2_train" / one.name).unlink()
    convert_small(tmp_path, folder, **changes)
    assert not (folder / gone.name).exists()
    assert not any((folder / name).exists() for name in TFDS_FILES)
    assert verify(folder, full=True) == []
