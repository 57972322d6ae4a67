from pathlib import Path

import numpy as np
import pytest

from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.nifti import read_nifti_image
from ich_tf.masks.orientation import check_orientation
from ich_tf.masks.placement import place_image
from ich_tf.masks.planes import Plane
from ich_tf.phantom.basic.patient import make_study
from ich_tf.phantom.config import PhantomConfig
from tests.masks.stacks import affine_of, write_nifti

pytest.importorskip("nibabel")

_STUDY = make_study(np.random.default_rng(5), PhantomConfig(matrix=64, tilt_fraction=0.0))
_PLANES = [
    Plane(tuple(place), _STUDY.geometry.orientation, (_STUDY.geometry.spacing_mm,) * 2, 64, 64)
    for place in _STUDY.geometry.positions_mm.tolist()
]
# What the affine of a set says, and what its array holds: [columns, rows, slices].
_TURNS = {
    "from top to bottom": lambda array: array[:, ::-1],
    "from left to right": lambda array: array[::-1],
    "by 180 degrees": lambda array: array[::-1, ::-1],
    "mirrored along the diagonal": lambda array: array.transpose(1, 0, 2),
    "90 degrees to the left": lambda array: array.transpose(1, 0, 2)[::-1],
    "90 degrees to the right": lambda array: array.transpose(1, 0, 2)[:, ::-1],
    "the other diagonal": lambda array: array.transpose(1, 0, 2)[::-1, ::-1],
    "in the reverse order": lambda array: array[:, :, ::-1],
}


def _check(array: np.ndarray, affine: np.ndarray, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "ct.nii", np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    check_orientation(place_image(read_nifti_image(path), _PLANES), _STUDY.hu)


def _array(values: np.ndarray = _STUDY.hu) -> np.ndarray:
    return values.transpose(2, 1, 0)


@pytest.mark.parametrize("match", _TURNS)
def test_each_wrong_orientation_is_noticed(match: str, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=match) as error:
        _check(_TURNS[match](_array()), affine_of(_PLANES), tmp_path)
    assert error.value.reason is MaskReason.MASK_MISALIGNED


@pytest.mark.parametrize(("slices", "match"), [(1, "slice down"), (-1, "slice up")])
def test_a_shift_of_one_slice_is_noticed(slices: int, match: str, tmp_path: Path) -> None:
    affine = affine_of(_PLANES)
    affine[:3, 3] += slices * affine[:3, 2]
    with pytest.raises(MaskError, match=f"fits .* one {match}"):
        _check(_array(), affine, tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        _STUDY.hu,
        # A window of 8 bits, another unit with noise, and a part of the slices.
        np.clip((_STUDY.hu.astype(float) + 20) * 2.5, 0, 255).astype(np.uint8),
        (_STUDY.hu + 1024 + np.random.default_rng(0).normal(0, 20, _STUDY.hu.shape)) * 0.1,
        _STUDY.hu[:11],
    ],
)
def test_the_right_one_passes_in_any_window(values: np.ndarray, tmp_path: Path) -> None:
    _check(_array(values), affine_of(_PLANES[: len(values)]), tmp_path)


def test_a_part_in_the_reverse_order_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match="reverse order"):
        _check(_array(_STUDY.hu[:11])[:, :, ::-1], affine_of(_PLANES[:11]), tmp_path)


def test_an_image_of_something_else_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=_STUDY.hu.shape)
    with pytest.raises(MaskError, match="not like the slices"):
        _check(_array(noise), affine_of(_PLANES), tmp_path)
