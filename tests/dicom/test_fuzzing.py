"""make fuzz: damaged inputs end in pydicom's pixels, a known repair or a reason."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from ich_tf.dicom import reader
from ich_tf.dicom.reader import DicomFile
from ich_tf.dicom.reasons import Reason
from ich_tf.masks import nifti
from ich_tf.masks.errors import MaskReason
from tests.support.marks import slow
from tools.fuzzing import campaign
from tools.fuzzing.judging import judge
from tools.fuzzing.record_judging import judge_records
from tools.fuzzing.record_seeds import SHARD, good_records
from tools.fuzzing.seeds import good_archives, good_files
from tools.fuzzing.stream_damage import damaged_payloads, damaged_stream
from tools.fuzzing.volume_judging import WRONG, judge_volume
from tools.fuzzing.volume_seeds import good_volumes

KNOWN = {one.hu.tobytes() for data in good_files().values() for one in DicomFile(data).slices()}


def test_good_inputs_are_read_whole(tmp_path: Path) -> None:
    for name, data in (good_files() | good_archives()).items():
        outcomes = judge(data, tmp_path, KNOWN)
        assert set(outcomes) <= {"slice", "slice, as pydicom's"}, name
        assert len(outcomes) == 8 if "zip" in name else 3 if "enhanced" in name else 1


def test_the_same_number_gives_the_same_input() -> None:
    inputs = [campaign.damaged_input(0, number) for number in range(50)]
    assert inputs == [campaign.damaged_input(0, number) for number in range(50)]
    assert len(set(inputs)) == 50
    assert inputs[7] != campaign.damaged_input(1, 7)


def test_good_volumes_and_masks_are_read_whole(tmp_path: Path) -> None:
    for name, data in good_volumes().values():
        whole = ["slice"] * 4 if name.startswith("image") else ["mask"]
        assert judge_volume(name, data, tmp_path) == whole, name


def test_good_records_are_read_whole(tmp_path: Path) -> None:
    for name, data in good_records().values():
        whole = ["image"] * (2 if name.startswith(SHARD) else 1)
        assert judge_records(name, data, tmp_path) == whole, name


def test_damage_to_streams_leaves_what_is_around_them_whole(tmp_path: Path) -> None:
    """So it reaches the decoders: nothing but them refuses it."""
    rng = np.random.default_rng(0)
    reasons = []
    for _ in range(20):
        data = damaged_stream(good_files()["JPEG-LS"], rng)
        reasons += judge(data, tmp_path, KNOWN)
        png = damaged_stream(good_volumes()["mask as PNG"][1], rng)
        at = 8
        while at + 12 <= len(png):
            (length,) = struct.unpack_from(">I", png, at)
            end = at + 8 + length
            assert zlib.crc32(png[at + 4 : end]) == int.from_bytes(png[end : end + 4], "big")
            at = end + 4
        assert at == len(png)
    assert (
        set(reasons) <= {"slice", "DECODE_FAILED", "TRUNCATED_PIXELS"}
        and "DECODE_FAILED" in reasons
    )
    name, shard = good_records()["shard, png of 3"]
    payloads = [damaged_payloads(shard, rng) for _ in range(9)]
    assert any(judge_records(name, each, tmp_path) != ["image"] * 2 for each in payloads)


def test_what_is_kept_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "damaged_input", lambda *_: ("", b"DICM" + bytes(4000)))
    monkeypatch.setattr(
        campaign,
        "_judged",
        lambda _, message, __: [f"{WRONG}: x"] if b"DICM" in message else ["slice"],
    )
    report = campaign.run(0, 5, 1, 60.0, tmp_path)
    assert report.failures == {5: f"{WRONG}: x"}
    assert (tmp_path / "0-5-small").read_bytes() == b"DICM"


def test_a_mask_that_is_read_otherwise_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, data = good_volumes()["mask"]
    monkeypatch.setattr(nifti, "_whole_numbers", lambda values: values * 0)
    (outcome,) = judge_volume(name, data, tmp_path)
    assert outcome.startswith(WRONG) and "nibabel" in outcome
    monkeypatch.setattr(nifti, "_whole_numbers", lambda values: values[:0].max())
    (outcome,) = judge_volume(name, data, tmp_path)
    assert outcome.startswith(WRONG) and "ValueError" in outcome


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError])
def test_an_error_that_nobody_foresaw_is_found(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(content: object) -> None:
        raise error

    monkeypatch.setattr(reader, "parse", parse)
    (outcome,) = judge(good_files()["explicit"], tmp_path, KNOWN)
    assert outcome.startswith(WRONG) and error.__name__ in outcome


def test_other_pixels_than_pydicoms_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = DicomFile.slice

    def shifted(file: DicomFile, frame: int = 0) -> reader.Slice:
        slice_ = read(file, frame)
        slice_.hu[:] = np.roll(slice_.hu, 1)
        return slice_

    monkeypatch.setattr(DicomFile, "slice", shifted)
    for name in ("explicit", "enhanced", "zip, stored"):
        data = (good_files() | good_archives())[name]
        assert all(outcome.startswith(WRONG) for outcome in judge(data, tmp_path, KNOWN))


def assert_sound(report: campaign.Report) -> None:
    assert report.failures == {}
    reasons = {code.value for code in (*Reason, *MaskReason)} - {"INTERNAL"}
    read = {"slice", "slice, as pydicom's", "mask", "image", "refused"}
    assert set(report.outcomes) <= {*read, *reasons}
    assert report.peak_mib < campaign.MEMORY_MIB


def test_damaged_inputs_end_in_a_slice_or_a_reason() -> None:
    report = campaign.run(0, 0, 300, 120.0, None)
    assert report.count == 300 and len(report.outcomes) > 8
    assert_sound(report)


@slow
def test_more_damaged_inputs() -> None:
    report = campaign.run(1, 0, 5000, 600.0, None)
    assert report.count == 5000
    assert_sound(report)
