"""Volumes from areas and planes, ABC/2, and the way from a stored map to the DICOM image."""

import numpy as np
import pytest

from ich_tf.inference.masks.image_masks import image_bits, in_image
from ich_tf.inference.masks.volumes import series_volumes
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import as_stored
from ich_tf.windows import resize_hu
from tests.support.slices import ellipsoid_bits, made_headers

RADII = (20.0, 15.0, 24.0)
ML = 4 / 3 * np.pi * np.prod(RADII) / 1000  # 30.2
EVERY_5 = np.arange(2.0, 80, 5)
IPH = CLASSES.index("intraparenchymal")


@pytest.mark.parametrize(
    ("places", "options"),
    [
        (EVERY_5, {}),
        (np.arange(2.0, 80, 2.5), {}),
        (np.arange(2.0, 80, 2.5), {"thickness_mm": 5.0}),  # overlapping slices
        (EVERY_5, {"thickness_mm": 3.0}),  # tissue between the slices
        (EVERY_5, {"tilt_deg": 20.0}),
        (EVERY_5, {"tilt_deg": 20.0, "sheared": False}),
        (np.concatenate([np.arange(2.0, 40, 4), np.arange(40, 80, 7.0)]), {}),
        (np.delete(np.arange(2.0, 80, 2.5), 14), {}),  # a slice is missing
        (np.repeat(EVERY_5, 2)[1:], {}),  # copies
        (EVERY_5[::-1], {}),
    ],
)
def test_a_volume_does_not_depend_on_how_it_was_scanned(places, options) -> None:
    headers = made_headers(places, **options)
    volumes = series_volumes(ellipsoid_bits(headers, RADII), headers)
    assert volumes.ml[ANY] == pytest.approx(volumes.ml[IPH], rel=1e-12)
    assert volumes.ml[IPH] == pytest.approx(ML, rel=0.02)
    assert volumes.low_ml[ANY] < ML < volumes.high_ml[ANY]
    assert volumes.ml[[0, 2, 3, 4]].tolist() == [0, 0, 0, 0]


def test_the_interval_is_as_wide_as_the_planes_are_apart() -> None:
    widths = []
    for step in (5.0, 2.5):
        headers = made_headers(np.arange(2.0, 80, step))
        volumes = series_volumes(ellipsoid_bits(headers, RADII), headers)
        widths.append(volumes.high_ml[ANY] - volumes.low_ml[ANY])
    # Twice the greatest area times the step, for a bleed that grows and then shrinks.
    assert widths[0] == pytest.approx(2 * np.pi * RADII[0] * RADII[1] * 5 / 1000, rel=0.05)
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.05)


def test_abc_half_of_ellipsoids_and_of_two_bleeds() -> None:
    headers = made_headers(np.arange(0.0, 80, 1))
    one = series_volumes(ellipsoid_bits(headers, RADII), headers)
    # Kothari's C leaves out what is above and below: on an ellipsoid, C = (0.5 + 0.87) / 2 of it.
    height = (np.sqrt(0.25) + np.sqrt(0.75)) / 2
    assert one.abc2_ml[ANY] == pytest.approx(ML * 3 / np.pi * height, rel=0.05)
    small = (6.0, 6.0, 6.0)
    # The same bleed in two places that do not touch, as two bleeds: the sum, and not their box.
    bits = ellipsoid_bits(headers, small)
    both = [mask | np.roll(mask, 16, axis=1) for mask in bits]
    single, double = series_volumes(bits, headers), series_volumes(both, headers)
    assert double.abc2_ml[ANY] == pytest.approx(2 * single.abc2_ml[ANY])
    assert double.ml[ANY] == pytest.approx(2 * single.ml[ANY])


def test_a_line_across_a_crescent_is_its_thickness() -> None:
    headers = made_headers([0.0], thickness_mm=5.0)
    i, j = np.indices((64, 64)) - 31.5
    radius = np.hypot(i, j)
    crescent = ((radius < 30) & (radius > 24) & (i < -10)).astype(np.uint8) << 4
    volumes = series_volumes([crescent], headers)
    chord = 2 * np.sqrt(30**2 - 10**2)
    # Where the inner circle ends; from the chord to the top it would be 20 mm.
    across = np.sqrt(30**2 - (24**2 - 10**2)) - 10
    assert volumes.abc2_ml[4] == pytest.approx(chord * across * 5 / 2 / 1000, rel=0.15)


@pytest.mark.parametrize(
    ("shape", "crop", "size"),
    [
        ((96, 96), (), 96),
        ((128, 96), (), 64),
        ((96, 120), (10, 30, 80, 70), 64),
        ((48, 40), (4, 3, 40, 33), 64),
    ],
)
def test_a_map_lies_where_the_image_was(shape, crop, size) -> None:
    """A smooth picture that is stored as conversion does comes back to its place."""
    i, j = np.indices(shape)
    top, left, rows, columns = crop or (0, 0, *shape)
    middle = top + 0.45 * rows, left + 0.6 * columns
    blob = np.exp(-((i - middle[0]) ** 2 + (j - middle[1]) ** 2) / (2 * 6.0**2)).astype(np.float32)
    inside = blob[top : top + rows, left : left + columns]
    # resize_hu pads with air, and clips below it.
    stored = resize_hu(inside * 1000 - 1024, size)
    back = in_image((stored + 1024) / 1000, crop, *shape)
    cut = np.zeros_like(blob)
    cut[top : top + rows, left : left + columns] = inside
    assert np.abs(back - cut).max() < 0.03
    weights = back / back.sum()
    centre = (weights * i).sum(), (weights * j).sum()
    expected = (cut * i).sum() / cut.sum(), (cut * j).sum() / cut.sum()
    assert np.hypot(centre[0] - expected[0], centre[1] - expected[1]) < 0.05


def test_masks_are_stored_and_come_back() -> None:
    shape, crop, size = (120, 100), (8, 6, 100, 88), 100
    i, j = np.indices(shape)
    disc = np.hypot(i - 60, j - 50) < 20
    same = image_bits(
        np.repeat(as_stored(disc, crop, size)[..., None], 6, axis=2).astype(np.float32),
        np.full(6, 0.5), crop, *shape,
    )  # fmt: skip
    np.testing.assert_array_equal(same, disc * 63)  # not resized: bit for bit
    half = image_bits(
        np.repeat(as_stored(disc, crop, 50)[..., None], 6, axis=2).astype(np.float32),
        np.full(6, 0.5), crop, *shape,
    )  # fmt: skip
    dice = 2 * np.sum((half > 0) & disc) / (np.sum(half > 0) + np.sum(disc))
    assert dice > 0.97


def test_any_holds_all_subtypes() -> None:
    probabilities = np.zeros((8, 8, 6), np.float32)
    probabilities[2, 3, 4] = 0.7
    bits = image_bits(probabilities, np.array([0.5] * 4 + [0.6, 0.9]), (), 8, 8)
    assert bits[2, 3] == 0b110000 and np.count_nonzero(bits) == 1
