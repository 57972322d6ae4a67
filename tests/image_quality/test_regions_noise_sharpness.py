"""Regions, noise and sharpness of a head whose numbers are known."""

import os
from pathlib import Path

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.image_quality.noise import measure_noise
from ich_tf.image_quality.regions import find_regions
from ich_tf.image_quality.series import list_series
from ich_tf.image_quality.sharpness import measure_sharpness
from tests.support.ring_head import INNER_MM, PIXEL_MM, SKIN_MM, VENTRICLE_MM, ring_head

REAL = os.environ.get("ICH_TF_REAL_DICOM", "")


def test_regions_have_the_areas_that_were_drawn() -> None:
    regions = find_regions(ring_head(noise_hu=4.0), PIXEL_MM)

    def radius(mask: np.ndarray) -> np.ndarray:
        return np.sqrt(mask.sum(axis=(1, 2)) * PIXEL_MM**2 / np.pi)

    assert radius(regions.head) == pytest.approx(SKIN_MM, abs=1.0)
    assert radius(regions.cavity) == pytest.approx(INNER_MM, abs=1.0)
    assert radius(regions.fluid) == pytest.approx(VENTRICLE_MM, abs=1.0)
    assert radius(regions.white) == pytest.approx(np.sqrt(45.0**2 - VENTRICLE_MM**2), abs=1.5)
    assert not (regions.brain & regions.fluid).any()
    assert regions.depth_mm.max() == pytest.approx(INNER_MM, abs=2.0)


@pytest.mark.parametrize("value", [-1000.0, 40.0, 900.0])
def test_what_is_no_head_has_no_cavity(value: float) -> None:
    flat = np.full((2, 64, 64), value, np.float32)
    regions = find_regions(flat, 3.6)
    assert not regions.has_brain.any()
    assert not regions.white.any()
    assert measure_noise(flat, regions, 3.6).num_patches == 0
    assert np.isnan(measure_sharpness(flat, regions, 3.6).frequency_at(0.5))


def test_noise_has_the_level_and_spectrum_that_were_drawn() -> None:
    sigma, level = 0.5, 5.0
    hu = ring_head(noise_hu=level, noise_sigma_mm=sigma)
    noise = measure_noise(hu, find_regions(hu, PIXEL_MM), PIXEL_MM)
    assert noise.level_hu == pytest.approx(level, rel=0.06)
    # White noise after a Gaussian: the power density is a Gaussian, of integral level^2.
    density = (
        4 * np.pi * sigma**2 * level**2 * np.exp(-((2 * np.pi * sigma * noise.frequencies) ** 2))
    )
    # The lowest rings are taken out with the trend; far out, the window leaks and rings are wide.
    middle = slice(3, 9)
    assert noise.spectrum[middle] == pytest.approx(density[middle], rel=0.15)


@pytest.mark.parametrize("sigma_mm", [0.45, 0.6, 0.8])
def test_sharpness_is_the_blur_that_was_applied(sigma_mm: float) -> None:
    hu = ring_head(sigma_mm)
    sharpness = measure_sharpness(hu, find_regions(hu, PIXEL_MM), PIXEL_MM)
    # A pixel's own width is blur as well: of variance width^2 / 12.
    sigma = np.hypot(sigma_mm, PIXEL_MM / np.sqrt(12))
    for modulation in (0.5, 0.1):
        frequency = np.sqrt(-np.log(modulation) / 2) / (np.pi * sigma)
        assert sharpness.frequency_at(modulation) == pytest.approx(frequency, rel=0.12)


def test_series_of_a_folder_that_holds_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        list_series(tmp_path / "missing")
    (tmp_path / "text.dcm").write_text("no DICOM file")
    series, left_out = list_series(tmp_path)
    assert series == []
    assert left_out == {"NOT_DICOM": 1}


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="ICH_TF_REAL_DICOM is not set")
def test_a_real_head() -> None:
    (listed,), _ = list_series(Path(REAL) / "ge_head")
    series = listed.read()
    assert series.hu.shape == (28, 512, 512)
    regions = find_regions(series.hu, series.pixel_mm)
    cavity_cm3 = np.sum(
        regions.cavity.sum(axis=(1, 2)) * np.gradient(series.places_mm) * series.pixel_mm**2 / 1000
    )
    assert 1200 < cavity_cm3 < 1700  # adults have 1,100 to 1,700 ml
    noise = measure_noise(series.hu, regions, series.pixel_mm)
    thick = series.thickness_mm > 5
    # Slices of 7 mm collect more photons than those of 4 mm.
    assert np.nanmedian(noise.level_hu[thick]) < np.nanmedian(noise.level_hu[~thick])
    sharpness = measure_sharpness(series.hu, regions, series.pixel_mm)
    assert 0.25 < sharpness.frequency_at(0.5) < 0.5
