"""Only Hounsfield units become Hounsfield units."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError, Reason
from tests.support.dicom_files import changed, make_dicom, make_enhanced

STORED = np.arange(64 * 48, dtype=np.int16).reshape(64, 48)
DERIVED = ["DERIVED", "SECONDARY", "AXIAL"]


def refused(data: bytes, match: str, frame: int = 0) -> None:
    with pytest.raises(DicomError, match=match) as caught:
        read_slice(data, frame)
    assert caught.value.reason is Reason.NOT_HOUNSFIELD


@pytest.mark.parametrize("kind", ["", "HU", "hu ", "HU_MOD"])
def test_hounsfield_units_are_read(kind: str) -> None:
    hu = read_slice(make_dicom(STORED, tags={"RescaleType": kind})).hu
    np.testing.assert_array_equal(hu, STORED - 1024.0)


@pytest.mark.parametrize("kind", ["US", "MGML", "Z_EFF", "ED", "EDW", "PCT", "OD"])
def test_another_rescale_type_is_named(kind: str) -> None:
    refused(make_dicom(STORED, tags={"RescaleType": kind}), f"RescaleType is {kind}; expected HU")


def test_a_rescale_type_that_may_be_a_name_is_not_quoted() -> None:
    refused(make_dicom(STORED, tags={"RescaleType": "Meier"}), "is no term of the standard")


@pytest.mark.parametrize(
    ("values", "term"),
    [
        ([*DERIVED, "IODINE"], "IODINE"),
        ([*DERIVED, "IODINE_MAP"], "IODINE"),
        (["DERIVED", "PRIMARY", "AXIAL", "EFF_ATOMIC_NUM"], "EFF_ATOMIC_NUM"),
        ([*DERIVED, "ELECTRON_DENSITY"], "ELECTRON_DENSITY"),
        ([*DERIVED, "MAT_SPECIFIC"], "MAT_SPECIFIC"),
        (["DERIVED", "PRIMARY", "PERFUSION", "RCBF"], "PERFUSION"),
        (["ORIGINAL", "PRIMARY", "PERFUSION", "RCBF"], "RCBF"),
        ([*DERIVED, "CT_PERFUSION"], "PERFUSION"),
        (["DERIVED", "PRIMARY", "CBV", "NONE"], "CBV"),
        ([*DERIVED, "x", "y", "TMAX"], "TMAX"),
    ],
)
def test_maps_are_told_by_their_image_type(values: list[str], term: str) -> None:
    refused(make_dicom(STORED, tags={"ImageType": values}), f"ImageType has {term}:")


@pytest.mark.parametrize(
    "values",
    [
        ["ORIGINAL", "PRIMARY", "AXIAL"],
        ["DERIVED", "PRIMARY", "AXIAL", "VMI"],
        ["DERIVED", "PRIMARY", "AXIAL", "MONO 70 KEV"],
        ["DERIVED", "PRIMARY", "AXIAL", "MAT_REMOVED"],
        ["DERIVED", "PRIMARY", "AXIAL", "VNC"],
        ["DERIVED", "SECONDARY", "AXIAL", "MEAN"],
        # A scan, before anything was computed from it.
        ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"],
        # A part of a word is no word.
        ["DERIVED", "PRIMARY", "AXIAL", "ENHANCED"],
    ],
)
def test_what_stays_in_hounsfield_units_is_read(values: list[str]) -> None:
    hu = read_slice(make_dicom(STORED, tags={"ImageType": values})).hu
    np.testing.assert_array_equal(hu, STORED - 1024.0)


def test_functional_groups_are_asked() -> None:
    data = make_enhanced(np.stack([STORED, STORED + 1]))

    def of_second_frame(dataset: Dataset) -> None:
        frame = dataset.PerFrameFunctionalGroupsSequence[1]
        frame.PixelValueTransformationSequence[0].RescaleType = "MGML"

    odd = changed(data, of_second_frame)
    assert read_slice(odd, 1).hu[0, 0] == -1024
    refused(odd, "RescaleType is MGML", 2)

    def of_all_frames(dataset: Dataset) -> None:
        inner = Dataset()
        inner.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "EFF_ATOMIC_NUM"]
        dataset.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [inner]

    refused(changed(data, of_all_frames), "FrameType has EFF_ATOMIC_NUM", 1)

    def at_the_top(dataset: Dataset) -> None:
        dataset.RescaleType = "US"

    refused(changed(data, at_the_top), "RescaleType is US", 1)


def table(values: np.ndarray, first: int = 0, kind: str = "HU") -> dict[str, Any]:
    inner = Dataset()
    inner.LUTDescriptor, inner.ModalityLUTType = [len(values), first, 16], kind
    inner.LUTData = values.astype("<u2").tobytes()
    return {"ModalityLUTSequence": [inner]}


def test_a_modality_lut_counts_where_it_says_what_the_slope_says() -> None:
    line = np.arange(4096) - 1024
    same = make_dicom(STORED, tags=table(line))
    np.testing.assert_array_equal(read_slice(same).hu, STORED - 1024.0)
    empty = make_dicom(STORED, tags={"ModalityLUTSequence": []})
    np.testing.assert_array_equal(read_slice(empty).hu, STORED - 1024.0)
    for tags in (table(line + 1), table(line, kind="US"), table(line**2 // 99), table(line, 1)):
        refused(make_dicom(STORED, tags=tags), "its ModalityLUTSequence is not that of Hounsfield")
    alone = make_dicom(STORED, tags=table(line), without=("RescaleSlope", "RescaleIntercept"))
    refused(alone, "has a ModalityLUTSequence and no RescaleSlope")


def test_an_unsigned_file_may_have_an_intercept_of_32768() -> None:
    stored = (STORED.astype(np.int32) - 1000 + 32768).astype(np.uint16)
    hu = read_slice(make_dicom(stored, intercept="-32768")).hu
    np.testing.assert_array_equal(hu, STORED - 1000.0)


@pytest.mark.parametrize("intercept", ["-32768", "20000"])
def test_units_that_no_tissue_has_are_refused(intercept: str) -> None:
    with pytest.raises(DicomError, match="HU; expected a head") as caught:
        read_slice(make_dicom(STORED, intercept=intercept))
    assert caught.value.reason is Reason.HU_IMPLAUSIBLE


def test_warnings_of_pydicom_do_not_quote_a_files_text(
    capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    data = make_enhanced(np.stack([STORED, STORED + 1]))
    with pytest.raises(DicomError):
        read_slice(data.replace(b"0\\0\\5 ", b"Meier\0"), 2)
    assert "Meier" not in "".join(capfd.readouterr()) and not recwarn.list
