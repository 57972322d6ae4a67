"""Blood in fluid: of sulci, fissures and cisterns, and of the ventricles."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.phantom.full.bleeds.bleed import Bleed
from ich_tf.phantom.full.bleeds.noise import Noise
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import share


@dataclasses.dataclass(frozen=True, eq=False)
class Subarachnoid(Bleed):
    """Blood mixed with the fluid around the brain, thickest where it came from.

    Attributes:
      sources: Position in mm, half axes in mm, and concentration of each cloud, [n, 7].
      patches: Amplitude of the noise that leaves sulci free, mm.
      outline: Noise of the borders.
    """

    sources: np.ndarray
    patches: float
    outline: Noise

    def near(self, voxels: Voxels) -> np.ndarray:
        """See `Bleed`."""
        near = np.zeros(voxels.x.shape, bool)
        for x, y, z, a, b, c, _ in self.sources.astype(np.float32):
            box = np.abs(voxels.x - x) < a + 2.0 * self.patches + 6.0
            box &= np.abs(voxels.y - y) < b + 2.0 * self.patches + 6.0
            box &= np.abs(voxels.z - z) < c + 2.0 * self.patches + 6.0
            near |= box
        return near & (voxels.fluid > 0.02)

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """See `Bleed`."""
        noise = np.float32(self.patches) * self.outline.at(part.x, part.y, part.z)
        blood = np.zeros_like(part.x)
        for x, y, z, a, b, c, strength in self.sources.astype(np.float32):
            far = np.sqrt(
                ((part.x - x) / a) ** 2 + ((part.y - y) / b) ** 2 + ((part.z - z) / c) ** 2
            )
            inside = (1.0 - far) * np.float32(min(a, b, c)) + noise
            np.maximum(blood, strength * share(inside, 5.0), out=blood)
        # Blood swells what holds it: a sulcus of a third of a voxel takes two thirds of it.
        swollen = np.minimum(part.fluid * (1.0 + blood), part.fluid + part.brain)
        return swollen * blood, 3.0 * part.fluid

    def sized(self, size: float) -> Subarachnoid:
        """See `Bleed`."""
        sources = self.sources.copy()
        sources[:, 3:6] *= math.exp(size / 3)
        return dataclasses.replace(self, sources=sources)


@dataclasses.dataclass(frozen=True, eq=False)
class Intraventricular(Bleed):
    """Blood in the ventricles: layered in the occipital horns, or a cast of them.

    Attributes:
      level_mm: y above which all fluid is blood: a patient lies on the back, and blood sinks.
      slope: Growth of the level's y with x: the head lies turned.
      rough_mm: Amplitude of the level's noise: 0 for a level of liquid, 15 for clots.
      side: -1 right, 1 left, 0 both.
      outline: Noise of the surface.
    """

    level_mm: float
    slope: float
    rough_mm: float
    side: int
    outline: Noise

    def near(self, voxels: Voxels) -> np.ndarray:
        """See `Bleed`."""
        near = voxels.ventricle > 0.02
        return near & (self.side * voxels.falx > -2.0) if self.side else near

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """See `Bleed`."""
        inside = part.y - np.float32(self.slope) * part.x - np.float32(self.level_mm)
        if self.rough_mm:
            inside += np.float32(self.rough_mm) * self.outline.at(part.x, part.y, part.z)
        blood = part.ventricle * share(inside, 1.5)
        if self.side:
            blood *= share(self.side * part.falx + 1.0, 2.0)
        return blood, inside

    def sized(self, size: float) -> Intraventricular:
        """See `Bleed`."""
        return dataclasses.replace(self, level_mm=self.level_mm - 20.0 * size)
