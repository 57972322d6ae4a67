"""Smooth random fields in space: outlines of clots, and what their inside looks like."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

_NODES = 48


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """A random function of position, of mean 0 and standard deviation 1, that repeats far away.

    Attributes:
      cube: Values at the nodes of a periodic lattice, float32 [_NODES, _NODES, _NODES].
      to_nodes: Matrix from mm to nodes, float32 [3, 3].
      offset: Position of the origin among the nodes, float32 [3].
    """

    cube: np.ndarray
    to_nodes: np.ndarray
    offset: np.ndarray

    def at(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Values at points in mm, float32 of the shape of `x`."""
        nodes = [
            a * x + b * y + c * z + d
            for (a, b, c), d in zip(self.to_nodes, self.offset, strict=True)
        ]
        return np.asarray(
            ndimage.map_coordinates(
                self.cube, nodes, np.float32, order=1, mode="grid-wrap", prefilter=False
            )
        )

    def moved(self, rng: np.random.Generator) -> Noise:
        """The same noise at another place and turned: as good as another one, and quicker."""
        axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        return dataclasses.replace(
            self,
            to_nodes=(self.to_nodes @ axes).astype(np.float32),
            offset=rng.uniform(0, _NODES, 3).astype(np.float32),
        )


def draw_noise(rng: np.random.Generator, finest_mm: float, slope: float) -> Noise:
    """Draws a noise whose amplitudes fall with frequency.

    Args:
      rng: Random generator.
      finest_mm: Shortest wavelength; the longest is twelve times as long.
      slope: Power of the wavelength that amplitudes follow: 1.5 for grains among lumps, 2.5 for
        lumps.
    """
    # Four nodes a wavelength: between them a straight line is good enough.
    values = rng.standard_normal((_NODES,) * 3, np.float32)
    axis = np.fft.fftfreq(_NODES).astype(np.float32)
    frequency = np.sqrt(
        axis[:, None, None] ** 2 + axis[:, None] ** 2 + np.abs(axis[: _NODES // 2 + 1]) ** 2
    )
    band = (frequency > 0.5 / _NODES) & (frequency <= 0.25)
    gain = np.where(band, np.maximum(frequency, 1e-6) ** -slope, 0.0)
    cube = np.fft.irfftn(np.fft.rfftn(values) * gain, s=values.shape, axes=(0, 1, 2))
    nodes = np.eye(3) * 4.0 / finest_mm
    cube = (cube / cube.std()).astype(np.float32)
    return Noise(cube, nodes.astype(np.float32), np.zeros(3, np.float32)).moved(rng)
