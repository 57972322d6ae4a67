"""Slices that the machine could not read, or that changed: tried again, and told of until then."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion import convert as convert_module
from ich_tf.conversion.convert import convert
from ich_tf.conversion.repair import repair
from ich_tf.conversion.verification import verify
from ich_tf.dicom.reasons import DicomError, Reason
from ich_tf.dicom.sources import Source
from tests.support.conversions import config_for, files_of
from tests.support.dicom_files import make_dicom, make_enhanced, rewrite

Fail = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients with two slices each, and their conversion."""
    for patient in "AB":
        for number in range(2):
            path = tmp_path / "in" / f"{patient}{number}.dcm"
            path.parent.mkdir(exist_ok=True)
            uid = f"1.2.{ord(patient)}"
            tags = {
                "PatientID": patient,
                "StudyInstanceUID": uid,
                "SeriesInstanceUID": f"{uid}.1",
                "SOPInstanceUID": f"{uid}.1.{number}",
                "ImagePositionPatient": [0, 0, 5 * number],
            }
            path.write_bytes(make_dicom(tags=tags))
    run(tmp_path)
    return tmp_path


def run(folder: Path, *, anew: bool = False, **changes: object):
    if anew:
        shutil.rmtree(folder / "out")
    return convert(
        config_for(folder, folder / "out", dicom_dir=str(folder / "in"), labels_csv="", **changes)
    )


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fail]:
    """Makes readings of a file fail: `fail(name, times)`."""
    read, left = Source.read, {}

    def failing(source: Source) -> bytes:
        if left.get(source.name, 0) > 0:
            left[source.name] -= 1
            raise DicomError(Reason.UNREADABLE, "cannot be read (Input/output error).")
        return read(source)

    monkeypatch.setattr(Source, "read", failing)
    yield lambda name, times: left.update({name: times})


def reasons(folder: Path) -> dict[str, str]:
    lines = (folder / "out" / "quarantine.jsonl").read_text().splitlines()
    return {line["path"]: line["reason"] for line in map(json.loads, lines)}


def test_a_file_that_fails_once_is_read_again_at_once(folder: Path, fail: Fail) -> None:
    before = files_of(folder / "out")
    fail("A1.dcm", 1)
    run(folder, anew=True)
    assert files_of(folder / "out") == before


def test_a_hole_of_the_machine_is_told_of_and_filled(folder: Path, fail: Fail) -> None:
    before = files_of(folder / "out")
    fail("A1.dcm", 2)
    result = run(folder, anew=True)
    assert reasons(folder) == {"A1.dcm": "UNREADABLE"}
    assert result.num_to_retry == 1
    assert "the same command tries them again" in result.report()
    assert json.loads((folder / "out" / "manifest.json").read_text())["to_retry"] == 1
    (problem,) = verify(folder / "out", full=True)
    assert "lacks A1.dcm, which is to be retried" in problem.description
    assert run(folder).num_to_retry == 0
    assert files_of(folder / "out") == before
    assert verify(folder / "out", full=True) == []


def test_a_hole_that_stays_costs_no_rewriting(folder: Path, fail: Fail) -> None:
    fail("A1.dcm", 9**9)
    run(folder, anew=True)
    times = {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.tfrecord")}
    assert run(folder).num_to_retry == 1
    assert {path: path.stat().st_mtime_ns for path in (folder / "out").glob("*.tfrecord")} == times


def test_repair_fills_a_hole(folder: Path, fail: Fail) -> None:
    before = files_of(folder / "out")
    fail("A1.dcm", 2)
    run(folder, anew=True)
    repair(folder / "out", {problem.file for problem in verify(folder / "out")}, num_workers=1)
    assert files_of(folder / "out") == before


def test_a_file_without_a_decoder_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(folder / "out")
    with monkeypatch.context() as patch:

        def read(source: Source) -> bytes:
            raise DicomError(Reason.NO_DECODER, "no decoder is installed.")

        patch.setattr(Source, "read", read)
        assert run(folder, anew=True).num_to_retry == 4
    assert run(folder).num_to_retry == 0
    assert files_of(folder / "out") == before


def swap(folder: Path, one: str, two: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files change places once the plan is written, in the next run."""
    save_plan, calls = convert_module.save_plan, []

    def swapping(*args: object) -> None:
        save_plan(*args)
        if not calls:
            calls.append(True)
            shutil.move(folder / "in" / one, folder / "t")
            shutil.move(folder / "in" / two, folder / "in" / one)
            shutil.move(folder / "t", folder / "in" / two)

    monkeypatch.setattr(convert_module, "save_plan", swapping)


@pytest.mark.parametrize(
    ("other", "crop"), [("A1.dcm", "none"), ("B0.dcm", "none"), ("B0.dcm", "head")]
)
def test_files_that_change_places_are_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, other: str, crop: str
) -> None:
    swap(folder, "A0.dcm", other, monkeypatch)
    run(folder, anew=True, crop=crop)
    assert reasons(folder) == {"A0.dcm": "FILE_CHANGED", other: "FILE_CHANGED"}
    assert len(verify(folder / "out")) == 2
    result = run(folder, crop=crop)
    assert (result.num_records, result.rejections) == (4, {})
    assert verify(folder / "out", full=True) == []


def test_multi_frame_files_that_change_places_are_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patient in "CD":
        data = make_enhanced(np.arange(2 * 32 * 32, dtype=np.int16).reshape(2, 32, 32))
        number = ord(patient)
        data = rewrite(data, PatientID=patient, SOPInstanceUID=f"1.{number}")
        (folder / "in" / patient).write_bytes(rewrite(data, SeriesInstanceUID=f"1.2.{number}"))
    swap(folder, "C", "D", monkeypatch)
    rejected = run(folder).rejections
    assert set(rejected) == {"FILE_CHANGED"}
    assert run(folder).rejections == {}
