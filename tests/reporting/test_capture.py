"""Captures: pictures that lie where their slices do, and say so."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_tf.dicom.geometry import edge_directions
from ich_tf.reporting.capture import capture
from tests.support.findings import ALGORITHM, ARCHIVED, made_findings, require_valid, source_files

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize("scale", [1, 2])
def test_a_picture_lies_where_its_slice_does(scale: int, tmp_path: Path) -> None:
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": ["10", "2.5"]}
    findings = made_findings(source_files(3, lossy))
    picture = np.random.default_rng(0).integers(0, 256, (70, 64, 3), np.uint8)
    data = capture(findings, 2, picture, "Slice 3 of 3: any 0.90", scale=scale)
    assert data == capture(findings, 2, picture, "Slice 3 of 3: any 0.90", scale=scale)
    require_valid(data, tmp_path / "capture.dcm")
    read = pydicom.dcmread(io.BytesIO(data))
    assert read.file_meta.MediaStorageSOPClassUID == SECONDARY_CAPTURE
    np.testing.assert_array_equal(read.pixel_array, picture)
    for keyword in ("PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert read.get(keyword, "") == ARCHIVED[keyword]
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.826.0.1.7.2"
    assert read.LossyImageCompression == "01" and list(read.LossyImageCompressionRatio) == [10, 2.5]
    assert list(read.PatientOrientation) == ["L", "P"]
    # The corner of the first pixel is that of the slice's, whatever the scale.
    spacing = np.array(read.PixelSpacing, float)
    corner = np.array(read.ImagePositionPatient, float)[:2] - spacing / 2
    np.testing.assert_allclose(spacing, 0.5 / scale)
    np.testing.assert_allclose(corner, -8.25)
    assert read.ImageComments == "Research only - not for clinical use. Slice 3 of 3: any 0.90"
    assert ALGORITHM.version in read.DerivationDescription


def test_pictures_of_a_slice_differ_by_kind() -> None:
    findings = made_findings(source_files(1))
    picture = np.zeros((32, 32, 3), np.uint8)
    uids = {
        pydicom.dcmread(io.BytesIO(capture(findings, 0, picture, "", kind=kind))).SOPInstanceUID
        for kind in ("any", "subdural")
    }
    assert len(uids) == 2


def test_edges_of_turned_images_are_named() -> None:
    assert edge_directions((0, 0, -1, -1, 0, 0)) == {
        "left": "H", "right": "F", "top": "L", "bottom": "R",
    }  # fmt: skip
