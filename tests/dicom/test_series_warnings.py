"""Warnings of series: what is no head, a part of one, or has holes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ich_tf.dicom.brain_area import HEAD_MM2, brain_mm2
from ich_tf.dicom.header import Header
from ich_tf.dicom.reader import read_slice
from ich_tf.dicom.reasons import DicomError
from ich_tf.dicom.series_warnings import series_warnings

MM = (1.0, 1.0)


def head(brain_hu: float = 30, bone_hu: float = 900, hole_mm: int = 0) -> np.ndarray:
    """A skull of 6 mm around 120 x 160 mm, float32 [256, 256] of 1 mm."""
    hu = np.full((256, 256), -1000, np.float32)
    cv2.ellipse(hu, (128, 128), (70, 90), 0, 0, 360, 40, -1)
    cv2.ellipse(hu, (128, 128), (66, 86), 0, 0, 360, bone_hu, -1)
    cv2.ellipse(hu, (128, 128), (60, 80), 0, 0, 360, brain_hu, -1)
    hu[128 - hole_mm // 2 : 128 + (hole_mm + 1) // 2, 188:198] = 40
    return hu


def chest() -> np.ndarray:
    """Lungs within ribs, a spine with its canal and the heart, float32 [400, 400] of 1 mm."""
    hu = np.full((400, 400), -1000, np.float32)
    cv2.ellipse(hu, (200, 200), (170, 120), 0, 0, 360, 40, -1)
    for start in range(0, 360, 30):
        cv2.ellipse(hu, (200, 200), (150, 100), 0, start, start + 20, 700, 8)
    for x in (120, 280):
        cv2.ellipse(hu, (x, 200), (55, 80), 0, 0, 360, -850, -1)
    cv2.circle(hu, (200, 290), 20, 600, -1)
    cv2.circle(hu, (200, 290), 9, 30, -1)
    return hu


def headers_at(places_mm: Sequence[float], **changes: object) -> list[Header]:
    header = Header(
        image_id="1", patient_id="p", study_id="s", series_id="1.2",
        position_mm=(0.0, 0.0, 0.0), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        spacing_mm=MM, rows=256, columns=256,
    )  # fmt: skip
    changed = replace(header, **changes)  # type: ignore[arg-type]
    return [replace(changed, position_mm=(0.0, 0.0, place)) for place in places_mm]


def codes(places_mm: Sequence[float], areas: Sequence[float], **changes: object) -> list[str]:
    return [warning.code for warning in series_warnings(headers_at(places_mm, **changes), areas)]


def test_the_area_of_brain_is_that_within_the_skull() -> None:
    assert brain_mm2(head(), MM) == pytest.approx(np.pi * 60 * 80, rel=0.05)


def test_the_area_is_in_millimetres() -> None:
    fine = cv2.resize(head(), (512, 512), interpolation=cv2.INTER_LINEAR)
    assert brain_mm2(fine, (0.5, 0.5)) == pytest.approx(brain_mm2(head(), MM), rel=0.02)


@pytest.mark.parametrize(("hole_mm", "is_closed"), [(12, True), (40, False)])
def test_a_hole_in_the_skull_counts_as_closed_up_to_its_width(
    hole_mm: int, is_closed: bool
) -> None:
    assert (brain_mm2(head(hole_mm=hole_mm), MM) > HEAD_MM2) == is_closed


@pytest.mark.parametrize(
    "hu",
    [
        head(brain_hu=0),  # water in a skull
        head(brain_hu=-1000),  # a plastic skull
        head(bone_hu=120),  # acrylic
        head(brain_hu=400),  # metal or bone all through
        chest(),
        np.full((256, 256), 30, np.float32),
        np.full((256, 256), -1000, np.float32),
        np.full((1, 1), 900, np.float32),
    ],
    ids=["water", "air", "acrylic", "bone", "chest", "tissue", "nothing", "a pixel"],
)
def test_what_is_no_head_has_no_brain(hu: np.ndarray) -> None:
    assert brain_mm2(hu, MM) < 200


def test_a_skull_larger_than_any_head_is_none() -> None:
    assert brain_mm2(head(), (2.0, 2.0)) == 0


def test_a_whole_head_has_no_warning() -> None:
    assert codes([0, 5, 10, 15], [0, 9000, 9000, 0]) == []


@pytest.mark.parametrize(
    ("areas", "code"),
    [
        ([0, 300, 300, 0], "NOT_A_HEAD"),
        ([0, 9000, 9000, 9000], "CUT_OFF"),
        ([9000, 9000, 9000, 0], "CUT_OFF"),
    ],
)
def test_what_is_no_whole_head_is_said(areas: list[float], code: str) -> None:
    assert codes([0, 5, 10, 15], areas) == [code]


def test_the_ends_that_are_cut_off_are_named() -> None:
    (warning,) = series_warnings(headers_at([0, 5]), [9000, 9000])
    assert warning.message.startswith("The lower and the upper end of the series lie within")


def test_missing_slices_are_counted() -> None:
    places = [0.0, 5, 10, 20, 25, 30, 45, 50]
    warning = series_warnings(headers_at(places), [0, *[9000] * 6, 0])[0]
    assert warning.code == "GAPS"
    assert "2 places" in warning.message
    assert "15.0 mm" in warning.message


def test_another_thickness_from_some_slice_on_is_no_gap() -> None:
    assert codes([0, 4, 8, 12, 19, 26, 33], [0, *[9000] * 5, 0]) == []


def test_slices_in_one_plane_are_said() -> None:
    assert codes([0, 5, 5, 10], [0, 9000, 9000, 0]) == ["SAME_PLANE"]


@pytest.mark.parametrize(
    ("change", "code"), [({"contrast": "yes"}, "CONTRAST"), ({"kernel": "sharp"}, "SHARP_KERNEL")]
)
def test_what_the_scan_was_made_for_is_said(change: dict[str, str], code: str) -> None:
    assert codes([0, 5, 10], [0, 9000, 0], **change) == [code]


def real_areas(real_dicom: Path, folder: str) -> list[float]:
    areas = []
    for path in sorted(path for path in (real_dicom / folder).rglob("*") if path.is_file()):
        try:
            slice_ = read_slice(path.read_bytes())
        except DicomError:
            continue
        areas.append(brain_mm2(slice_.hu, slice_.header.spacing_mm))
    return areas


@pytest.mark.parametrize(
    ("folder", "is_head"),
    [
        ("ge_head", True),
        ("philips_phantom", False),  # a plastic head
        ("transfer_syntaxes", False),  # a neck
    ],
)
def test_real_scans_are_told_apart(real_dicom: Path, folder: str, is_head: bool) -> None:
    areas = real_areas(real_dicom, folder)
    assert areas
    assert (max(areas) >= HEAD_MM2) == is_head
