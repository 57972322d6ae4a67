"""Header values of any bytes: the number or text that pydicom has, or a reason."""

import io
import math

import numpy as np
import pydicom
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.dicom import elements
from ich_tf.dicom.quantity import rescale
from ich_tf.dicom.reader import DicomFile, read_headers
from ich_tf.dicom.reasons import DicomError, Reason
from tests.support.dicom_files import make_dicom
from tests.support.strategies import damaged, refused_in_a_paragraph

VALID = make_dicom(np.zeros((4, 4), np.int16))
KEYWORDS = (
    "RescaleSlope",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "PatientID",
    "SeriesInstanceUID",
    "Manufacturer",
    "ImageType",
    "ConvolutionKernel",
    "Rows",
    "BitsStored",
)
values = st.one_of(
    st.sampled_from(
        (
            *(b"", b" ", b"\\", b"nan", b"inf", b"1_000", b"1,5", b"1e400", b"-0", b"1\\2\\3"),
            *(b"1e-400", b"0x10", b"+.5e+3", b"\xb2", b"\xff\xfe", b"a\0b", b"9" * 400, b"1\n"),
            *(b" 1.5 ", b"\0", b"ORIGINAL\\PRIMARY\\AXIAL", b"1.2.3\0", b"\\\\\\", b"1e5"),
        )
    ),
    st.binary(max_size=20),
    st.from_regex(rb"[+-]?[0-9.eE\\ ]{1,16}", fullmatch=True),
)


def with_value(keyword: str, value: bytes) -> bytes:
    """The file with the raw bytes of one element replaced."""
    dataset = pydicom.dcmread(io.BytesIO(VALID))
    vr = pydicom.datadict.dictionary_VR(keyword)
    value += b"\0" * (len(value) % 2)
    element = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(keyword), vr.split()[0], len(value), value, 0, False, True
    )
    dataset._dict[element.tag] = element
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset)
    return file.getvalue()


@given(values)
@example(b"1_000")
@example(b"nan")
@example(b"\xb2")
def test_numbers_are_those_of_pydicom_or_refused(value: bytes) -> None:
    data = with_value("ImagePositionPatient", value)
    dataset = DicomFile(io.BytesIO(data))._dataset
    try:
        own = elements.numbers(dataset, "ImagePositionPatient", Reason.BAD_GEOMETRY)
    except DicomError as error:
        assert error.reason is Reason.BAD_GEOMETRY
        return
    parts = value.decode("latin-1").strip(" \0").split("\\")
    assert own == [float(part.strip(" \0")) for part in parts if value.strip(b" \0")]
    assert not any(map(math.isnan, own))


@given(st.sampled_from(KEYWORDS), values)
@example("RescaleSlope", b"1_0")
@example("RescaleSlope", b"1e400")
@example("SliceThickness", b"1_0")
@example("ImagePositionPatient", b"9" * 300 + b"\\1\\1")
@example("PixelSpacing", b"1e-300\\1e-300")
@example("ImageOrientationPatient", b"1e200\\0\\0\\0\\1e200\\0")
@example("PatientID", b"\0\0a\0b")
def test_any_value_is_a_header_or_a_reason(keyword: str, value: bytes) -> None:
    data = with_value(keyword, value)
    with refused_in_a_paragraph():
        (header,) = read_headers(io.BytesIO(data))
        assert all(
            map(math.isfinite, (*header.position_mm, *header.orientation, *header.spacing_mm))
        )
        assert header.thickness_mm >= 0
        if keyword == "SliceThickness" and b"_" in value:
            assert header.thickness_mm == 0
    with refused_in_a_paragraph():
        slope, intercept = rescale(DicomFile(io.BytesIO(data))._dataset)
        assert slope > 0
        assert math.isfinite(intercept)


@given(damaged(VALID))
def test_a_damaged_header_is_a_header_or_a_reason(data: bytes) -> None:
    with refused_in_a_paragraph():
        assert read_headers(io.BytesIO(data))
