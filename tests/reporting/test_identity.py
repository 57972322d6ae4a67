"""What results carry of their source: everything that an archive files by, byte by byte."""

import io
from pathlib import Path

import pydicom
import pytest

from ich_tf.dicom.reader import read_headers
from ich_tf.errors import InputError
from ich_tf.reporting.identity import SourceFile
from ich_tf.reporting.structured_report import structured_report
from tests.support.dicom_files import changed, encapsulated
from tests.support.findings import ARCHIVED, made_findings, require_valid, source_files

KOREAN = "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9"


def report_of(files: list[bytes]) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(structured_report(made_findings(files))))


def test_patient_and_study_are_those_of_the_source() -> None:
    report = report_of(source_files(3, {"SeriesDescription": "HEAD", "StationName": "CT1"}))
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "StudyDate", "StudyTime", "AccessionNumber", "StudyID",
    ):  # fmt: skip
        assert str(report[keyword].value) == ARCHIVED[keyword], keyword
    # A series and an equipment of its own.
    assert report.SeriesInstanceUID != ARCHIVED["SeriesInstanceUID"]
    assert report.Manufacturer == "ich_tf" and "StationName" not in report
    assert (report.ContentDate, report.ContentTime) == ("20260102", "101500.5")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == ARCHIVED["StudyInstanceUID"]
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == ARCHIVED["SeriesInstanceUID"]
    cited = {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence}
    assert cited == {f"1.2.826.0.1.7.{number}" for number in range(3)}


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 149"], KOREAN),
        ("ISO_IR 192", "M\u00fcller^\u5b57"),
        ("ISO_IR 144", "\u041b\u044e\u043ace\u043c\u0431yp\u0433"),
        ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"),
    ],
)
def test_names_keep_their_characters(charset, name: str, tmp_path: Path) -> None:
    files = source_files(2, {"SpecificCharacterSet": charset, "PatientName": name})
    findings = made_findings(files)
    data = structured_report(findings)
    source, report = (pydicom.dcmread(io.BytesIO(each)) for each in (files[0], data))
    raw = [dataset.get_item("PatientName").value for dataset in (source, report)]
    assert raw[0] == raw[1] and str(report.PatientName) == name
    assert report.SpecificCharacterSet == charset
    require_valid(data, tmp_path / "report.dcm")


def test_bytes_of_no_character_set_are_kept_and_not_shown(recwarn, caplog) -> None:
    files = source_files(2)
    files = [data.replace(b"Doe^Jane", b"D\xf6\xff^J\x81nx") for data in files]
    report = report_of(files)
    assert report.get_item("PatientName").value == b"D\xf6\xff^J\x81nx"
    assert not caplog.records and not recwarn.list


def test_what_the_source_lacks_is_empty(tmp_path: Path) -> None:
    def strip(dataset: pydicom.Dataset) -> None:
        for keyword in ARCHIVED:
            if keyword not in ("StudyInstanceUID", "SeriesInstanceUID"):
                delattr(dataset, keyword)
        # An error of the source that is not copied.
        dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", ""

    files = [changed(data, strip) for data in source_files(2)]
    data = structured_report(made_findings(files))
    report = pydicom.dcmread(io.BytesIO(data))
    assert report.PatientID == "" and "PatientIdentityRemoved" not in report
    assert (report.ContentDate, report.ContentTime) == ("19000101", "000000")
    require_valid(data, tmp_path / "report.dcm")
    (header,) = read_headers(io.BytesIO(files[0]))
    image = SourceFile(io.BytesIO(files[0])).image(header)
    assert image.frame_of_reference_uid.startswith("2.25.")


@pytest.mark.parametrize(
    ("tags", "moment"),
    [
        ({"AcquisitionDateTime": "20260304050607.125+0100"}, ("20260304", "050607")),
        ({"AcquisitionDate": "2026.1.2"}, ("20260102", "101112")),
        ({"AcquisitionDate": "20260231"}, ("20260102", "101112")),
        ({"AcquisitionTime": "99"}, ("20260102", "000000")),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_the_moment_is_the_first_that_is_one(tags, moment: tuple[str, str]) -> None:
    with pydicom.config.disable_value_validation():
        (data,) = source_files(1, tags)
    (header,) = read_headers(io.BytesIO(data))
    assert SourceFile(io.BytesIO(data)).study(header).moment == moment


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"StudyInstanceUID": ["1.2.3", "1.2.4"]}, "several values"),
        ({"SOPInstanceUID": ["1.2.3", "1.2.4"]}, "several values"),
        ({"SOPInstanceUID": "1.2/3"}, "characters that no UID has"),
        ({"SeriesInstanceUID": "1.2é3"}, "characters that no UID has"),
        ({"SOPClassUID": "1.2.3"}, "SOPClassUID of its images"),
    ],
)
def test_images_that_nothing_can_refer_to_are_refused(tags, reason: str) -> None:
    (data,) = source_files(1, tags)
    (header,) = read_headers(io.BytesIO(data))
    with pytest.raises(InputError, match=reason):
        SourceFile(io.BytesIO(data)).image(header)


@pytest.mark.parametrize(
    ("ratio", "method", "kept"),
    [
        (b"10\\2.5", b"ISO_1\\ISO_2", (["10", "2.5"], ["ISO_1", "ISO_2"])),
        (b"..", b"ISO_1", (None, "ISO_1")),
        (b"ten", b"\xe4\xe4", (None, None)),
    ],
)
def test_compression_is_copied_where_it_can_be_read(ratio: bytes, method: bytes, kept) -> None:
    tags = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": ["1111", "22"],
        "LossyImageCompressionMethod": ["METHOD", "OTHER"],
    }
    (data,) = source_files(1, tags)
    data = data.replace(b"1111\\22 ", ratio.ljust(8)).replace(b"METHOD\\OTHER", method.ljust(12))
    (header,) = read_headers(io.BytesIO(data))
    lossy = SourceFile(io.BytesIO(data)).study(header).lossy()
    names = [f"LossyImageCompression{end}" for end in ("", "Ratio", "Method")]
    assert [lossy.get(name) for name in names] == ["01", *kept]


@pytest.mark.parametrize(("process", "said"), [("50", "01"), ("70", "00")])
def test_what_loses_detail_is_said_to(process: str, said: str) -> None:
    (data,) = source_files(1, {"LossyImageCompression": "00"})
    data = encapsulated(data, b"\xff\xd8\xff\xd9", f"1.2.840.10008.1.2.4.{process}")
    (header,) = read_headers(io.BytesIO(data))
    study = SourceFile(io.BytesIO(data)).study(header)
    assert study.lossy()["LossyImageCompression"] == said


@pytest.mark.parametrize(("offset", "kept"), [("+0530", "+0530"), ("CET", None)])
def test_dates_keep_their_time_zone(offset: str, kept: str | None) -> None:
    report = report_of(source_files(2, {"TimezoneOffsetFromUTC": offset}))
    assert report.get("TimezoneOffsetFromUTC") == kept


def test_a_reference_point_is_a_word_or_nothing() -> None:
    for given, kept in (("SN", "SN"), (["SN", "XY"], ""), ("\u5b57", "")):
        tags = {"SpecificCharacterSet": "ISO_IR 192", "PositionReferenceIndicator": given}
        (data,) = source_files(1, tags)
        (header,) = read_headers(io.BytesIO(data))
        assert SourceFile(io.BytesIO(data)).study(header).position_reference == kept
