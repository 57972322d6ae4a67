"""--dry_run: what it says is what the conversion then does, and it writes nothing."""

import shutil
from pathlib import Path

import pytest

from ich_tf.conversion.convert import convert
from ich_tf.conversion.dry_run import estimate
from ich_tf.dicom import decoders
from ich_tf.errors import InputError
from ich_tf.records.data_files import sidecar_path
from ich_tf.records.manifest import Manifest
from tests.support.commands import Command
from tests.support.conversions import config_for, files_of


def test_it_says_what_the_conversion_does(phantom_dir: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    cut, gone = sorted(source.glob("*.dcm"))[:2]
    cut.write_bytes(cut.read_bytes()[:-900])
    gone.unlink()
    config = config_for(phantom_dir, tmp_path / "out", dicom_dir=str(source), encoding="raw")
    found = estimate(config)
    assert not (tmp_path / "out").exists()
    convert(config)
    manifest = Manifest.load(tmp_path / "out")
    sizes = {split: len(keys) for split, keys in manifest.patients.items()}
    assert {split: counts[0] for split, counts in found.splits.items()} == sizes
    for split, (_, slices, shards) in found.splits.items():
        stored = [one for one in manifest.shards if one.split == split]
        assert shards == len(stored)
        # The cut file is found out only when its pixels are read.
        assert slices - sum(one.num_records for one in stored) in (0, 1)
    assert found.rejections == {"IMAGE_MISSING": 1}
    assert found.num_inputs == len(list(source.iterdir())) + 1
    total = sum(one.num_bytes for one in manifest.shards)
    assert found.num_bytes == pytest.approx(total, rel=0.05)
    assert found.core_seconds > 0
    assert (found.num_kept, found.num_shards) == (0, len(manifest.shards))


def test_over_a_conversion_it_counts_what_is_left_and_touches_nothing(
    phantom_dir: Path, tmp_path: Path
) -> None:
    config = config_for(phantom_dir, tmp_path / "out", encoding="raw")
    convert(config)
    finished = estimate(config)
    assert finished.num_kept == finished.num_shards
    assert (finished.num_to_write, finished.num_bytes, finished.sample_size) == (0, 0, 0)
    shard = Manifest.load(tmp_path / "out").shards[1]
    sidecar_path(shard.path).unlink()
    left_behind = tmp_path / "out" / ".test.1234.tmp"
    left_behind.write_bytes(b"of a writer that was killed")
    before = files_of(tmp_path / "out")
    found = estimate(config)
    assert files_of(tmp_path / "out") == before
    assert found.num_kept == found.num_shards - 1
    assert found.num_to_write == shard.num_records
    assert found.num_bytes == pytest.approx(shard.num_bytes, rel=0.05)
    with pytest.raises(InputError, match="another plan"):
        estimate(config_for(phantom_dir, tmp_path / "out", encoding="png"))


def test_missing_decoders_are_named(
    real_dicom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(
        tmp_path,
        tmp_path / "out",
        dicom_dir=str(real_dicom / "transfer_syntaxes"),
        labels_csv="",
        series="all",
        max_bad_fraction=1.0,
    )
    with_all = estimate(config).missing_decoders
    assert sum(with_all.values()) < 4
    assert all("retired" in why for why in with_all)
    monkeypatch.setattr(decoders, "_has_imagecodecs", lambda: False)
    without = estimate(config)
    assert len(without.missing_decoders) > len(with_all)
    assert any("install ich_tf[codecs]" in why for why in without.missing_decoders)
    assert without.sample_rejections["NO_DECODER"] == sum(without.missing_decoders.values())
    assert "not decodable here" in without.report()


def test_the_command(run_command: Command, phantom_dir: Path, tmp_path: Path) -> None:
    flags = (
        f"--dicom_dir={phantom_dir / 'stage_2_train'}",
        f"--out_dir={tmp_path / 'out'}",
        "--num_workers=1",
        "--image_size=32",
        "--dry_run",
    )
    labels = f"--labels_csv={phantom_dir / 'stage_2_train.csv'}"
    done = run_command("tools.make_tfrecords", *flags, labels)
    assert "would hold" in done.stdout
    assert done.stdout.endswith("nothing was written\n")
    assert not (tmp_path / "out").exists()
    # Every image of the test CSV is missing: too many.
    other = f"--labels_csv={phantom_dir / 'stage_2_test_labels.csv'}"
    assert "none of" in run_command("tools.make_tfrecords", *flags, other, code=1).stderr


def test_too_many_bad_inputs_fail_a_dry_run_too(
    run_command: Command, phantom_dir: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(phantom_dir / "stage_2_train", tmp_path / "dicom"))
    for path in sorted(source.glob("*.dcm"))[:20]:
        path.unlink()
    done = run_command(
        "tools.make_tfrecords",
        f"--dicom_dir={source}",
        f"--labels_csv={phantom_dir / 'stage_2_train.csv'}",
        f"--out_dir={tmp_path / 'out'}",
        "--num_workers=1",
        "--dry_run",
        code=1,
    )
    assert "20 IMAGE_MISSING" in done.stderr
    assert "without --dry_run" in done.stderr
