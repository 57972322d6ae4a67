import copy
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import Dataset

from ich_tf.labels import ANY
from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.contours import fill
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.placement import place
from ich_tf.masks.planes import Plane
from ich_tf.masks.read import read_mask
from ich_tf.masks.references import read_references
from tests.masks.dicom_masks import ct_slices, write_rtstruct
from tests.masks.stacks import stack

_PLANES = stack(np.arange(40.0, 101.0, 5.0), size=64, tilt_deg=-15.0)
_SLICES = ct_slices(_PLANES)


def _circle(plane: Plane, radius: float, row: float = 30.0, column: float = 26.0) -> np.ndarray:
    """Points of a circle on a plane, its centre and radius in pixels."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    return plane.points_mm(row + radius * np.sin(angles), column + radius * np.cos(angles))


def _disc(radius: float, row: float = 30.0, column: float = 26.0) -> np.ndarray:
    rows, columns = np.mgrid[:64, :64]
    return np.hypot(rows - row, columns - column) <= radius


_REGIONS = {
    "Subdural": [
        (4, _circle(_PLANES[4], 12.3)),
        (4, _circle(_PLANES[4], 5.2)),
        (5, _circle(_PLANES[5], 9.7)),
    ],
    "Epidural": [(4, _circle(_PLANES[4], 4.1, column=15.0))],
}


def test_contours_are_filled_with_their_holes_and_overlaps(tmp_path: Path) -> None:
    path = write_rtstruct(tmp_path / "r.dcm", _SLICES, _REGIONS)
    placed = place(read_mask(path, "auto", ClassMap(), [*_PLANES[::-1], _PLANES[4]]), _PLANES)
    ring, other = _disc(12.3) & ~_disc(5.2), _disc(4.1, column=15.0)
    expected = np.zeros_like(placed.bits)
    expected[4] = ring * np.uint8(1 << 4) | other * np.uint8(1) | (ring | other) * np.uint8(32)
    expected[5] = _disc(9.7) * np.uint8(1 << 4 | 1 << ANY)
    np.testing.assert_array_equal(placed.bits, expected)
    assert placed.annotated.tolist() == [1 << 4 | 1] * len(_PLANES)


def _twice(dataset: Dataset) -> None:
    for region in dataset.ROIContourSequence:
        region.ContourSequence = [*region.ContourSequence, *region.ContourSequence]


def _again(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Dataset], None]:
    """A change that adds each contour once more, with other points of the same line."""

    def add(dataset: Dataset) -> None:
        for region in dataset.ROIContourSequence:
            for contour in list(region.ContourSequence):
                points = np.reshape([float(value) for value in contour.ContourData], (-1, 3))
                copied = copy.deepcopy(contour)
                changed = change(points)
                copied.ContourData = [f"{value:.4f}" for value in changed.ravel()]
                copied.NumberOfContourPoints = len(changed)
                region.ContourSequence.append(copied)

    return add


_COPIES = {
    "other start": lambda points: np.roll(points, 7, axis=0),
    "other direction": lambda points: points[::-1],
    "last digit": lambda points: points + 0.0006,
    "closed": lambda points: np.vstack([points, points[:1]]),
    "more points": lambda points: (
        np.repeat(points, 2, axis=0) * 0.5 + np.roll(np.repeat(points, 2, axis=0), -1, axis=0) * 0.5
    ),
}


def _with_planes_between(dataset: Dataset) -> None:
    """The contours again, 2 mm above: those of thinner slices."""
    for region in dataset.ROIContourSequence:
        for contour in list(region.ContourSequence):
            points = np.reshape([float(value) for value in contour.ContourData], (-1, 3))
            moved = copy.deepcopy(contour)
            values = (points + 2.0 * _PLANES[0].normal).ravel()
            moved.ContourData = [f"{value:.4f}" for value in values]
            region.ContourSequence.append(moved)


def _with_a_region_that_nobody_drew(dataset: Dataset) -> None:
    region = copy.deepcopy(dataset.StructureSetROISequence[0])
    region.ROINumber, region.ROIName = 3, "Couch"
    dataset.StructureSetROISequence.append(region)


@pytest.mark.parametrize(
    "change",
    [
        _twice, _with_planes_between, _with_a_region_that_nobody_drew,
        *(pytest.param(_again(copied), id=name) for name, copied in _COPIES.items()),
    ],
)  # fmt: skip
def test_contours_do_not_cancel_each_other_out(
    change: Callable[[Dataset], None], tmp_path: Path
) -> None:
    expected = read_mask(
        write_rtstruct(tmp_path / "r.dcm", _SLICES, _REGIONS), "auto", ClassMap(), _PLANES
    )
    path = write_rtstruct(tmp_path / "s.dcm", _SLICES, _REGIONS, change)
    volume = read_mask(path, "auto", ClassMap(), _PLANES)
    np.testing.assert_array_equal(volume.bits, expected.bits)
    assert volume.annotated == expected.annotated


def test_contours_that_leave_nothing_are_no_statement(tmp_path: Path) -> None:
    """Two that cover the same pixels, and are not the same line."""
    circle = _circle(_PLANES[4], 12.3)
    contours = [(4, circle), (4, _circle(_PLANES[4], 12.34))]
    path = write_rtstruct(tmp_path / "r.dcm", _SLICES, {"Subdural": contours})
    with pytest.raises(MaskError, match="2 contours of region 1 that cancel each other out"):
        read_mask(path, "auto", ClassMap(), _PLANES)


def test_contours_that_opencv_found_give_the_mask_that_they_were_found_in(tmp_path: Path) -> None:
    marked = (_disc(12.3) & ~_disc(5.2)) | _disc(3.0, column=50.0)
    found, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    contours = [(4, _PLANES[4].points_mm(points[:, 0, 1], points[:, 0, 0])) for points in found]
    assert len(contours) == 3
    path = write_rtstruct(tmp_path / "r.dcm", _SLICES, {"Subdural": contours})
    bits = read_mask(path, "auto", ClassMap(), _PLANES).bits
    np.testing.assert_array_equal(bits[4] > 0, marked)
    assert not np.delete(bits, 4, axis=0).any()
    moved = [(4, points + 0.3) for _, points in contours[:1]]
    path = write_rtstruct(tmp_path / "s.dcm", _SLICES, {"Subdural": moved})
    assert 0 < (read_mask(path, "auto", ClassMap(), _PLANES).bits[4] > 0).sum() < marked.sum()


def test_it_refers_to_its_slices(tmp_path: Path) -> None:
    references = read_references(write_rtstruct(tmp_path / "r.dcm", _SLICES, _REGIONS))
    assert references.series_ids == {_SLICES[0].SeriesInstanceUID}
    assert references.instance_ids == {slice_.SOPInstanceUID for slice_ in _SLICES}
    assert references.frame_of_reference == _SLICES[0].FrameOfReferenceUID


def test_areas_side_by_side_share_no_pixel_and_leave_none_out() -> None:
    left = np.array([[2.0, 2.0], [2.0, 5.0], [9.0, 8.0], [9.0, 2.0]])
    right = np.array([[2.0, 5.0], [2.0, 12.0], [9.0, 12.0], [9.0, 8.0]])
    together = fill([left], 16, 16).astype(int) + fill([right], 16, 16)
    whole = fill([np.array([[2.0, 2.0], [2.0, 12.0], [9.0, 12.0], [9.0, 2.0]])], 16, 16)
    np.testing.assert_array_equal(together, whole)
    assert whole.sum() == 70


def test_a_contour_with_a_channel_to_its_hole_is_a_ring() -> None:
    outer = [[1.5, 1.5], [1.5, 8.5], [8.5, 8.5], [8.5, 1.5], [1.5, 1.5]]
    inner = [[3.5, 3.5], [6.5, 3.5], [6.5, 6.5], [3.5, 6.5], [3.5, 3.5], [1.5, 1.5]]
    filled = fill([np.array(outer + inner)], 12, 12)
    assert filled.sum() == 49 - 9
    assert not filled[4:7, 4:7].any()


def _contour(dataset: Dataset) -> Dataset:
    return dataset.ROIContourSequence[0].ContourSequence[0]


def _open(dataset: Dataset) -> None:
    _contour(dataset).ContourGeometricType = "OPEN_PLANAR"


def _two_points(dataset: Dataset) -> None:
    _contour(dataset).ContourData = _contour(dataset).ContourData[:6]


def _moved(dataset: Dataset, axis: int, mm: float) -> None:
    points = np.reshape([float(value) for value in _contour(dataset).ContourData], (-1, 3))
    points[:, axis] += mm
    _contour(dataset).ContourData = [f"{value:.4f}" for value in points.ravel()]


def _outside(dataset: Dataset) -> None:
    _moved(dataset, 0, 100.0)


def _above(dataset: Dataset) -> None:
    _moved(dataset, 2, 80.0)


def _tilted(dataset: Dataset) -> None:
    points = np.reshape([float(value) for value in _contour(dataset).ContourData], (-1, 3))
    points[:, 2] += 0.1 * (points[:, 0] - points[:, 0].mean())
    _contour(dataset).ContourData = [f"{value:.4f}" for value in points.ravel()]


def _unknown(dataset: Dataset) -> None:
    dataset.StructureSetROISequence[0].ROIName = "Jane Doe"


def _undescribed(dataset: Dataset) -> None:
    del dataset.StructureSetROISequence[0]


def _empty(dataset: Dataset) -> None:
    dataset.StructureSetROISequence = []


def _beyond_all_units(dataset: Dataset) -> None:
    _contour(dataset).ContourData = ["1e30", *_contour(dataset).ContourData[1:]]


def _two_names(dataset: Dataset) -> None:
    dataset.StructureSetROISequence[1].ROINumber = 1


def _without_a_number(dataset: Dataset) -> None:
    del dataset.ROIContourSequence[0].ReferencedROINumber


def _without_contours(dataset: Dataset) -> None:
    for region in dataset.ROIContourSequence:
        del region.ContourSequence


def _halfway(dataset: Dataset) -> None:
    # 2.5 mm along the normal of slices 5 mm apart.
    points = np.reshape([float(value) for value in _contour(dataset).ContourData], (-1, 3))
    points += 2.5 * _PLANES[0].normal
    _contour(dataset).ContourData = [f"{value:.4f}" for value in points.ravel()]


@pytest.mark.parametrize(
    ("change", "reason", "match"),
    [
        (_beyond_all_units, "MASK_CONTOUR", "within 100000 mm"),
        (_two_names, "MASK_FORMAT", "region 1 twice"),
        (_without_a_number, "MASK_FORMAT", "element ReferencedROINumber"),
        (_without_contours, "MASK_FORMAT", "none of them has a contour"),
        (_halfway, "MASK_MISALIGNED", "2.50 mm away"),
        (_open, "MASK_CONTOUR", "not closed: it is OPEN_PLANAR"),
        (_two_points, "MASK_CONTOUR", "6 coordinates"),
        (_outside, "MASK_CONTOUR", "outside of the image"),
        (_above, "MASK_MISALIGNED", "nearest slice"),
        (_tilted, "MASK_MISALIGNED", "nearest slice"),
        (_unknown, "MASK_CLASS", "region of interest 1"),
        (_undescribed, "MASK_FORMAT", "region 1"),
        (_empty, "MASK_FORMAT", "region 1"),
    ],
)
def test_bad_ones_have_a_reason(
    change: Callable[[Dataset], None], reason: str, match: str, tmp_path: Path
) -> None:
    path = write_rtstruct(tmp_path / "r.dcm", _SLICES, _REGIONS, change)
    with pytest.raises(MaskError, match=match) as error:
        read_mask(path, "auto", ClassMap(), _PLANES)
    assert error.value.reason is MaskReason[reason]
    assert "Doe" not in str(error.value)
