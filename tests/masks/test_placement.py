import dataclasses

import numpy as np
import pytest

from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.placement import place, place_image
from ich_tf.masks.volume import ImageVolume, MaskVolume
from tests.masks.stacks import inside, masks, stack, volume_ml

_PLACES = np.arange(40.0, 101.0, 5.0)
_ALL = 0b110000


def _volume(places: np.ndarray | list[float], **options: float) -> MaskVolume:
    planes = stack(places, **options)
    return MaskVolume(tuple(planes), masks(planes), _ALL)


def _refused(volume: MaskVolume, planes: list, match: str) -> None:
    with pytest.raises(MaskError, match=match) as error:
        place(volume, planes)
    assert error.value.reason is MaskReason.MASK_MISALIGNED


@pytest.mark.parametrize("tilt_deg", [0.0, -20.0])
def test_slices_take_their_own_plane_in_whatever_order_they_come(tilt_deg: float) -> None:
    volume = _volume(_PLACES, tilt_deg=tilt_deg)
    order = np.random.default_rng(0).permutation(len(_PLACES))
    placed = place(volume, [volume.planes[i] for i in order])
    np.testing.assert_array_equal(placed.bits, volume.bits[order])
    assert placed.annotated.tolist() == [_ALL] * len(order)


def test_slices_between_planes_take_the_nearest_one() -> None:
    volume = _volume(_PLACES)
    placed = place(volume, stack(_PLACES + 1.2))
    np.testing.assert_array_equal(placed.bits, volume.bits)


def test_any_slice_finds_its_place_among_fine_planes() -> None:
    volume = _volume(np.arange(40.0, 101.0))
    planes = stack(_PLACES[:-1] + 0.5)
    areas = place(volume, planes).bits.any(axis=0).sum(), masks(planes).any(axis=0).sum()
    assert areas[0] == pytest.approx(areas[1], rel=0.05)


def test_slices_beyond_the_mask_and_in_its_gaps_are_not_annotated() -> None:
    volume = _volume([50.0, 55.0, 60.0, 70.0, 75.0])
    placed = place(volume, stack(_PLACES))
    annotated = (placed.annotated > 0).tolist()
    assert [place for place, known in zip(_PLACES, annotated, strict=True) if known] == [
        50.0, 55.0, 60.0, 70.0, 75.0,
    ]  # fmt: skip
    assert not placed.bits[~np.array(annotated)].any()


def test_slices_that_a_sparse_mask_leaves_out_are_empty() -> None:
    volume = dataclasses.replace(_volume([60.0, 75.0]), sparse=True)
    placed = place(volume, stack(_PLACES))
    assert placed.annotated.tolist() == [_ALL] * len(_PLACES)
    assert np.flatnonzero(placed.bits.any(axis=(1, 2))).tolist() == [4, 7]


def test_a_fine_mask_of_other_pixels_keeps_its_volume_on_tilted_pixels() -> None:
    volume = _volume(np.arange(40.0, 101.0), size=128)
    planes = stack(_PLACES, size=96)
    row, column = np.array([0.8, 0.6, 0.0]), np.array([-0.6, 0.8, 0.0])  # turned in their plane
    turned = [
        dataclasses.replace(
            plane,
            orientation=(*row, *column),
            position_mm=tuple(
                plane.centre_mm - 0.5 * plane.spacing_mm[0] * (plane.rows - 1) * (row + column)
            ),
        )
        for plane in planes
    ]
    bits = place(volume, turned).bits
    assert volume_ml(bits, turned, 5.0) == pytest.approx(
        volume_ml(masks(turned), turned, 5.0), rel=0.02
    )
    overlap = (bits > 0) & np.stack([inside(plane) for plane in turned])
    assert np.count_nonzero(overlap) > 0.97 * np.count_nonzero(bits)


@pytest.mark.parametrize(
    ("places", "match"),
    [
        # Every second slice lies halfway between two planes of the mask.
        (np.arange(40.0, 101.0, 2.5), "2.50 mm from a slice; expected .* 1.2 mm"),
        (_PLACES + 2.5, "2.50 mm from a slice; expected .* 2.5 mm"),
        (_PLACES + 300, "0 of them at slices"),
    ],
)
def test_slices_of_another_series_are_refused(places: np.ndarray, match: str) -> None:
    _refused(_volume(_PLACES), stack(places), match)


def test_planes_at_an_angle_are_refused() -> None:
    _refused(_volume(_PLACES), stack(_PLACES, tilt_deg=8.0), "angle of 8.0 degrees")


def test_marked_pixels_outside_of_the_images_are_refused() -> None:
    volume = _volume(_PLACES)
    moved = [
        dataclasses.replace(plane, position_mm=(plane.position_mm[0] + 110, *plane.position_mm[1:]))
        for plane in volume.planes
    ]
    _refused(volume, moved, "lie outside of the images")


def test_slices_of_several_sizes_are_refused() -> None:
    with pytest.raises(MaskError, match="32 x 32 and 64 x 64") as error:
        place(_volume(_PLACES), [*stack(_PLACES), *stack([35.0], size=32)])
    assert error.value.reason is MaskReason.MASK_SIZE


def test_planes_in_one_place_or_at_an_angle_are_no_volume() -> None:
    planes = stack([50.0, 50.0])
    with pytest.raises(MaskError, match="two planes in the same place"):
        MaskVolume(tuple(planes), masks(planes), _ALL)
    planes = [*stack([50.0]), *stack([80.0], tilt_deg=5.0)]
    with pytest.raises(MaskError, match="angle of 5.0 degrees"):
        MaskVolume(tuple(planes), masks(planes), _ALL)


def test_images_are_placed_likewise_and_nan_where_they_end() -> None:
    planes = stack(_PLACES)
    values = np.random.default_rng(0).normal(size=(len(planes), 64, 64)).astype(np.float32)
    shifted = [
        dataclasses.replace(
            plane, position_mm=(plane.position_mm[0] + 6.25, *plane.position_mm[1:])
        )
        for plane in planes
    ]
    placed = place_image(ImageVolume(tuple(planes), values), [*shifted, *stack([200.0])])
    np.testing.assert_array_equal(placed[:-1, :, :-2], values[:, :, 2:])
    assert np.isnan(placed[:-1, :, -2:]).all()
    assert np.isnan(placed[-1]).all()
