"""A bleed has the same volume however its slices lie and its mask is stored."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ich_tf.masks.class_map import ClassMap
from ich_tf.masks.placement import PlacedMask, place
from ich_tf.masks.planes import Plane, places_mm
from ich_tf.masks.read import read_mask
from tests.masks.dicom_masks import ct_slices, write_rtstruct, write_seg
from tests.masks.stacks import (
    AXES_MM,
    CENTRE_MM,
    VOLUME_ML,
    affine_of,
    masks,
    stack,
    write_nifti,
)

# Places of slices: 5 mm, 2.5 mm, and 2.5 mm below and 5 mm above with a gap of 7.5 mm between.
_PLACES = {
    "5 mm": np.arange(41.0, 101.0, 5.0),
    "2.5 mm": np.arange(41.0, 101.0, 2.5),
    "gap": np.array([*np.arange(41.0, 72.0, 2.5), *np.arange(78.5, 101.0, 5.0)]),
}
_STACKS = [(name, tilt) for name in _PLACES for tilt in (0.0, -18.0)]


def _nifti(path: Path, places: np.ndarray, tilt_deg: float) -> Path:
    # An array has one distance between slices: the gap's are those of 2.5 mm and of 5 mm.
    if len(np.unique(np.diff(places))) > 1:
        places = np.arange(places[0], places[-1] + 1, 2.5)
    planes = stack(places, size=96, tilt_deg=tilt_deg)
    return write_nifti(path, (masks(planes) > 0).astype(np.uint8), affine_of(planes))


def _seg(path: Path, places: np.ndarray, tilt_deg: float) -> Path:
    pytest.importorskip("highdicom")
    planes = stack(places, size=96, tilt_deg=tilt_deg)
    return write_seg(path, ct_slices(planes), masks(planes)[..., None] > 0, ["subdural"])


def _rtstruct(path: Path, places: np.ndarray, tilt_deg: float) -> Path:
    planes = stack(places, size=96, tilt_deg=tilt_deg)
    contours = [(index, _outline(plane)) for index, plane in enumerate(planes)]
    drawn = [(index, points) for index, points in contours if len(points)]
    return write_rtstruct(path, ct_slices(planes), {"Subdural": drawn})


def _outline(plane: Plane) -> np.ndarray:
    """Points where a plane cuts the surface of the bleed, [n, 3]; [0, 3] if it does not."""
    row, column = np.reshape(plane.orientation, (2, 3))
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    rays = np.cos(angles)[:, None] * row + np.sin(angles)[:, None] * column
    # The middle of the section: where the form that is 1 on the surface is least on the plane.
    basis = np.stack([row, column], axis=1) / AXES_MM[:, None]
    offset = (np.array(plane.position_mm) - CENTRE_MM) / AXES_MM
    start = (
        np.array(plane.position_mm)
        + np.array([row, column]).T @ (np.linalg.lstsq(basis, -offset, rcond=None)[0])
    )
    least = float((((start - CENTRE_MM) / AXES_MM) ** 2).sum())
    if least >= 1:
        return np.zeros((0, 3))
    lengths = np.sqrt((1 - least) / ((rays / AXES_MM) ** 2).sum(axis=1))
    return start + lengths[:, None] * rays


def _volume_ml(placed: PlacedMask, planes: list[Plane]) -> float:
    """Area of each slice times half the distance to its two neighbours, ml."""
    places = places_mm(planes, planes[0].normal)
    height, width = planes[0].spacing_mm
    areas = np.count_nonzero(placed.bits, axis=(1, 2)) * height * width
    return float((areas * np.gradient(places)).sum() / 1000)


@pytest.mark.parametrize(("name", "tilt_deg"), _STACKS)
@pytest.mark.parametrize(
    ("write", "classes"),
    [(_nifti, "1:subdural"), (_seg, ""), (_rtstruct, "")],
    ids=["nifti", "seg", "rtstruct"],
)
def test_volume(
    write: Callable[..., Path], classes: str, name: str, tilt_deg: float, tmp_path: Path
) -> None:
    if write is _nifti:
        pytest.importorskip("nibabel")
    path = write(tmp_path / "mask.nii", _PLACES[name], tilt_deg)
    path = path.rename(tmp_path / ("mask.nii" if write is _nifti else "mask.dcm"))
    planes = stack(_PLACES[name], size=96, tilt_deg=tilt_deg)
    placed = place(read_mask(path, "auto", ClassMap.parse(classes), planes), planes)
    assert (placed.annotated == 1 << 4).all()
    assert _volume_ml(placed, planes) == pytest.approx(VOLUME_ML, rel=0.02)
