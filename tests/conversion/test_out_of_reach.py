"""A conversion run again while a folder or a file cannot be read: no record is dropped."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.verification import verify
from ich_tf.errors import InputError
from ich_tf.labels import write_long_csv
from ich_tf.records.data_files import PLAN
from tests.support.conversions import files_of, records_of
from tests.support.dicom_files import make_dicom

PATIENTS = tuple(f"p{number}" for number in range(6))


def write_patient(folder: Path, patient: str, slices: Iterable[int] = (0, 1)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in slices:
        tags = {
            "PatientID": patient,
            "StudyInstanceUID": f"1.2.{patient[1:]}",
            "SeriesInstanceUID": f"1.2.{patient[1:]}.1",
            "SOPInstanceUID": f"1.2.{patient[1:]}.1.{number}",
            "ImagePositionPatient": f"0\\0\\{5 * number}",
        }
        (folder / f"{patient}s{number}.dcm").write_bytes(make_dicom(tags=tags))


@pytest.fixture
def converted(tmp_path: Path) -> ConversionConfig:
    """A conversion with labels, in out/."""
    ids = [f"{patient}s{number}" for patient in PATIENTS for number in (0, 1)]
    for patient in PATIENTS:
        write_patient(tmp_path / "in" / patient, patient)
    labels = np.zeros((len(ids), 6), np.int64)
    labels[::4, [0, 5]] = 1
    write_long_csv(tmp_path / "labels.csv", ids, labels)
    config = ConversionConfig(
        dicom_dir=str(tmp_path / "in"),
        labels_csv=str(tmp_path / "labels.csv"),
        out_dir=str(tmp_path / "out"),
        image_size=16,
        num_folds=2,
        num_workers=1,
        max_bad_fraction=0.2,
    )
    convert(config)
    return config


@pytest.fixture
def deny(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder, and all that is below it, fail: the tests may run as root."""
    denied: list[str] = []

    def failing(function: Callable) -> Callable:
        def call(path: object, *args: object, **options: object) -> object:
            if isinstance(path, str | Path) and os.fspath(path).startswith(tuple(denied)):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return function(path, *args, **options)

        return call

    for module, name in ((os, "scandir"), (os, "open"), (Path, "stat")):
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    return lambda path: denied.append(os.fspath(path))


def test_records_below_a_folder_that_cannot_be_listed_stay(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    out_dir = tmp_path / "out"
    before = files_of(out_dir)
    deny(tmp_path / "in/p3")
    result = convert(converted)
    assert len(records_of(out_dir)) == 12
    assert all("to be retried" in one.description for one in verify(out_dir, full=True))
    after = files_of(out_dir)
    shards = [name for name in before if ".tfrecord" in name]
    assert {name: after[name] for name in shards} == {name: before[name] for name in shards}
    plan, _ = load_plan(out_dir)
    assert [(one.path, one.reason) for one in plan.rejections] == [("p3", "UNREADABLE")]
    assert result.num_kept == len(plan.shards)


def test_nor_are_those_without_labels_dropped(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    config = replace(converted, labels_csv="", out_dir=str(tmp_path / "unlabelled"))
    convert(config)
    deny(tmp_path / "in/p3")
    convert(config)
    assert len(records_of(tmp_path / "unlabelled")) == 12


def test_it_is_as_if_nothing_had_been_when_the_folder_is_back(
    converted: ConversionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(tmp_path / "out")
    (tmp_path / "in/p3").rename(tmp_path / "away")
    (tmp_path / "in/p3").symlink_to(tmp_path / "nowhere")  # a disk that is not mounted
    convert(converted)
    assert len(records_of(tmp_path / "out")) == 12
    (tmp_path / "in/p3").unlink()
    (tmp_path / "away").rename(tmp_path / "in/p3")
    convert(converted)
    assert files_of(tmp_path / "out") == before


def test_a_file_that_cannot_be_read_keeps_its_record(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    deny(tmp_path / "in/p3/p3s1.dcm")
    convert(converted)
    assert len(records_of(tmp_path / "out")) == 12
    assert [record["num_slices"] for record in records_of(tmp_path / "out")] == [2] * 12


def test_a_deleted_file_is_not_out_of_reach(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    deny(tmp_path / "in/p3")
    (tmp_path / "in/p4/p4s1.dcm").unlink()
    plan, _ = load_plan(tmp_path / "out")
    home = {slice_.name: shard.name for shard in plan.shards for slice_ in shard.slices()}
    if home["p3/p3s0.dcm"] == home["p4/p4s0.dcm"]:
        with pytest.raises(InputError, match=r"p3: cannot be read, and .*\.tfrecord.* holds"):
            convert(converted)
        assert len(records_of(tmp_path / "out")) == 12
    else:
        convert(converted)
        assert len(records_of(tmp_path / "out")) == 11


def test_a_shard_is_not_written_again_without_them(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    plan, _ = load_plan(tmp_path / "out")
    lost = next(plan.shards[0].slices()).name
    others = {slice_.name for slice_ in plan.shards[0].slices()} - {lost}
    deny(tmp_path / "in" / lost)
    (tmp_path / "in" / sorted(others)[-1]).unlink()
    before = files_of(tmp_path / "out")
    with pytest.raises(InputError, match="They would be lost"):
        convert(converted)
    assert {k: v for k, v in files_of(tmp_path / "out").items() if k != ".lock"} == before


def test_a_damaged_plan_is_not_made_anew_without_them(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None]
) -> None:
    (tmp_path / "out" / PLAN).write_text("damaged")
    deny(tmp_path / "in/p3")
    with pytest.raises(InputError, match="its plan cannot be read, nor can p3"):
        convert(converted)
    assert len(records_of(tmp_path / "out")) == 12


@pytest.mark.parametrize("denied", ["in/p3", "in/p3/p3s1.dcm"])
def test_labels_of_exams_stay_with_their_records(
    converted: ConversionConfig, tmp_path: Path, deny: Callable[[Path], None], denied: str
) -> None:
    """Of p0 and p1 the slices have labels, and both exams are positive by the second of them."""
    ids = ["p0s0", "p0s1", "p1s0", "p1s1"]
    write_long_csv(tmp_path / "labels.csv", ids, np.array([[0] * 6, [1, *[0] * 4, 1]] * 2))
    rows = [f"{patient.upper()},{int(patient > 'p3')}" for patient in PATIENTS[2:]]
    (tmp_path / "exams.csv").write_text("\n".join(["patient,any", *rows]) + "\n")
    out_dir = tmp_path / "exams"
    changes = {"exam_labels_csv": str(tmp_path / "exams.csv"), "out_dir": str(out_dir)}
    config = replace(converted, **changes)
    convert(config)
    before = files_of(out_dir)
    deny(tmp_path / denied)
    deny(tmp_path / "in/p1/p1s1.dcm")
    convert(config)
    after = files_of(out_dir)
    shards = [name for name in before if ".tfrecord" in name]
    assert {name: after[name] for name in shards} == {name: before[name] for name in shards}
    plan, _ = load_plan(out_dir)
    assert {one.reason for one in plan.rejections} == {"UNREADABLE"}
