"""Structured reports: what they say, by which codes, of which images."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom import sr
from pydicom.sr.codedict import codes

from ich_tf.dicom.series_warnings import SeriesWarning
from ich_tf.labels import ANY, CLASSES
from ich_tf.reporting import codes as own
from ich_tf.reporting.key_objects import key_objects
from ich_tf.reporting.picture_text import describe_picture
from ich_tf.reporting.structured_report import structured_report
from tests.support.dicom_files import make_enhanced, rewrite
from tests.support.findings import (
    ALGORITHM,
    ARCHIVED,
    made_findings,
    require_valid,
    source_files,
)
from tests.support.reports import groups, numbers


def test_a_report_says_what_was_found_and_by_what(tmp_path: Path) -> None:
    findings = made_findings(source_files(4))
    data = structured_report(findings)
    assert data == structured_report(findings)
    require_valid(data, tmp_path / "report.dcm")
    report = sr.srread(io.BytesIO(data))
    assert isinstance(report, sr.Comprehensive3DSR)
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.ContentQualification == "RESEARCH"
    assert "not for clinical use" in report.SeriesDescription
    measured = groups(report)
    assert len(measured) == len(CLASSES) + 4
    for name, group in zip(CLASSES, measured, strict=False):
        assert numbers(group) == {"Probability": 0.9, "Operating point": 0.4}, name
        assert "At or above operating point" in str(group) and "'Present'" in str(group)
        text = " ".join(str(item.get("TextValue")) for item in group.ContentSequence)
        for part in (ALGORITHM.sha256, ALGORITHM.calibration_sha256, "Research only", "any 0.5"):
            assert part in text
        assert "1.2.826.0.1.7.2" in str(group), "the most suspicious slice"
    np.testing.assert_allclose(list(numbers(measured[-2]).values()), 0.9)
    if shutil.which("dsrdump"):
        command = ["dsrdump", str(tmp_path / "report.dcm")]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "Imaging Measurement Report" in shown and "Doe^Jane" in shown
        assert shown.count("Measurement Group") == len(measured)


def test_what_is_left_to_a_reader_is_neither_present_nor_absent(tmp_path: Path) -> None:
    findings = made_findings(source_files(2))
    assert "left to a reader" not in str(sr.srread(io.BytesIO(structured_report(findings))))
    answers = dict(zip(CLASSES, ("yes", "no", "abstain") * 2, strict=True))
    findings = made_findings(source_files(2), summary={**findings.summary, "abstention": answers})
    data = structured_report(findings)
    require_valid(data, tmp_path / "report.dcm")
    words = {"yes": "Present", "no": "Absent", "abstain": "Indeterminate"}
    for name, group in zip(CLASSES, groups(sr.srread(io.BytesIO(data))), strict=False):
        (said,) = (
            item.ConceptCodeSequence[0].CodeMeaning
            for item in group.ContentSequence
            if item.name.value == own.WITH_ABSTENTION[0]
        )
        assert said == words[answers[name]], name


def test_codes_are_those_of_the_dictionaries() -> None:
    """As far as these go; the others are ours, and say so."""
    assert own.FINDINGS["any"][0] == codes.SCT.IntracranialHemorrhage.value
    assert own.FINDINGS["intraventricular"][0] == codes.SCT.Hemorrhage.value
    assert own.SITES["intraventricular"][0] == codes.CID7153.BrainVentricle.value
    integration = codes.CID7474.IntegrationOfSumOfClosedAreasOnContiguousSlicesMethodForVolume
    assert own.AREAS_TIMES_DISTANCES[0] == integration.value
    assert set(own.FINDINGS) == set(CLASSES) == set(own.PROBABILITIES)
    for value, scheme, meaning in (*own.FINDINGS.values(), *own.PROBABILITIES.values()):
        assert scheme in ("SCT", "99ICHTF") and len(value) <= 16 and len(meaning) <= 64
    assert len({*own.FINDINGS.values()}) == len(CLASSES)


def test_of_a_long_series_the_most_suspicious_slices_are_listed(monkeypatch) -> None:
    monkeypatch.setattr("ich_tf.reporting.structured_report._MAX_LISTED", 5)
    probabilities = np.random.default_rng(0).uniform(0.01, 0.99, (9, 6))
    findings = made_findings(source_files(9), probabilities)
    listed = groups(pydicom.dcmread(io.BytesIO(structured_report(findings))))[len(CLASSES) :]
    assert len(listed) == 5
    any_bleed = [list(numbers(group).values())[ANY] for group in listed]
    assert min(any_bleed) >= np.sort(probabilities[:, ANY])[-5] - 1e-6


def test_volumes_are_in_the_report(tmp_path: Path) -> None:
    volumes = [0.0, 31.257, 2.5, 0.125, None, 33.882]
    kinds = {
        "ml": volumes,
        "likely_low_ml": [None] * 5 + [25.5],
        "likely_high_ml": [None] * 5 + [40],
    }
    by_kind = {kind: dict(zip(CLASSES, values, strict=True)) for kind, values in kinds.items()}
    findings = made_findings(source_files(2))
    findings = made_findings(source_files(2), summary={**findings.summary, "volumes": by_kind})
    data = structured_report(findings)
    require_valid(data, tmp_path / "report.dcm")
    measured = groups(pydicom.dcmread(io.BytesIO(data)))[: len(CLASSES)]
    assert [numbers(group).get("Volume") for group in measured] == volumes
    (volume,) = [
        item
        for item in measured[ANY].ContentSequence
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeMeaning == "Volume"
    ]
    unit = volume.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("ml", "UCUM")
    ranges = {
        item.ConceptNameCodeSequence[0].CodeValue: item.MeasuredValueSequence[0]
        for item in volume.ContentSequence
        if item.ValueType == "NUM"
    }
    above, below = ranges["371886008"], ranges["371885007"]
    assert float(above.NumericValue) == pytest.approx(40 - 33.882)
    assert float(below.NumericValue) == pytest.approx(33.882 - 25.5)
    assert len([group for group in measured if "371886008" in str(group)]) == 1


def test_warnings_travel_with_results() -> None:
    """Whoever sees a result without the others should know what speaks against it."""
    warnings = (SeriesWarning("NOT_A_HEAD", "has no brain in a ring of bone."),)
    findings = made_findings(source_files(2), warnings=warnings)
    text = "Warning NOT_A_HEAD: has no brain in a ring of bone."
    report, selection = structured_report(findings), key_objects(findings)
    assert report.count(text.encode()) == len(CLASSES)
    assert selection is not None and text.encode() in selection
    assert "Warnings: NOT_A_HEAD, see the report." in describe_picture(findings, 1, "")
    assert b"Warning" not in structured_report(made_findings(source_files(2)))


def test_frames_of_enhanced_ct_are_referred_to_by_number(tmp_path: Path) -> None:
    uid = "1.2.840.10008.5.1.4.1.1.2.1"
    file = rewrite(make_enhanced(np.zeros((3, 16, 16), np.int16)), SOPClassUID=uid, **ARCHIVED)
    data = structured_report(made_findings([file]))
    require_valid(data, tmp_path / "report.dcm")
    report = pydicom.dcmread(io.BytesIO(data))
    last = groups(report)[-1].ContentSequence[-1].ReferencedSOPSequence[0]
    assert (last.ReferencedSOPClassUID, last.ReferencedFrameNumber) == (uid, 3)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (cited,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert cited.ReferencedSOPInstanceUID == "1.2.3"


def test_one_uid_in_several_files_is_cited_once(tmp_path: Path) -> None:
    files = source_files(3, {"SOPInstanceUID": "1.2.826.0.1.7"})
    data = structured_report(made_findings(files))
    require_valid(data, tmp_path / "report.dcm")
    (study,) = pydicom.dcmread(io.BytesIO(data)).CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def test_volumes_name_their_segments(tmp_path: Path) -> None:
    by_kind = {"ml": dict.fromkeys(CLASSES, 2.5)}
    plain = made_findings(source_files(2))
    findings = made_findings(
        source_files(2),
        summary={**plain.summary, "volumes": by_kind},
        segments={"subdural": 1, "any": 2},
    )
    data = structured_report(findings)
    require_valid(data, tmp_path / "report.dcm")
    report = pydicom.dcmread(io.BytesIO(data))
    measured = groups(report)
    volumes = [numbers(group).get("Volume") for group in measured]
    # Epidural to subarachnoid; subdural and any; two slices; the segments.
    assert volumes == [2.5] * 4 + [None] * 4 + [2.5] * 2
    for number, group in enumerate(measured[-2:], 1):
        (reference,) = [
            item.ReferencedSOPSequence[0] for item in group.ContentSequence
            if item.ValueType == "IMAGE"
        ]  # fmt: skip
        assert reference.ReferencedSOPInstanceUID == findings.uids.uid("segmentation", "instance")
        assert reference.ReferencedSegmentNumber == number
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    series = {each.SeriesInstanceUID for each in study.ReferencedSeriesSequence}
    assert series == {ARCHIVED["SeriesInstanceUID"], findings.uids.uid("segmentation")}
