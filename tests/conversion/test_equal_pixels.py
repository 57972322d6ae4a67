"""The same pixels under two patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.equal_pixels import SharedImages, shared_images, stored_equal_pixels
from ich_tf.conversion.plan import load_plan
from ich_tf.conversion.verification import verify
from ich_tf.dicom.pixel_hash import pixel_hash
from ich_tf.labels import write_long_csv
from tests.support.conversions import config_in
from tests.support.dicom_files import make_dicom


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(900, 1200, (16, 16)).astype(np.int16)


@pytest.fixture
def twice(tmp_path: Path) -> ConversionConfig:
    """12 patients, of whom 0 and 1, 2 and 3, ... have the same pixels; all labels are 0."""
    (tmp_path / "dicom").mkdir()
    for number in range(12):
        tags = dict.fromkeys(("PatientID", "StudyInstanceUID", "SOPInstanceUID"), f"1.{number}")
        data = make_dicom(picture(number // 2), tags=tags)
        (tmp_path / "dicom" / f"f{number:02}.dcm").write_bytes(data)
    labels = np.zeros((12, 6), np.int64)
    write_long_csv(tmp_path / "labels.csv", [f"f{number:02}" for number in range(12)], labels)
    return config_in(tmp_path)


def test_they_are_told_of(twice: ConversionConfig) -> None:
    result = convert(twice)
    assert (result.equal_pixels.images, result.equal_pixels.patients) == (6, 12)
    assert 0 < result.equal_pixels.images_in_two_splits <= 6
    assert "6 images have equal pixels under two patients" in result.report()
    assert "--join_duplicates" in result.report()
    assert "equal pixels under two patients" in (result.out_dir / "report.html").read_text()
    assert stored_equal_pixels(result.out_dir) == result.equal_pixels
    assert verify(result.out_dir) == []


def test_a_hole_shifts_no_hash_to_another_patient(twice: ConversionConfig) -> None:
    path = Path(twice.dicom_dir) / "f00.dcm"
    path.write_bytes(path.read_bytes()[:-2])
    result = convert(replace(twice, max_bad_fraction=1.0))
    assert (result.equal_pixels.images, result.equal_pixels.patients) == (5, 10)


def test_slices_that_show_nothing_are_not_compared() -> None:
    noisy = np.random.default_rng(0).integers(0, 16 * 400, (8, 8)).astype(np.uint16)
    assert pixel_hash(noisy) == 0  # air
    assert pixel_hash(np.full((8, 8), 40000, np.uint16)) == 0
    assert pixel_hash(noisy + 16 * 1000) != 0


def test_a_hash_tells_every_pixel() -> None:
    image = picture(0).astype(np.uint16) * 16
    hashes = {pixel_hash(image)}
    for row, column in ((0, 0), (1, 0), (15, 15)):
        other = image.copy()
        other[row, column] += 1
        hashes.add(pixel_hash(other))
    assert len(hashes) == 4
    assert pixel_hash(image.T) not in hashes


def test_an_image_of_one_patient_is_not_shared() -> None:
    image, _ = shared_images(np.array([5, 5, 0, 0], np.uint64), np.array([1, 1, 2, 3]))
    assert len(image) == 0


def test_patients_are_joined_through_others() -> None:
    images = SharedImages()
    for patient, hashes in {
        "d": [1],
        "b": [1, 2],
        "a": [2],
        "e": [3],
        "f": [3],
        "c": [4, 0],
    }.items():
        images.add(patient, hashes)
    assert images.groups() == {
        "a": "a", "b": "a", "d": "a", "e": "e", "f": "e",
    }  # fmt: skip


@pytest.mark.parametrize("crop", ["none", "head"])
def test_joined_they_stand_in_one_split(twice: ConversionConfig, crop: str) -> None:
    result = convert(replace(twice, join_duplicates=True, crop=crop))
    assert (result.equal_pixels.images, result.equal_pixels.images_in_two_splits) == (6, 0)
    assert "--join_duplicates" not in result.report()
    plan, _ = load_plan(result.out_dir)
    assert {split: len(patients) % 2 for split, patients in plan.patients.items()} == {
        "fold-0": 0, "fold-1": 0, "test": 0,
    }  # fmt: skip


def test_known_patients_keep_their_splits_and_newcomers_join_them(
    twice: ConversionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    newcomer = Path(twice.dicom_dir) / "f11.dcm"
    data = newcomer.read_bytes()
    newcomer.unlink()
    patient = replace(twice, max_bad_fraction=1.0)
    first = convert(patient)
    before, _ = load_plan(first.out_dir)
    newcomer.write_bytes(data)
    convert(replace(patient, join_duplicates=True))
    after, _ = load_plan(first.out_dir)
    for split, patients in before.patients.items():
        assert set(patients) <= set(after.patients[split])
    splits = {slice_.name: shard.split for shard in after.shards for slice_ in shard.slices()}
    assert splits["f11.dcm"] == splits["f10.dcm"]
    assert "stand in several splits since an earlier run" in caplog.text
