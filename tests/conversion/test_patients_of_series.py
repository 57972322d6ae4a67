"""Series whose patient is in doubt: torn by an id, or of another id than before."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.convert import convert
from ich_tf.errors import InputError
from ich_tf.labels import write_long_csv
from tests.support.conversions import config_in, files_of
from tests.support.dicom_files import make_dicom

NUMBER = 12


def write(folder: Path, number: int, patient: str, slice_: int = 0) -> None:
    """A slice of the series of a number."""
    pixels = np.random.default_rng(9 * number + slice_).integers(900, 1200, (16, 16))
    tags = {
        "PatientID": patient,
        "StudyInstanceUID": f"1.{number}",
        "SeriesInstanceUID": f"1.{number}.1",
        "SOPInstanceUID": f"1.{number}.1.{slice_ + 1}",
        "ImagePositionPatient": [0, 0, 5 * slice_],
    }
    path = folder / f"f{number:02}_{slice_}.dcm"
    path.write_bytes(make_dicom(pixels.astype(np.int16), tags=tags))


@pytest.fixture
def source(tmp_path: Path) -> ConversionConfig:
    """12 patients of a series with two slices each; all labels are 0."""
    (tmp_path / "dicom").mkdir()
    for number in range(NUMBER):
        for slice_ in (0, 1):
            write(tmp_path / "dicom", number, f"P{number}", slice_)
    names = [f"f{number:02}_{slice_}" for number in range(NUMBER) for slice_ in (0, 1)]
    write_long_csv(tmp_path / "labels.csv", names, np.zeros((len(names), 6), np.int64))
    return config_in(tmp_path)


def test_a_series_that_an_id_tears_apart_is_told_of(
    source: ConversionConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    convert(replace(source, out_dir=f"{source.out_dir}0"))
    assert "under several PatientIDs" not in caplog.text
    for number in range(6):
        write(Path(source.dicom_dir), number, f"0P{number}", 1)
    convert(source)
    assert "6 series UIDs stand under several PatientIDs, " in caplog.text


def test_a_series_stays_in_its_split_whatever_its_patient_is_called(
    source: ConversionConfig,
) -> None:
    out = Path(convert(source).out_dir)
    before = files_of(out)
    for number in range(NUMBER):
        for slice_ in (0, 1):
            write(Path(source.dicom_dir), number, f"0{number}", slice_)
    with pytest.raises(InputError, match="series would move to another split, such as from"):
        convert(source)
    after = files_of(out)
    assert {name: after[name] for name in before} == before
    convert(replace(source, overwrite=True))
