"""Description of a slice: closed terms out of the free text of makers."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from ich_tf.dicom.description import CONTENTS, CONTRASTS, ORIGINS, image_kind
from ich_tf.dicom.header import Header
from ich_tf.dicom.kernels import KERNELS, kernel_class
from ich_tf.dicom.passes import split
from ich_tf.dicom.reader import read_headers
from tests.support.dicom_files import headers_of, make_dicom, make_enhanced

SOFT = {
    "GE": ("STANDARD", "SOFT", "STD+", "STND", "CHEST"),
    "Siemens": ("H30s", "H31s", "J40s", "Hr38f", "Hr40f\\3", "B30f", "Br44", "Qr40", "J30s\\2"),
    "Philips": ("UA", "UB", "UC", "A", "B", "C"),
    "Toshiba": ("FC20", "FC26", "FC62", "FC68", "FC01", "FC43"),
    "Canon": ("FC21", "FC64", "Brain LCD"),
    "Neusoft": ("SOFT2", "Brain"),
    "United Imaging": ("H_SOFT_B",),
}
SHARP = {
    "GE": ("BONE", "BONEPLUS", "EDGE", "DETAIL", "LUNG", "ULTRA"),
    "Siemens": ("H60s", "H70h", "B60s", "B70f", "Hr64", "J70h\\3", "Ur73"),
    "Philips": ("YA", "YB", "YC", "YD", "D", "E", "L"),
    "Toshiba": ("FC30", "FC35", "FC39", "FC51", "FC80", "FC81", "FC86"),
    "Canon": ("FC30", "Inner Ear"),
    "United Imaging": ("B_SHARP_C",),
}


@pytest.mark.parametrize(("expected", "table"), [("soft", SOFT), ("sharp", SHARP)])
def test_kernels_of_all_makers(expected: str, table: dict) -> None:
    for maker, names in table.items():
        for name in names:
            assert kernel_class(name, maker) == expected, (maker, name)


def test_kernels_that_say_nothing_are_unknown() -> None:
    for maker, name in (("GE", ""), ("GE", "A"), ("Hitachi", "22"), ("unknown", "L"), ("GE", "\\")):
        assert kernel_class(name, maker) == "unknown"


@pytest.mark.parametrize(
    ("image_type", "expected"),
    [
        (r"ORIGINAL\PRIMARY\AXIAL", ("original", "axial")),
        (r"ORIGINAL\PRIMARY\AXIAL\ADD", ("original", "axial")),
        (r"ORIGINAL\PRIMARY\AXIAL\CT_SOM5 SPI", ("original", "axial")),
        (r"DERIVED\SECONDARY\REFORMATTED\AVERAGE", ("derived", "average")),
        (r"DERIVED\SECONDARY\REFORMATTED\MIN IP", ("derived", "mip")),
        (r"DERIVED\SECONDARY\AXIAL\CT_SOM5 MIP", ("derived", "mip")),
        (r"DERIVED\SECONDARY\OTHER\CSA MPR\\CSAPARALLEL", ("derived", "reformat")),
        (r"DERIVED\PRIMARY\AXIAL\CT_SOM7 DE_MONO", ("derived", "monoenergetic")),
        (r"DERIVED\SECONDARY\PERFUSION\CBF", ("derived", "perfusion")),
        (r"DERIVED\SECONDARY\REF_SURVIEW", ("derived", "other")),
        (r"DERIVED\PRIMARY\ANGIO\MAXIMUM", ("derived", "mip")),
        (r"DERIVED\SECONDARY", ("derived", "unknown")),
        ("", ("unknown", "unknown")),
    ],
)
def test_image_types(image_type: str, expected: tuple[str, str]) -> None:
    assert image_kind(image_type) == expected


def test_a_description_is_asked_where_the_image_type_says_no_more_than_axial() -> None:
    assert image_kind(r"DERIVED\SECONDARY\AXIAL", "AX MIP 10mm") == ("derived", "mip")
    assert image_kind(r"DERIVED\SECONDARY\MPR", "CBF") == ("derived", "reformat")
    assert image_kind(r"ORIGINAL\PRIMARY\AXIAL", "HEAD AX/COR/SAG MIP") == ("original", "axial")


def header_of(**tags: object) -> Header:
    return read_headers(io.BytesIO(make_dicom(tags=tags)))[0]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, "unknown"),
        ({"ContrastBolusAgent": ""}, "unknown"),
        ({"ContrastBolusAgent": "NONE"}, "no"),
        ({"ContrastBolusAgent": "without"}, "no"),
        ({"ContrastBolusAgent": "OMNIPAQUE 350"}, "yes"),
        ({"ContrastBolusAgent": "CE"}, "yes"),
        ({"ContrastBolusVolume": "80"}, "yes"),
        ({"ContrastBolusVolume": "0"}, "unknown"),
        ({"SeriesDescription": "CTA HEAD 0.6"}, "yes"),
        ({"SeriesDescription": "HEAD W/O CONTRAST"}, "unknown"),
        ({"SeriesDescription": "HEAD NON CTA"}, "unknown"),
        ({"SeriesDescription": "NCCT BEFORE CTA"}, "unknown"),
        ({"SeriesDescription": "HEAD_PRE-CONTRAST"}, "unknown"),
        ({"SeriesDescription": "CTA AFTER NON CONTRAST"}, "yes"),
        *(
            ({"ContrastBolusAgent": text}, "no")
            for text in (
                "NON CONTRAST CT",
                "Not given",
                "NONCON",
                "No contrast given",
                "NC",
                "N/C",
                "w/o IV contrast",
                "SIN CONTRASTE",
                "ohne KM",
                "NATIVE SCAN",
                "I-",
            )
        ),
        *(
            ({"ContrastBolusAgent": text}, "unknown")
            for text in (
                "ANONYMIZED",
                "removed",
                "XXXX",
                "-",
                "Unknown",
                "oral",
            )
        ),
        *(
            ({"ContrastBolusAgent": text}, "yes")
            for text in (
                "NONIONIC",
                "Non-ionic iodine",
                "NON IONIC",
                "Iopamidol",
                "Contrast",
                "NOVACONTRAST",
            )
        ),
    ],
)
def test_contrast(tags: dict, expected: str) -> None:
    assert header_of(**tags).contrast == expected


def test_nonsense_in_a_describing_tag_rejects_no_file() -> None:
    header = header_of(
        ImageType=["SMITH^JOHN"],
        ConvolutionKernel="Smith",
        SeriesDescription="Smith",
        AcquisitionTime="noon",
        SliceThickness="-3",
    )
    assert (header.kernel, header.contrast) == ("unknown", "unknown")
    assert (header.origin, header.content) == ("unknown", "unknown")
    assert (header.thickness_mm, header.acquisition, header.time_s) == (0.0, -1, -1.0)


def test_numbers_of_a_series() -> None:
    header = header_of(
        SeriesNumber=12,
        AcquisitionNumber=3,
        InstanceNumber=47,
        AcquisitionTime="120102.5",
        SliceThickness="0.625",
    )
    assert (header.series_number, header.acquisition, header.instance) == (12, 3, 47)
    assert (header.time_s, header.thickness_mm) == (43262.5, 0.625)


def test_frames_of_enhanced_files_are_described_by_their_functional_groups() -> None:
    stored = np.arange(6 * 256, dtype=np.int16).reshape(6, 16, 16)
    dataset = pydicom.dcmread(io.BytesIO(make_enhanced(stored)))
    for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = ["0", "0", str(5 * (number % 3))]
        for macro, keyword, value in (
            ("FrameContentSequence", "FrameAcquisitionNumber", number // 3 + 1),
            ("CTImageFrameTypeSequence", "FrameType", ["ORIGINAL", "PRIMARY", "AXIAL", "NONE"]),
            ("CTReconstructionSequence", "ConvolutionKernel", "H31s"),
            (
                "ContrastBolusUsageSequence",
                "ContrastBolusAgentAdministered",
                "YES" if number > 2 else "NO",
            ),
        ):
            inner = Dataset()
            setattr(inner, keyword, value)
            setattr(group, macro, [inner])
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = "5"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    headers = read_headers(io.BytesIO(file.getvalue()))
    assert {(h.kernel, h.thickness_mm, h.origin, h.content) for h in headers} == {
        ("soft", 5.0, "original", "axial")
    }
    assert [h.contrast for h in headers] == ["no"] * 3 + ["yes"] * 3
    assert [h.acquisition for h in headers] == [1, 1, 1, 2, 2, 2]
    assert [h.instance for h in headers] == [1, 2, 3, 4, 5, 6]
    assert split(headers) == [[0, 1, 2], [3, 4, 5]]


def test_only_terms_leave_real_files(real_dicom: Path) -> None:
    for header in headers_of((real_dicom / "philips_study").rglob("*")):
        assert header.kernel in KERNELS
        assert header.contrast in CONTRASTS
        assert header.origin in ORIGINS
        assert header.content in CONTENTS
