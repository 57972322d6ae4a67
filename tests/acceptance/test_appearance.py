"""Noise that blood keeps and noise that it lacks make up the noise of the scan."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ich_tf.acceptance.appearance import describe_appearance, slow_part
from ich_tf.image_quality.regions import Regions


@pytest.mark.parametrize("pixel_mm", [0.5, 0.9, 1.8])
def test_kept_and_lost_noise_add_up(pixel_mm: float) -> None:
    rng = np.random.default_rng(0)
    noise = np.stack(
        [cv2.GaussianBlur(part, (0, 0), 0.6) for part in rng.normal(0, 6, (2, 96, 96))]
    ).astype(np.float32)
    level = float(noise.std())
    white = np.zeros(noise.shape, bool)
    white[:, 8:-8, 8:-8] = True
    none = np.zeros_like(white)
    depth = np.where(white, 40.0, 10.0).astype(np.float32)
    regions = Regions(white, none, white, white, white, none, none, depth)
    # Denoising takes it all: what is lost is the slow part alone.
    clean = np.full_like(noise, 30.0)
    found = describe_appearance(
        clean + noise, clean, depth, regions, pixel_mm, 0.4, np.full(2, level)
    )
    kept = noise[0] - slow_part(noise[0], depth[0], pixel_mm)
    total = np.hypot(kept[white[0]].std(), found.lost_hu[0])
    assert total == pytest.approx(level, rel=0.05)
    drawn = found.lost_noise(rng, 0, (96, 96), pixel_mm)
    assert drawn.std() == pytest.approx(found.lost_hu[0], rel=0.01)
    if pixel_mm == 1.8:
        assert found.lost_hu[0] > 0.3 * level
