"""Bleeds between bone and brain: epidural lenses, subdural crescents, sheets along the dura."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.phantom.full.bleeds.bleed import Bleed
from ich_tf.phantom.full.bleeds.noise import Noise
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import disc, share

# Least density of bone, and how far a fracture runs from the middle of the bleed (chosen).
_BONE_HU = 250.0
_CRACK_MM = 45.0
# Half axes of the cranial cavity, by which directions from the origin are measured.
_HALF_AXES = np.array([67.0, 84.0, 72.0], np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Epidural(Bleed):
    """A lens between bone and dura, which adheres to the sutures: there the lens ends.

    Attributes:
      point: A point of the inner table below the middle, mm.
      axes: Unit vectors to the back, upwards, and outwards from the point, float32 [3, 3].
      radii: Half widths to the back and upwards, mm.
      height_mm: Largest thickness.
      sutures: Planes, each a normal and an offset: the bleed lies where normal @ position > offset.
      side: Side that the falx keeps it on: -1 right, 1 left, 0 both.
      outline: Noise of the thickness.
      crack: Direction along the skull that a fracture runs across, radians from the back upwards;
        None for none.
    """

    point: np.ndarray
    axes: np.ndarray
    radii: tuple[float, float]
    height_mm: float
    sutures: tuple[tuple[float, float, float, float], ...]
    side: int
    outline: Noise
    crack: float | None = None

    def near(self, voxels: Voxels) -> np.ndarray:
        """See `Bleed`."""
        reach = max(self.radii) + 3.0
        near = (voxels.depth > -1.5) & (voxels.depth < self.height_mm + 2.0)
        for axis, middle in zip((voxels.x, voxels.y, voxels.z), self.point, strict=True):
            near &= np.abs(axis - np.float32(middle)) < np.float32(reach)
        return near

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """See `Bleed`."""
        x, y, z = part.x - self.point[0], part.y - self.point[1], part.z - self.point[2]
        back, up, out = (a * x + b * y + c * z for a, b, c in self.axes)
        near = (back * np.float32(1 / self.radii[0])) ** 2
        near += (up * np.float32(1 / self.radii[1])) ** 2
        thickness = np.maximum(1.0 - near, 0.0) * np.float32(self.height_mm)
        thickness *= 1.0 + 0.06 * self.outline.at(part.x, part.y, part.z)
        # Not on the other side of a strongly curved skull.
        thickness *= share(out + 45.0, 10.0)
        for nx, ny, nz, offset in self.sutures:
            beyond = nx * part.x + ny * part.y + nz * part.z - np.float32(offset)
            thickness *= np.sqrt(share(beyond - 2.0, 7.0))
        if self.side:
            thickness *= share(self.side * part.falx - 3.0, 5.0)
        inside = thickness - part.depth
        return share(part.depth) * share(inside) * (thickness > 0.3), np.minimum(inside, part.depth)

    def fall(self, part: Voxels) -> np.ndarray | None:
        """See `Bleed`: a fracture through the bone outside, about a millimetre wide."""
        if self.crack is None:
            return None
        x, y, z = part.x - self.point[0], part.y - self.point[1], part.z - self.point[2]
        near = (part.depth < 0.5) & (part.hu > _BONE_HU)
        near &= x * x + y * y + z * z < np.float32(_CRACK_MM**2)
        bone = part.take(near)
        across = math.cos(self.crack) * self.axes[0] + math.sin(self.crack) * self.axes[1]
        away = across[0] * x[near] + across[1] * y[near] + across[2] * z[near]
        away += 2.0 * self.outline.at(bone.x, bone.y, bone.z)
        loss = np.zeros_like(part.x)
        loss[near] = share(0.6 - np.abs(away)) * (bone.hu - 60.0)
        return loss

    def sized(self, size: float) -> Epidural:
        """See `Bleed`."""
        factor = math.exp(size / 3)
        radii = (self.radii[0] * factor, self.radii[1] * factor)
        return dataclasses.replace(self, radii=radii, height_mm=self.height_mm * factor)


@dataclasses.dataclass(frozen=True, eq=False)
class Subdural(Bleed):
    """A crescent between dura and brain: far along the inner table, on one side of the falx.

    Attributes:
      side: -1 right, 1 left.
      azimuth: Direction of the middle: 0 to the ear, positive to the back, radians.
      elevation: Direction of the middle above the plane of the origin, radians.
      widths: Half widths to front and back, and up and down, radians.
      height_mm: Largest thickness.
      power: Power by which it thins towards its ends: 2 lens-like, 4 of even thickness.
      sag: Relative growth of the thickness to the back, per radian.
      outline: Noise of the thickness.
    """

    side: int
    azimuth: float
    elevation: float
    widths: tuple[float, float]
    height_mm: float
    power: float
    sag: float
    outline: Noise

    def near(self, voxels: Voxels) -> np.ndarray:
        """See `Bleed`."""
        near = (voxels.depth > -1.5) & (voxels.depth < 1.7 * self.height_mm + 2.0)
        return near & (self.side * voxels.falx > 0.0) & (voxels.tent > 0.0)

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """See `Bleed`."""
        x, y, z = part.x / _HALF_AXES[0], part.y / _HALF_AXES[1], part.z / _HALF_AXES[2]
        azimuth = np.arctan2(y, np.maximum(self.side * x, 1e-3)) - np.float32(self.azimuth)
        elevation = np.arctan2(z, np.hypot(x, y)) - np.float32(self.elevation)
        # Meridians meet at the crown.
        flat = np.cos(np.clip(elevation + np.float32(self.elevation), 0.0, 1.2))
        near = (azimuth * flat * np.float32(1 / (self.widths[0] * math.cos(self.elevation)))) ** 2
        near += (elevation * np.float32(1 / self.widths[1])) ** 2
        lumps = self.outline.at(part.x, part.y, part.z)
        near += 0.15 * lumps
        profile = np.clip(1.0 - np.abs(near) ** np.float32(self.power / 2), 0.0, 1.0)
        thickness = np.float32(self.height_mm) * profile
        thickness *= np.maximum(1.0 + 0.12 * lumps + np.float32(self.sag) * azimuth, 0.3)
        thickness *= np.sqrt(share(self.side * part.falx - 2.0, 4.0) * share(part.tent - 3.0, 6.0))
        inside = thickness - part.depth
        return share(part.depth) * share(inside) * (thickness > 0.3), np.minimum(inside, part.depth)

    def sized(self, size: float) -> Subdural:
        """See `Bleed`."""
        # As measured on pictures of textbooks, ever wider rather than thicker, up to a hemisphere.
        factor = math.exp(0.36 * size)
        widths = (min(self.widths[0] * factor, 1.75), min(self.widths[1] * factor, 1.15))
        height_mm = self.height_mm * math.exp(0.28 * size)
        return dataclasses.replace(self, widths=widths, height_mm=height_mm)


@dataclasses.dataclass(frozen=True, eq=False)
class Sheet(Bleed):
    """A thin subdural bleed along the falx or upon the tentorium: straight on the dura's side.

    Attributes:
      dura: `falx` or `tent`.
      side: -1 right, 1 left.
      middle: y and z of the middle on the falx; side * x and y on the tentorium, mm.
      radii: Half widths, mm.
      height_mm: Largest thickness.
      outline: Noise of the thickness.
    """

    dura: str
    side: int
    middle: tuple[float, float]
    radii: tuple[float, float]
    height_mm: float
    outline: Noise

    def near(self, voxels: Voxels) -> np.ndarray:
        """See `Bleed`."""
        near = (voxels.depth > -1.5) & (self.side * voxels.falx > -2.0) & (voxels.tent > -2.0)
        height = voxels.tent if self.dura == "tent" else self.side * voxels.falx
        return near & (height < 1.4 * self.height_mm + 3.0)

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """See `Bleed`."""
        side = self.side * part.falx
        room: np.ndarray
        if self.dura == "tent":
            height, first, second = part.tent, side, part.y
            # The notch, in which the brain stem stands.
            room = share(np.hypot(side, part.y - 12.0) - 20.0, 4.0)
        else:
            height, first, second = side, part.y, part.z
            room = share(-disc(part.y - 4.0, part.z - 6.0, 48.0, 29.0), 3.0)
            room *= share(part.z + 12.0, 4.0)
        lumps = self.outline.at(part.x, part.y, part.z)
        near: np.ndarray = 0.2 * lumps
        near += ((first - self.middle[0]) * np.float32(1 / self.radii[0])) ** 2
        near += ((second - self.middle[1]) * np.float32(1 / self.radii[1])) ** 2
        thickness = np.sqrt(np.clip(1.0 - near, 0.0, 1.0)) * np.float32(self.height_mm)
        thickness *= room * (1.0 + 0.15 * lumps)
        inside = np.minimum(thickness - height, height + 0.3)
        return share(part.depth) * share(inside) * (thickness > 0.4), inside

    def sized(self, size: float) -> Sheet:
        """See `Bleed`."""
        factor = math.exp(0.4 * size)
        radii = (min(self.radii[0] * factor, 85.0), min(self.radii[1] * factor, 60.0))
        return dataclasses.replace(
            self, radii=radii, height_mm=self.height_mm * math.exp(0.2 * size)
        )
