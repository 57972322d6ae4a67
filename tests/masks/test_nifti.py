import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.placement import place
from ich_tf.masks.read import read_mask
from tests.masks.stacks import affine_of, masks, stack, write_nifti

nibabel = pytest.importorskip("nibabel")

_PLANES = stack(np.arange(40.0, 101.0, 5.0), size=32, tilt_deg=-12.0)
_BITS = masks(_PLANES)
_VALUES = (_BITS > 0).astype(np.int16) * 5
_CLASSES = ClassMap.parse("1:epidural,5:subdural")


def _read(path: Path) -> np.ndarray:
    placed = place(read_mask(path, "auto", _CLASSES, _PLANES), _PLANES)
    assert set(placed.annotated.tolist()) == {0b010001}
    return placed.bits


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_any_layout_of_the_array_gives_the_same_mask(
    axes: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path
) -> None:
    affine = affine_of(_PLANES)
    array = _VALUES.transpose(2, 1, 0)
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    affine = affine[:, [*axes, 3]]
    path = tmp_path / "mask.nii.gz"
    nibabel.Nifti1Image(array.transpose(axes), affine).to_filename(path)
    np.testing.assert_array_equal(_read(path), _BITS)


def test_slices_of_a_tilted_gantry_follow_the_table(tmp_path: Path) -> None:
    first = np.array(_PLANES[0].position_mm)
    planes = [
        dataclasses.replace(plane, position_mm=tuple(first + np.array([0, 0, 5.2 * k])))
        for k, plane in enumerate(_PLANES)
    ]
    values = (masks(planes) > 0).astype(np.uint8)
    path = write_nifti(tmp_path / "mask.nii", values, affine_of(planes))
    volume = read_mask(path, "auto", ClassMap.parse("1:subdural"), planes)
    np.testing.assert_array_equal(place(volume, planes).bits, masks(planes))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_whole_numbers_may_be_stored_as_floats(dtype: type, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "mask.nii", _VALUES.astype(dtype), affine_of(_PLANES))
    np.testing.assert_array_equal(_read(path), _BITS)


def _sheared() -> np.ndarray:
    affine = affine_of(_PLANES)
    affine[0, 2] += 1.0
    return affine


def _of_nan() -> np.ndarray:
    affine = affine_of(_PLANES)
    affine[1, 1] = np.nan
    return affine


def _flat() -> np.ndarray:
    affine = affine_of(_PLANES)
    affine[:3, 2] = 0
    return affine


@pytest.mark.parametrize(
    ("values", "affine", "reason", "match"),
    [
        (_VALUES * np.float32(0.1), affine_of(_PLANES), "MASK_FORMAT", "fractions"),
        (np.where(_VALUES, np.inf, 0), affine_of(_PLANES), "MASK_FORMAT", "no numbers"),
        (np.where(_VALUES, np.nan, 0), affine_of(_PLANES), "MASK_FORMAT", "no numbers"),
        (_VALUES - np.int16(1), affine_of(_PLANES), "MASK_CLASS", "the value -1"),
        (_VALUES + np.int16(2), affine_of(_PLANES), "MASK_CLASS", "the value 2"),
        (_VALUES, _sheared(), "MASK_GEOMETRY", "is sheared"),
        (_VALUES, _of_nan(), "MASK_GEOMETRY", "no numbers"),
        (_VALUES, _flat(), "MASK_GEOMETRY", "voxels are"),
    ],
)
def test_bad_files_have_a_reason(
    values: np.ndarray, affine: np.ndarray, reason: str, match: str, tmp_path: Path
) -> None:
    image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.eye(4))
    image.header.set_sform(affine, 1)  # the constructor refuses some of these
    path = tmp_path / "mask.nii"
    nibabel.Nifti1Image(values.transpose(2, 1, 0), None, image.header).to_filename(path)
    _refused(path, reason, match)


@pytest.mark.parametrize("dtype", [np.uint64, np.int64, ">u2", np.float64])
def test_whole_numbers_of_any_type_are_read(dtype: object, tmp_path: Path) -> None:
    expected = read_mask(
        write_nifti(tmp_path / "a.nii", _VALUES, affine_of(_PLANES)), "auto", _CLASSES, _PLANES
    )
    values = _VALUES.astype(dtype).transpose(2, 1, 0)
    path = tmp_path / "mask.nii"
    nibabel.Nifti1Image(values, affine_of(_PLANES), dtype=values.dtype).to_filename(path)
    np.testing.assert_array_equal(read_mask(path, "auto", _CLASSES, _PLANES).bits, expected.bits)


def test_a_scale_is_applied_and_rounded(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii"
    values = (_VALUES > 0).astype(np.uint8) * 255

    def write(slope: float, intercept: float) -> None:
        write_nifti(path, values, affine_of(_PLANES))
        data = path.read_bytes()
        header = nibabel.Nifti1Header(data[:348])
        header["scl_slope"], header["scl_inter"] = slope, intercept
        path.write_bytes(header.binaryblock + data[348:])

    write(1 / 255, 0)  # 1.00000006 in float32
    np.testing.assert_array_equal(read_mask(path, "auto", ClassMap(), _PLANES).bits > 0, values > 0)
    write(1 / 254, 0)
    _refused(path, "MASK_FORMAT", "fractions")
    for slope, intercept in ((-1, 1), (1, np.nan)):
        write(slope, intercept)
        _refused(path, "MASK_FORMAT", "no scale of whole numbers")


def test_a_large_volume_is_read_slice_by_slice(tmp_path: Path) -> None:
    planes = stack(np.arange(0.0, 80.0), size=256)
    path = tmp_path / "mask.nii.gz"
    write_nifti(path, np.zeros((80, 256, 256), np.float32), affine_of(planes))
    tracemalloc.start()
    try:
        read_mask(path, "auto", ClassMap(), planes[:1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * 2**20  # the file's 20, and 5 of bits


def test_four_dimensions_no_place_and_damage_have_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.Nifti1Image(np.zeros((8, 8, 4, 3), np.uint8), np.eye(4)).to_filename(path)
    _refused(path, "MASK_FORMAT", r"dimensions are \[8, 8, 4, 3\]")
    nibabel.Nifti1Image(np.zeros((8, 8, 4), np.uint8), None).to_filename(path)
    _refused(path, "MASK_GEOMETRY", "qform")
    write_nifti(path, _VALUES, affine_of(_PLANES))
    path.write_bytes(path.read_bytes()[:-100])
    _refused(path, "MASK_UNREADABLE", "cut")
    path.write_bytes(b"\0" * 400)
    _refused(path, "MASK_UNREADABLE", "is no NIfTI volume")
    path.write_bytes(b"")
    _refused(path, "MASK_FORMAT", "empty")


@pytest.mark.parametrize("name", ["boxes.csv", "boxes.json", "mask.npy", "mask.png", "a.img"])
def test_other_files_have_a_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"SOPInstanceUID,data\n1.2.3,{'x':1}\n" * 20)
    _refused(tmp_path / name, "MASK_FORMAT", "xpected")


def _refused(path: Path, reason: str, match: str) -> None:
    with pytest.raises(MaskError, match=match) as error:
        read_mask(path, "auto", _CLASSES, _PLANES)
    assert error.value.reason is MaskReason[reason]
