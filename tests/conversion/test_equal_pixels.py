"""The same pixels under two patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.conversion.equal_pixels import join_patients, shared_images, stored_equal_pixels
from ich_tf.conversion.verification import verify
from ich_tf.labels import write_long_csv
from ich_tf.records.pixel_hash import pixel_hash
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
    return ConversionConfig(
        dicom_dir=str(tmp_path / "dicom"),
        labels_csv=str(tmp_path / "labels.csv"),
        out_dir=str(tmp_path / "out"),
        image_size=16,
        num_workers=1,
        num_folds=2,
    )


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
    hashes = np.array([1, 1, 2, 2, 3, 3, 4], np.uint64)
    patients = np.array([3, 1, 1, 0, 4, 5, 2])
    assert join_patients(hashes, patients, list("abcdef")) == {
        "a": "a", "b": "a", "d": "a", "e": "e", "f": "e",
    }  # fmt: skip
