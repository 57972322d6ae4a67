"""Key Object Selections: which slices, in which order, and none where there is none."""

import io
from pathlib import Path

import highdicom
import numpy as np
import pydicom

from ich_tf.labels import ANY
from ich_tf.reporting.key_objects import key_objects
from tests.support.dicom_files import make_enhanced, rewrite
from tests.support.findings import ALGORITHM, ARCHIVED, made_findings, require_valid, source_files


def selected(data: bytes) -> list[pydicom.Dataset]:
    """References to the selected images, in order."""
    return [
        item.ReferencedSOPSequence[0]
        for item in pydicom.dcmread(io.BytesIO(data)).ContentSequence
        if item.ValueType == "IMAGE"
    ]


def probabilities(*any_bleed: float) -> np.ndarray:
    values = np.zeros((len(any_bleed), 6))
    values[:, ANY] = any_bleed
    return values


def test_slices_at_or_above_the_operating_point_come_first(tmp_path: Path) -> None:
    findings = made_findings(source_files(4), probabilities(0.5, 0.49, 0.9, 0.7))
    data = key_objects(findings)
    assert data is not None and data == key_objects(findings)
    require_valid(data, tmp_path / "key.dcm")
    uids = [image.ReferencedSOPInstanceUID for image in selected(data)]
    assert uids == [f"1.2.826.0.1.7.{number}" for number in (2, 3, 0)]
    dataset = pydicom.dcmread(io.BytesIO(data))
    document = highdicom.ko.KeyObjectSelectionDocument.from_dataset(dataset)
    assert document.Modality == "KO" and document.PatientName == ARCHIVED["PatientName"]
    assert document.ConceptNameCodeSequence[0].CodeValue == "113000"
    (text,) = [
        item.TextValue
        for item in document.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]
    assert text.startswith("Research only - not for clinical use.")
    assert "0.5 or more" in text and "3 (0.90), 4 (0.70), 1 (0.50)" in text
    assert ALGORITHM.sha256[:12] in text and ALGORITHM.calibration_sha256[:12] in text


def test_no_suspicious_slice_is_no_selection() -> None:
    assert key_objects(made_findings(source_files(2), probabilities(0.49, 0.1))) is None


def test_frames_are_selected_by_number(tmp_path: Path) -> None:
    uid = "1.2.840.10008.5.1.4.1.1.2.1"
    file = rewrite(make_enhanced(np.zeros((3, 16, 16), np.int16)), SOPClassUID=uid, **ARCHIVED)
    data = key_objects(made_findings([file], probabilities(0.6, 0.1, 0.8)))
    assert data is not None
    require_valid(data, tmp_path / "key.dcm")
    (image,) = selected(data)
    assert list(image.ReferencedFrameNumber) == [3, 1]
