"""Bleeds in the brain: spontaneous haematomas, and contusions of many lumps."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.phantom.full.bleeds.bleed import Bleed
from ich_tf.phantom.full.bleeds.noise import Noise
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import share


@dataclasses.dataclass(frozen=True, eq=False)
class Haematoma(Bleed):
    """Lumps of blood with an uneven surface, and oedema around them.

    Attributes:
      center: Position of the middle, mm, float32 [3].
      axes: Unit vectors of the half axes, float32 [3, 3].
      radii: Half axes of the first lump, mm.
      lumps: Position in units of the half axes, and relative size, of each lump, [n, 4].
      rough: Amplitude of the surface's noise, relative to the radius: 0.1 smooth, 0.5 torn.
      side: Side of the falx that it stays on: -1 right, 1 left, 0 both.
      above: Whether it lies above the tentorium.
      oedema_mm: Width of the oedema.
      oedema_hu: Fall of white matter's density by it.
      outline: Noise of the surface.
    """

    center: np.ndarray
    axes: np.ndarray
    radii: tuple[float, float, float]
    lumps: np.ndarray
    rough: float
    side: int
    above: bool
    oedema_mm: float
    oedema_hu: float
    outline: Noise

    def near(self, voxels: Voxels) -> np.ndarray:
        """See `Bleed`."""
        return self._within(voxels, 0.0)

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """See `Bleed`."""
        inside = self._distance(part)
        # Arachnoid and falx are torn last.
        tissue = np.clip(part.brain + part.fluid + part.ventricle, 0.0, 1.0)
        return tissue * share(inside), inside

    def sized(self, size: float) -> Haematoma:
        """See `Bleed`."""
        factor = math.exp(size / 3)
        a, b, c = self.radii
        return dataclasses.replace(self, radii=(a * factor, b * factor, c * factor))

    def fall(self, part: Voxels) -> np.ndarray | None:
        """See `Bleed`."""
        if self.oedema_mm <= 0:
            return None
        near = self._within(part, self.oedema_mm)
        region = part.take(near)
        width = self.oedema_mm
        inside = self._distance(region) + width * (
            1.0 + 0.35 * self.outline.at(0.4 * region.y, 0.4 * region.z, 0.4 * region.x)
        )
        # Oedema spreads in white matter, and stops below the cortex.
        white = np.clip((38.0 - region.hu) * np.float32(0.12), 0.25, 1.0)
        fall = np.zeros_like(part.x)
        fall[near] = (
            self.oedema_hu * region.brain * white * share(inside - 0.3 * width, 0.6 * width)
        )
        return fall

    def later(self, days: float) -> Haematoma:
        """See `Bleed`; oedema grows."""
        older = super().later(days)
        return dataclasses.replace(older, oedema_mm=self.oedema_mm + min(0.8 * days, 6.0))

    def _within(self, voxels: Voxels, margin: float) -> np.ndarray:
        reach = self._reach() + margin
        near = voxels.depth > 0.0
        for axis, middle in zip((voxels.x, voxels.y, voxels.z), self.center, strict=True):
            near &= np.abs(axis - np.float32(middle)) < np.float32(reach)
        return near

    def _reach(self) -> float:
        far = np.linalg.norm(self.lumps[:, :3], axis=1) + self.lumps[:, 3] * (1 + 1.8 * self.rough)
        return max(self.radii) * float(far.max()) + 1.5

    def _distance(self, part: Voxels) -> np.ndarray:
        """Distance from the surface, mm, positive inside; first order."""
        x, y, z = part.x - self.center[0], part.y - self.center[1], part.z - self.center[2]
        local = [
            (a * x + b * y + c * z) * np.float32(1 / radius)
            for (a, b, c), radius in zip(self.axes, self.radii, strict=True)
        ]
        inside = np.full_like(x, -9.0)
        for u, v, w, radius in self.lumps.astype(np.float32):
            far = np.sqrt((local[0] - u) ** 2 + (local[1] - v) ** 2 + (local[2] - w) ** 2)
            np.maximum(inside, radius - far, out=inside)
        inside += np.float32(self.rough) * self.outline.at(part.x, part.y, part.z)
        inside *= np.float32(min(self.radii))
        if self.side:
            np.minimum(inside, self.side * part.falx - 1.0, out=inside)
        np.minimum(inside, part.tent - 1.0 if self.above else -1.0 - part.tent, out=inside)
        return np.asarray(np.minimum(inside, part.depth - 1.0))
