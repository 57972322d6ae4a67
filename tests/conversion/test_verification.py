import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ich_tf.conversion.plan import load_plan, save_plan
from ich_tf.conversion.repair import repair
from ich_tf.conversion.summary import finish
from ich_tf.conversion.verification import verify
from ich_tf.errors import DataError, InputError
from ich_tf.records import data_files, manifest, shard_index
from ich_tf.records.example import decode, encode
from ich_tf.records.schema import SCHEMA_VERSION
from ich_tf.records.sidecar import read_sidecar
from ich_tf.records.tfrecord import frame, read_records
from ich_tf.runtime import files


def shard_of(folder: Path) -> Path:
    return sorted(folder.glob("*.tfrecord"))[0]


def flip_payload(folder: Path) -> None:
    path = shard_of(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_on_a_boundary(folder: Path) -> None:
    path = shard_of(folder)
    *_, last = data_files.index_path(path).read_text().splitlines()
    path.write_bytes(path.read_bytes()[: int(last.split()[0])])


def foreign_shard(folder: Path) -> None:
    one, two = sorted(folder.glob("fold-*.tfrecord"))[:2]
    one.write_bytes(two.read_bytes())


def remove(folder: Path) -> None:
    shard_of(folder).unlink()


def remove_index(folder: Path) -> None:
    data_files.index_path(shard_of(folder)).unlink()


def test_a_good_folder_has_no_problems(data_dir: Path) -> None:
    assert verify(data_dir, full=True) == []


@pytest.mark.parametrize(
    "damage", [flip_payload, cut_on_a_boundary, foreign_shard, remove, remove_index]
)
def test_damage_is_named_and_mended_bit_for_bit(data_copy: Path, damage: Any) -> None:
    before = {path.name: path.read_bytes() for path in data_copy.iterdir()}
    damage(data_copy)
    damaged = {data_files.shard_of(problem.file) for problem in verify(data_copy, full=True)} - {""}
    assert len(damaged) == 1
    assert repair(data_copy, damaged, num_workers=1) == sorted(damaged)
    assert {path.name: path.read_bytes() for path in data_copy.iterdir()} == before
    assert verify(data_copy, full=True) == []


def test_sha256sum_checks_a_folder(data_copy: Path) -> None:
    """Whoever has no ich_tf has coreutils."""
    command = ["sha256sum", "--check", "--strict", "--quiet", "_SUCCESS"]
    assert subprocess.run(command, cwd=data_copy, check=False).returncode == 0
    listed = {line.split("  ")[1] for line in (data_copy / "_SUCCESS").read_text().splitlines()}
    assert listed == {path.name for path in data_copy.iterdir()} - {"_SUCCESS"}
    flip_payload(data_copy)
    assert subprocess.run(command, cwd=data_copy, check=False).returncode != 0


def test_a_shard_that_is_no_part_of_the_plan(data_copy: Path) -> None:
    (data_copy / "fold-9-00000-of-00001.tfrecord").write_bytes(b"")
    (problem,) = verify(data_copy)
    assert "no shard of this plan" in problem.description


def test_a_patient_on_two_sides_is_found_in_the_records(data_copy: Path) -> None:
    """Everything agrees but the records: a shard made by another key, say."""
    one, two = sorted(data_copy.glob("fold-*.tfrecord"))[:2]
    patient = decode(next(read_records(one))).patient_key
    sizes, frames = [], []
    for payload in read_records(two):
        frames.append(frame(encode(replace(decode(payload), patient_key=patient))))
        sizes.append(len(frames[-1]))
    two.write_bytes(b"".join(frames))
    sidecar = read_sidecar(two)
    sidecar = replace(sidecar, sha256=files.file_sha256(two), num_bytes=sum(sizes))
    data_files.sidecar_path(two).write_text(sidecar.text())
    data_files.index_path(two).write_text(shard_index.index_lines(sizes))
    plan, _ = load_plan(data_copy)
    finish(data_copy, plan)
    found = verify(data_copy, full=True)
    assert any(
        patient in problem.description and problem.file == "the records" for problem in found
    )
    assert any("differs from the plan in patient_key" in problem.description for problem in found)


def test_other_dicom_files_are_no_repair(
    data_copy: Path, phantom_dir: Path, tmp_path: Path
) -> None:
    source = tmp_path / "dicom"
    shutil.copytree(phantom_dir / "stage_2_train", source)
    plan, _ = load_plan(data_copy)
    first = source / next(plan.shards[0].slices()).name
    data = bytearray(first.read_bytes())
    data[-2000] ^= 1
    first.write_bytes(data)
    flip_payload(data_copy)
    success = (data_copy / "_SUCCESS").read_bytes()
    with pytest.raises(InputError, match="other bytes than it had"):
        repair(data_copy, [plan.shards[0].name], str(source), num_workers=1)
    assert (data_copy / "_SUCCESS").read_bytes() == success


def test_repair_wants_its_source(data_copy: Path, tmp_path: Path) -> None:
    name = shard_of(data_copy).name
    with pytest.raises(InputError, match="--dicom_dir"):
        repair(data_copy, [name], str(tmp_path / "gone"))


def test_a_changed_plan_is_refused(data_copy: Path) -> None:
    path = data_copy / "plan.json"
    path.write_text(path.read_text().replace("fold-0", "fold-7"))
    with pytest.raises(InputError, match="was changed"):
        verify(data_copy)


@pytest.mark.parametrize("form", ["/{}", "../{}", "..", ".{}", "{}.idx", "a/{}", "{}\n"])
def test_a_shards_name_is_no_path(data_copy: Path, form: str) -> None:
    """CWE-22: a repair of a stranger's folder would write where its plan says."""
    plan, source = load_plan(data_copy)
    shard = plan.shards[0]
    name = form.format(shard.name)
    save_plan(
        data_copy, replace(plan, shards=(replace(shard, name=name), *plan.shards[1:])), source
    )
    with pytest.raises(DataError, match="names no shard of the folder"):
        load_plan(data_copy)
    path = data_copy / data_files.MANIFEST
    content = files.read_json(path)
    content["shards"][0]["name"] = name
    files.write_json(path, content)
    with pytest.raises(DataError, match="names no shard of the folder"):
        manifest.Manifest.load(data_copy)


def test_missing_shards_stop_the_readers_too(data_copy: Path) -> None:
    cut_on_a_boundary(data_copy)
    assert list(read_records(shard_of(data_copy)))
    with pytest.raises(InputError, match="--repair"):
        manifest.Manifest.load(data_copy)


def test_other_schema_versions_and_empty_folders(data_copy: Path, tmp_path: Path) -> None:
    path = data_copy / "manifest.json"
    path.write_text(
        path.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
    )
    with pytest.raises(InputError, match="schema version 99"):
        manifest.Manifest.load(data_copy)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no TFRecords"):
        manifest.Manifest.load(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder"):
        manifest.Manifest.load(tmp_path / "none")
