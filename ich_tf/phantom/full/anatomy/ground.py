"""The lattice that a head is built on, and the layers that are built.

Anatomy is described in the standard head: cavity 136 mm wide, 168 mm long, origin between the
foramina of Monro, x to the patient's left, y to the back, z to the crown, mm. A patient's own
proportions, skew and unevenness lie in the map from the lattice's points into the standard head.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.lattice import Points
from ich_tf.phantom.full.anatomy.noise import Noise
from ich_tf.phantom.full.anatomy.traits import Traits
from ich_tf.phantom.shapes import Region

STANDARD_LENGTH_MM, STANDARD_WIDTH_MM = 168.0, 136.0
# Box of the standard head: lowest and highest (x, y, z).
BOX = ((-98.0, -122.0, -126.0), (98.0, 118.0, 102.0))
# The patient's unevenness moves a point by at most so much.
_WARP_MM = 3.0
_MARGIN_MM = 7.0


@dataclasses.dataclass(frozen=True, eq=False)
class Ground:
    """Points of the lattice in the standard head.

    Attributes:
      traits: The patient's traits.
      step_mm: Distance between neighbours.
      axes: x, y and z of the lattice in the standard head's proportions, before unevenness.
      x: Position in the standard head, mm, float32 [z, y, x].
      y: Position, of the same shape.
      z: Position, of the same shape.
      relief: Slow noise, standard deviation 1.
      fine: Noise of about a quarter of the relief's size.
    """

    traits: Traits
    step_mm: float
    axes: Points
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    relief: np.ndarray
    fine: np.ndarray

    def box(
        self, low: tuple[float, float, float], high: tuple[float, float, float]
    ) -> Region | None:
        """Index of the points that contain a box of the standard head; None if there are none."""
        x, y, z = (
            slice(
                int(np.searchsorted(axis, least - _MARGIN_MM)),
                int(np.searchsorted(axis, most + _MARGIN_MM)),
            )
            for axis, least, most in zip(self.axes, low, high, strict=True)
        )
        if z.start >= z.stop:
            return None
        # Slopes need two planes.
        stop = max(z.stop, 2)
        return slice(min(z.start, stop - 2), stop), y, x

    def crop(self, region: Region) -> Ground:
        """The points of a region; arrays are views."""
        planes, rows, columns = region
        x, y, z = self.axes
        return dataclasses.replace(
            self,
            axes=(x[columns], y[rows], z[planes]),
            x=self.x[region],
            y=self.y[region],
            z=self.z[region],
            relief=self.relief[region],
            fine=self.fine[region],
        )

    @property
    def points(self) -> Points:
        """x, y and z."""
        return self.x, self.y, self.z


class Terrain:
    """What makes one head unlike another of the same traits, and the lattice of its points."""

    def __init__(self, rng: np.random.Generator, traits: Traits, step_mm: float) -> None:
        """Draws the unevenness.

        Args:
          rng: Random generator of the unevenness.
          traits: The patient's traits.
          step_mm: Distance between neighbours.
        """
        along = traits.length_mm / STANDARD_LENGTH_MM
        across = traits.index * traits.length_mm / STANDARD_WIDTH_MM
        scales = (across, along, traits.height)
        self.traits = traits
        self.step_mm = step_mm
        self.origin_mm = (BOX[0][0] * across, BOX[0][1] * along, BOX[0][2] * traits.height)
        self._axes = [
            np.arange(least, most * scale, step_mm, dtype=np.float32) / np.float32(scale)
            for least, most, scale in zip(self.origin_mm, BOX[1], scales, strict=True)
        ]
        self._warp = Noise(rng, 30.0, *BOX, count=3)
        self._relief = Noise(rng, 11.0, *BOX)
        self._fine = Noise(rng, 3.2, *BOX)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points along z, y and x."""
        x, y, z = self._axes
        return len(z), len(y), len(x)

    def ground(self, planes: slice) -> Ground:
        """The points of some planes of the lattice."""
        axes = (self._axes[0], self._axes[1], self._axes[2][planes])
        grid = np.meshgrid(*axes[::-1], indexing="ij")
        z, y, x = (np.ascontiguousarray(axis) for axis in grid)
        warped = [
            axis + np.float32(0.5 * _WARP_MM) * np.clip(warp, -2.0, 2.0)
            for axis, warp in zip((x, y, z), self._warp.all((x, y, z)), strict=True)
        ]
        # Skew moves one side forward.
        warped[1] += np.float32(self.traits.skew) * warped[0]
        return Ground(
            traits=self.traits,
            step_mm=self.step_mm,
            axes=axes,
            x=warped[0],
            y=warped[1],
            z=warped[2],
            relief=self._relief((x, y, z)),
            fine=self._fine((x, y, z)),
        )
