import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_tf import errors
from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert, too_many_bad
from ich_tf.conversion.index import index
from ich_tf.conversion.label_rows import LabelRows
from ich_tf.conversion.matching import LabelMatcher
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.pseudonyms import pseudonym
from ich_tf.dicom.listing import list_sources
from ich_tf.dicom.reader import read_slice
from ich_tf.errors import ConfigError, InputError
from ich_tf.labels import CLASSES, read_labels, write_long_csv
from ich_tf.records import data_files, manifest
from ich_tf.records.example import parse
from ich_tf.records.images import decode_image
from ich_tf.records.tfrecord import read_records
from ich_tf.runtime.executors.local import LocalExecutor
from ich_tf.windows import apply_windows, preset_windows, window_slice
from tests.support.conversions import config_for, files_of, records_of
from tests.support.dicom_files import make_dicom, make_enhanced
from tests.support.secret_files import write_secret


@pytest.fixture(scope="module")
def small(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    convert(config_for(phantom_dir, folder))
    return folder


def test_one_and_two_workers_give_the_same_bytes(
    phantom_dir: Path, small: Path, tmp_path: Path
) -> None:
    convert(config_for(phantom_dir, tmp_path / "two", num_workers=2))
    one, two = files_of(small), files_of(tmp_path / "two")
    assert set(one) == set(two)
    assert [name for name in one if one[name] != two[name]] == []


def test_every_image_arrives_once_with_its_labels_and_pixels(
    phantom_dir: Path, small: Path
) -> None:
    labels = read_labels(phantom_dir / "stage_2_train.csv")
    found = records_of(small)
    ids = [record["source_id"].numpy().decode() for record in found]
    assert sorted(ids) == sorted(labels.index)
    windows = preset_windows(("brain", "subdural", "soft"))
    for image_id, record in list(zip(ids, found, strict=True))[::7]:
        np.testing.assert_array_equal(record["labels"].numpy(), labels.loc[image_id])
        data = (phantom_dir / "stage_2_train" / f"{image_id}.dcm").read_bytes()
        expected = window_slice(read_slice(data).hu, 32, windows)
        image = decode_image(record["encoded"], "png", (32, 32, 3))
        np.testing.assert_array_equal(image.numpy(), expected)
        assert image.numpy().max() > 0


def test_series_are_contiguous_and_ordered(small: Path) -> None:
    for path in sorted(small.glob("*.tfrecord")):
        records = [parse(payload) for payload in read_records(path)]
        keys = [record["series_key"].numpy() for record in records]
        runs = [key for i, key in enumerate(keys) if i == 0 or keys[i - 1] != key]
        assert len(runs) == len(set(runs))
        for key in runs:
            members = [r for r, k in zip(records, keys, strict=True) if k == key]
            assert [int(m["slice_index"]) for m in members] == list(range(len(members)))
            assert {int(m["num_slices"]) for m in members} == {len(members)}
            assert (np.diff([float(m["z_mm"]) for m in members]) > 0).all()


def test_no_patient_is_in_two_splits(small: Path) -> None:
    seen: dict[bytes, str] = {}
    for path in sorted(small.glob("*.tfrecord")):
        split = path.name.rsplit("-", 3)[0]
        for payload in read_records(path):
            patient = parse(payload)["patient_key"].numpy()
            assert seen.setdefault(patient, split) == split
    assert set(seen.values()) == {"fold-0", "fold-1", "fold-2", "test"}


def test_the_manifest_sums_up(phantom_dir: Path, small: Path) -> None:
    small_manifest = manifest.Manifest.load(small)
    labels = read_labels(phantom_dir / "stage_2_train.csv")
    assert manifest.num_records(small_manifest.shards) == len(labels)
    np.testing.assert_array_equal(manifest.label_counts(small_manifest.shards), labels.sum(axis=0))
    assert small_manifest.image_shape == (32, 32, 3)
    assert {shard.split for shard in small_manifest.train_shards(1)} == {"fold-0", "fold-2"}
    content = json.loads((small / "manifest.json").read_text())
    assert content["hu"]["min"] == -1024
    assert str(phantom_dir) not in (small / "manifest.json").read_text()
    with pytest.raises(InputError, match="3 folds"):
        small_manifest.train_shards(3)
    with pytest.raises(InputError, match="unlabelled"):
        small_manifest.split_shards("unlabelled")


def test_the_index_addresses_every_record(small: Path) -> None:
    for path in small.glob("*.tfrecord"):
        data = path.read_bytes()
        lines = data_files.index_path(path).read_text().splitlines()
        payloads = list(read_records(path))
        assert len(lines) == len(payloads)
        for line, payload in zip(lines, payloads, strict=True):
            offset, size = map(int, line.split())
            assert data[offset + 12 : offset + size - 4] == payload


def test_running_again_keeps_all_and_changes_nothing(phantom_dir: Path, data_copy: Path) -> None:
    manifest = json.loads((data_copy / "manifest.json").read_text())
    before = {path.name: path.stat().st_mtime_ns for path in data_copy.glob("*.tfrecord")}
    result = convert(config_for(phantom_dir, data_copy, image_size=64))
    assert result.num_kept == result.num_shards == len(manifest["shards"])
    assert {p.name: p.stat().st_mtime_ns for p in data_copy.glob("*.tfrecord")} == before


def test_a_shard_without_its_commit_mark_is_written_again(
    phantom_dir: Path, data_copy: Path
) -> None:
    before = files_of(data_copy)
    victim = sorted(data_copy.glob("*.tfrecord"))[0]
    data_files.sidecar_path(victim).unlink()
    victim.write_bytes(victim.read_bytes()[:100])
    (data_copy / "_SUCCESS").unlink()
    with pytest.raises(InputError, match="unfinished"):
        manifest.Manifest.load(data_copy)
    result = convert(config_for(phantom_dir, data_copy, image_size=64))
    assert result.num_kept == result.num_shards - 1
    assert files_of(data_copy) == before


def test_another_config_is_refused_by_name_unless_told(phantom_dir: Path, data_copy: Path) -> None:
    before = files_of(data_copy)
    changed = config_for(phantom_dir, data_copy, image_size=16)
    with pytest.raises(InputError, match="image_size was 64 and is now 16"):
        convert(changed)
    assert files_of(data_copy) == before
    convert(replace(changed, overwrite=True))
    assert manifest.Manifest.load(data_copy).image_size == 16


def test_a_folder_of_other_things_is_left_alone(phantom_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("ten years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="is not empty"):
            convert(config_for(phantom_dir, tmp_path, overwrite=overwrite))
    assert (tmp_path / "thesis.doc").read_text() == "ten years of work"


def test_bad_inputs_are_quarantined_and_the_rest_is_converted(
    phantom_dir: Path, small: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    names = sorted(path.name for path in source.glob("*.dcm"))
    truncated, broken, unlabelled, twin, gone, doubtful = names[:6]
    data = (source / truncated).read_bytes()
    (source / truncated).write_bytes(data[: len(data) // 2])
    (source / broken).write_bytes(b"no dicom")
    shutil.copy(source / twin, source / "copy_of_twin.dcm")
    (source / gone).unlink()
    frame = pd.read_csv(phantom_dir / "stage_2_train.csv", dtype=str)
    stem = Path(doubtful).stem
    frame.loc[frame["ID"] == f"{stem}_any", "Label"] = "0"
    frame.loc[frame["ID"] == f"{stem}_epidural", "Label"] = "1"
    frame[~frame["ID"].str.startswith(Path(unlabelled).stem)].to_csv(
        tmp_path / "labels.csv", index=False
    )
    config = config_for(
        phantom_dir,
        tmp_path / "out",
        dicom_dir=str(source),
        labels_csv=str(tmp_path / "labels.csv"),
    )
    result = convert(config)
    lines = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
    found = {(one["path"], one["reason"]) for one in map(json.loads, lines)}
    kept_twin = {(twin, "DUPLICATE_IMAGE"), ("copy_of_twin.dcm", "DUPLICATE_IMAGE")}
    assert len(found & kept_twin) == 1
    assert found - kept_twin == {
        (truncated, "TRUNCATED_PIXELS"),
        (broken, "NOT_DICOM"),
        (unlabelled, "LABEL_MISSING"),
        (doubtful, "LABEL_CONFLICT"),
        (Path(gone).stem, "IMAGE_MISSING"),
    }
    assert result.num_records == manifest.num_records(manifest.Manifest.load(small).shards) - 5
    assert all(image.max() > 0 for image in images_of(tmp_path / "out"))
    assert "6 of" in (too_many_bad(result.rejections, result.num_inputs, config) or "")
    patient = replace(config, max_bad_fraction=0.9)
    assert too_many_bad(result.rejections, result.num_inputs, patient) is None


def images_of(folder: Path) -> list[np.ndarray]:
    return [
        decode_image(record["encoded"], "png", (32, 32, 3)).numpy() for record in records_of(folder)
    ]


def test_a_hole_moves_nothing(phantom_dir: Path, small: Path, tmp_path: Path) -> None:
    """A file whose pixels are cut leaves every other record's bytes as they were."""
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    victim = sorted(source.glob("*.dcm"))[3]
    data = victim.read_bytes()
    victim.write_bytes(data[:-1000])
    convert(config_for(phantom_dir, tmp_path / "out", dicom_dir=str(source)))
    holes = 0
    for path in sorted(small.glob("*.tfrecord")):
        before, after = set(read_records(path)), set(read_records(tmp_path / "out" / path.name))
        assert after <= before
        holes += len(before - after)
    assert holes == 1


def test_nothing_of_a_patient_is_written(tmp_path: Path) -> None:
    source = tmp_path / "dicom"
    source.mkdir()
    (source / "a.dcm").write_bytes(make_dicom(tags={"PatientBirthDate": "19700101"}))
    result = convert(
        ConversionConfig(
            dicom_dir=str(source),
            labels_csv="",
            out_dir=str(tmp_path / "out"),
            num_workers=1,
            image_size=32,
        )
    )
    assert result.report().endswith("1 records in 1 shards, unlabelled")
    with pytest.raises(errors.DataError, match="without labels"):
        manifest.Manifest.load(tmp_path / "out").train_shards(0)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for secret in (b"Secret", b"19700101", b"1.2.3", b"1.2.4", b"P1"):
        assert secret not in written
    (record,) = records_of(tmp_path / "out")
    assert int(record["label_present"]) == 0
    assert record["source_id"].numpy().decode() == pseudonym("1.2.3")


def test_pseudonyms() -> None:
    assert pseudonym("ID_00a1b2c3d") == "ID_00a1b2c3d"
    assert pseudonym("1.2.3") != pseudonym("1.2.4")
    assert pseudonym("1.2.3", b"k" * 16) != pseudonym("1.2.3")


def test_a_csv_of_other_images_is_refused(phantom_dir: Path, tmp_path: Path) -> None:
    rows = "".join(f"ID_none_{name},0\n" for name in CLASSES)
    (tmp_path / "l.csv").write_text("ID,Label\n" + rows)
    with pytest.raises(InputError, match="LABEL_MISSING"):
        convert(config_for(phantom_dir, tmp_path / "out", labels_csv=str(tmp_path / "l.csv")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 8),
        ("windows", ("brain", "bone", "blue")),
        ("encoding", "webp"),
        ("num_folds", 1),
        ("test_fraction", 1.0),
        ("shard_mb", 0),
        ("max_bad_fraction", 1.5),
        ("seed", -1),
    ],
)
def test_config_errors_name_the_field(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        ConversionConfig(**{name: value})


def test_killed_at_any_moment_it_continues_to_the_same_bytes(
    phantom_dir: Path, small: Path, tmp_path: Path
) -> None:
    """SIGKILL, twice, while shards are being written; then the same command once more."""
    config = config_for(phantom_dir, tmp_path / "out")
    command = [
        sys.executable,
        "-m",
        "tools.make_tfrecords",
        *(
            f"--{name}={getattr(config, name)}"
            for name in (
                "dicom_dir",
                "labels_csv",
                "out_dir",
                "image_size",
                "num_folds",
                "test_fraction",
                "shard_mb",
                "num_workers",
            )
        ),
    ]
    root = Path(__file__).resolve().parents[2]
    for kills in range(2):
        process = subprocess.Popen(
            command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        # Once one more shard is committed, or a temporary file shows one being written.
        while process.poll() is None and time.monotonic() < deadline:
            written = len(list((tmp_path / "out").glob("*.tfrecord.json")))
            if written > kills or list((tmp_path / "out").glob(".*.tfrecord.*tmp")):
                break
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    assert files_of(tmp_path / "out") == files_of(small)


def test_ge_head_and_philips(real_dicom: Path, tmp_path: Path) -> None:
    settings = {"labels_csv": "", "num_workers": 1, "image_size": 64, "max_bad_fraction": 1.0}
    convert(
        ConversionConfig(
            dicom_dir=str(real_dicom / "ge_head"), out_dir=str(tmp_path / "ge"), **settings
        )
    )
    plan, _ = load_plan(tmp_path / "ge")
    (shard,) = plan.shards
    assert [one.name for one in shard.slices()] == [f"{i:02}.dcm" for i in range(1, 29)]
    assert len(records_of(tmp_path / "ge")) == 28

    result = convert(
        ConversionConfig(
            dicom_dir=str(real_dicom / "philips_phantom"),
            out_dir=str(tmp_path / "ph"),
            series="all",
            **settings,
        )
    )
    assert result.num_records == 8
    lines = (tmp_path / "ph" / "quarantine.jsonl").read_text().splitlines()
    reasons = {one["path"]: one["reason"] for one in map(json.loads, lines)}
    assert reasons["S21570/S1000/I10"] == "LOCALIZER"
    for name in ("I10", "I20", "I30"):
        assert reasons[f"S21570/S4010/{name}"] == "NOT_AXIAL"
    for name in ("I40", "I50", "I60"):
        assert reasons[f"S21570/S4010/{name}"] == "PHOTOMETRIC"


def test_stored_hounsfield_units_give_the_same_windows(
    phantom_dir: Path, small: Path, tmp_path: Path
) -> None:
    convert(config_for(phantom_dir, tmp_path / "hu", encoding="hu16"))
    hu_manifest = manifest.Manifest.load(tmp_path / "hu")
    assert hu_manifest.image_shape == (32, 32, 1)
    windows = preset_windows(hu_manifest.windows)
    windowed = {record["source_id"].numpy(): record for record in records_of(small)}
    found = records_of(tmp_path / "hu")
    assert len(found) == len(windowed)
    for record in found[::5]:
        stored = decode_image(record["encoded"], "hu16", (32, 32, 1)).numpy()
        assert stored.dtype == np.uint16
        other = windowed[record["source_id"].numpy()]
        np.testing.assert_array_equal(
            apply_windows(stored[..., 0], windows),
            decode_image(other["encoded"], "png", (32, 32, 3)).numpy(),
        )


def test_frames_of_an_enhanced_file_become_records(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 2000, (4, 20, 20)).astype(np.int16)
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "series.dcm").write_bytes(make_enhanced(stored))
    ids = [f"series/{frame}" for frame in (1, 2, 3, 4)]
    labels = np.eye(4, 6, dtype=np.int64)
    labels[:, -1] = labels[:, :-1].max(axis=1)
    write_long_csv(tmp_path / "labels.csv", ids, labels)
    changes = {"dicom_dir": str(tmp_path / "dicom"), "labels_csv": "", "image_size": 20}
    convert(config_for(tmp_path, tmp_path / "out", **changes))
    found = records_of(tmp_path / "out")
    assert [int(record["slice_index"]) for record in found] == [0, 1, 2, 3]
    assert [float(record["z_mm"]) for record in found] == [0, 5, 10, 15]
    windows = preset_windows(("brain", "subdural", "soft"))
    for frame, record in enumerate(found):
        expected = window_slice(stored[frame].astype(np.float32) - 1024, 20, windows)
        image = decode_image(record["encoded"], "png", (20, 20, 3))
        np.testing.assert_array_equal(image.numpy(), expected)

    matcher = LabelMatcher(LabelRows.from_csv(str(tmp_path / "labels.csv")))
    indexed, unmatched = index(list_sources(tmp_path / "dicom"), LocalExecutor(1), matcher)
    assert not unmatched
    [(_, slices)] = indexed.by_series()
    assert [one.labels for one in slices] == [tuple(row) for row in labels.tolist()]


def test_files_without_labels_of_their_own_do_not_take_the_phantoms(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--labels_csv=\) to convert without"):
        ConversionConfig(dicom_dir=str(tmp_path))
    assert ConversionConfig().labels_csv == "data/phantoms/stage_2_train.csv"


def test_an_output_folder_within_the_inputs_is_no_input(tmp_path: Path) -> None:
    source = tmp_path / "dicom"
    source.mkdir()
    (source / "1.dcm").write_bytes(make_dicom())
    write_secret(source / "ich.key", "k" * 32)
    changes = {
        "dicom_dir": str(source), "labels_csv": "", "image_size": 16,
        "hash_key_file": str(source / "ich.key"),
    }  # fmt: skip
    config = config_for(tmp_path, source / "out", **changes)
    for _ in range(2):
        convert(config)
        plan, _ = load_plan(source / "out")
        assert plan.num_inputs == 1 and not plan.rejections
    for out_dir in (source, tmp_path, tmp_path / "dicom/../dicom"):
        with pytest.raises(ConfigError, match="dicom_dir is .* lies in out_dir"):
            convert(config_for(tmp_path, out_dir, **changes))
