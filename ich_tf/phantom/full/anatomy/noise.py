"""Smooth random fields: what makes one head unlike another, and its outlines uneven."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ich_tf.phantom.full.anatomy.lattice import Lattice, Points

# Points of the noise's own lattice per standard deviation of the filter: with fewer, the levels of
# the interpolated noise have visible corners. Slow noise is cheap, and bends what is large.
_POINTS, _SLOW_POINTS, _SLOW_MM = 2.0, 4.0, 8.0


class Noise:
    """Noise of mean 0 and standard deviation 1 that varies over a given distance.

    The distance between two places where it is zero is about 4.4 times its `sigma_mm`.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        sigma_mm: float,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        band: bool = False,
        count: int = 1,
    ) -> None:
        """Draws the noise.

        Args:
          rng: Random generator.
          sigma_mm: Standard deviation of the filter that smooths white noise.
          low: Lowest (x, y, z) of the box that it fills, mm.
          high: Highest (x, y, z) of the box, mm.
          band: Whether slow changes are removed, so that zeros lie at even distances.
          count: Number of noises: those that are asked for at the same points.
        """
        points = _POINTS if sigma_mm < _SLOW_MM else _SLOW_POINTS
        step = sigma_mm / points
        shape = [int((most - least) / step) + 2 for least, most in zip(low, high, strict=True)]
        fields = []
        for _ in range(count):
            white = rng.standard_normal(shape[::-1], np.float32)
            smooth = ndimage.gaussian_filter(white, points, mode="wrap", truncate=3.0)
            if band:
                smooth -= ndimage.gaussian_filter(smooth, points * 1.2, mode="wrap", truncate=3.0)
            smooth -= smooth.mean()
            fields.append(smooth / smooth.std())
        self._lattice = Lattice.pack(low, step, fields[0].shape, [fields])

    def __call__(self, points: Points) -> np.ndarray:
        """The first noise at points x, y and z, mm, float32 [n, rows, columns]."""
        return self.all(points)[0]

    def all(self, points: Points) -> list[np.ndarray]:
        """All noises at points x, y and z, mm, each float32 [n, rows, columns]."""
        return self._lattice.sample(*points)
