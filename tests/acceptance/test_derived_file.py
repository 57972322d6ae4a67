"""Files with other pixels: what of the source they keep, and what they must not keep."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from ich_tf.acceptance.derived_file import SourceFile


@pytest.fixture
def source(negatives: Path) -> Dataset:
    """A slice of the head."""
    return pydicom.dcmread(min(negatives.iterdir()))


def _copy(source: Dataset, change: float = 0.0) -> Dataset:
    """What becomes of a file whose middle pixel changes, or none."""
    file = io.BytesIO()
    source.save_as(file, enforce_file_format=False)
    changes = np.zeros((source.Rows, source.Columns), np.float32)
    changes[56, 56] = change
    content, _ = SourceFile(file.getvalue()).with_changes({0: changes}, "study", "INSERTED-1")
    return pydicom.dcmread(io.BytesIO(content), force=True)


def test_no_name_stays(source: Dataset) -> None:
    source.OperatorsName = "Doe^Jane"
    source.NameOfPhysiciansReadingStudy = ["Doe^Jane", "Roe^R"]
    item = Dataset()
    item.PatientName, item.PatientID = "Doe^Jane", "DOE-7"
    source.OriginalAttributesSequence = [item]
    deeper = Dataset()
    deeper.ReferencedPatientSequence = [item]
    source.PerformedProtocolCodeSequence = [deeper]
    copy = _copy(source)
    assert copy.PatientID == "INSERTED-1"
    text = str(copy)
    assert "Doe" not in text and "Roe" not in text and "DOE-7" not in text
    assert "PerformedProtocolCodeSequence" in copy


def test_an_image_type_of_one_value(source: Dataset) -> None:
    source.ImageType = "ORIGINAL"
    assert list(_copy(source).ImageType) == ["DERIVED", "PRIMARY"]


def test_padding_keeps_its_stored_value_where_air_has_none(source: Dataset) -> None:
    stored = np.maximum(source.pixel_array + int(source.RescaleIntercept), 0).astype("<u2")
    stored[:3] = 63536
    source.PixelData, source.PixelRepresentation = stored.tobytes(), 0
    source.BitsStored, source.HighBit, source.RescaleIntercept = 16, 15, "0"
    source.add_new("PixelPaddingValue", "US", 63536)
    copy = _copy(source, 30.0).pixel_array
    expected = stored.copy()
    expected[56, 56] += 30
    np.testing.assert_array_equal(copy, expected)


def test_values_that_no_standard_allows_are_quoted_nowhere(
    source: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with pydicom.config.disable_value_validation(), caplog.at_level(logging.DEBUG):
        source.FrameOfReferenceUID, source.StudyInstanceUID = "ID_frame", "ID_study"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy = _copy(source)
        assert not caplog.records
        with pydicom.config.disable_value_validation():
            assert copy.FrameOfReferenceUID == "ID_frame"
