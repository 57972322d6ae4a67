"""Resizing, the stored form and display windows of Hounsfield units."""

import math

import numpy as np
import pytest

from ich_tf.errors import ConfigError
from ich_tf.windows import (
    HU_RANGE,
    PRESETS,
    Window,
    apply_windows,
    preset_windows,
    quantize_hu,
    resize_hu,
    store_hu,
    window_slice,
)


def test_known_grey_values() -> None:
    hu = np.array([[-1000, 0, 40, 80, 3000]], np.float32)
    grey = apply_windows(quantize_hu(hu), [PRESETS["brain"]])[..., 0]
    np.testing.assert_array_equal(grey, [[0, 0, 128, 255, 255]])


def test_against_the_formula_in_float64() -> None:
    hu = np.random.default_rng(0).uniform(-1024, 3071, (32, 32)).astype(np.float32)
    windows = preset_windows(["brain", "subdural", "soft", "stroke", "bone"])
    image = apply_windows(quantize_hu(hu), windows)
    assert image.dtype == np.uint8
    assert image.shape == (32, 32, 5)
    for channel, window in enumerate(windows):
        low = window.center - window.width / 2
        exact = np.clip((hu.astype(np.float64) - low) / window.width * 255, 0, 255)
        # Half a grey level by rounding, and what half a sixteenth of a Hounsfield unit makes.
        slack = 255 / window.width / 32
        assert np.abs(image[..., channel] - exact).max() <= 0.5 + slack + 1e-3


def test_the_stored_form_holds_the_whole_range() -> None:
    hu = np.array([[*HU_RANGE, -1023.9375, 40.03125, 40.0625]], np.float32)
    np.testing.assert_array_equal(quantize_hu(hu), [[0, 65520, 1, 17025, 17025]])
    # Halfway goes up, and so does what the last bit of a sum makes of it.
    for near in (np.nextafter(np.float32(40.03125), np.float32(-np.inf)), np.float32(40.03126)):
        assert quantize_hu(np.array([[near]], np.float32)) == 17025
    beyond = np.array([[-3024, 5000], [0, 0]], np.float32)
    np.testing.assert_array_equal(store_hu(beyond, 2), [[0, 65520], [16384, 16384]])


def test_the_same_hu_has_one_grey_value() -> None:
    """No per-image normalisation: neighbours in the image do not matter."""
    alone = window_slice(np.full((8, 8), 40, np.float32), 8, [Window(40, 80)])
    beside = np.full((8, 8), 40, np.float32)
    beside[0] = 3000
    assert (window_slice(beside, 8, [Window(40, 80)])[1:] == alone[1:]).all()


def test_padding_does_not_bleed_into_the_head() -> None:
    hu = np.full((8, 8), 40, np.float32)
    hu[:, :3] = -3024
    resized = resize_hu(hu, 4)
    assert resized[0, 1] == pytest.approx((-1024 + 40) / 2)


def test_resizing_down_averages_areas_and_up_interpolates() -> None:
    hu = np.arange(64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_allclose(
        resize_hu(hu, 4), hu.reshape(4, 2, 4, 2).mean(axis=(1, 3)), atol=1e-4
    )
    assert resize_hu(hu, 16).shape == (16, 16)
    np.testing.assert_array_equal(resize_hu(hu, 8), hu)


def test_a_rectangle_is_padded_with_air_not_stretched() -> None:
    resized = resize_hu(np.full((4, 8), 50, np.float32), 8)
    assert (resized[2:6] == 50).all()
    assert (resized[[0, 1, 6, 7]] == -1024).all()


def test_unknown_windows_are_named() -> None:
    with pytest.raises(ConfigError, match="brane"):
        preset_windows(["brane"])
    with pytest.raises(ConfigError, match="none"):
        preset_windows([])


@pytest.mark.parametrize(("center", "width"), [(40, 0), (40, -80), (math.nan, 80), (40, math.inf)])
def test_a_window_has_a_width(center: float, width: float) -> None:
    with pytest.raises(ValueError, match="expected a finite centre and a width above 0"):
        Window(center, width)


def test_hounsfield_units_are_not_the_stored_form() -> None:
    with pytest.raises(ValueError, match="of type int16; expected uint16"):
        apply_windows(np.array([[0, 40]], np.int16), [PRESETS["brain"]])
