"""The cranial cavity and the bone around it: the vault, and the base as a landscape.

The base of the skull is a height above each point of the axial plane: the roofs of the orbits, the
sella, the middle fossae, the petrous ridges, the clivus, and the bowl of the posterior fossa with
the foramen magnum, a hole in it. Partial volume of its slopes is then as in patients.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.shapes import Region

# Half axes of the cavity, and the exponent of its superellipsoid: skulls are boxier than eggs.
_WIDE_MM, _LONG_MM, _UP_MM, _DOWN_MM = 68.0, 84.0, 71.0, 98.0
_EXPONENT = 2.22


@dataclasses.dataclass(frozen=True, eq=False)
class BaseMaps:
    """The base of a skull above the axial plane, float32 [rows, columns], a pixel a mm.

    Attributes:
      height: Height of its inner surface, mm.
      slope: Length of the height's gradient.
      thickness: Thickness of its bone, mm.
      density: Hounsfield units beyond the diploe's.
    """

    height: np.ndarray
    slope: np.ndarray
    thickness: np.ndarray
    density: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Skull:
    """Distances, mm, and densities at the points of the lattice.

    Attributes:
      depth: Distance from the inner table, positive inside the cavity.
      outer: Distance from the outer surface of the skull, positive inside it.
      vault: Distance from the inner surface of the vault alone, as if it had no base.
      marrow: Hounsfield units between the compact tables.
    """

    depth: np.ndarray
    outer: np.ndarray
    vault: np.ndarray
    marrow: np.ndarray

    def crop(self, region: Region) -> Skull:
        """The points of a region; arrays are views."""
        return Skull(
            self.depth[region], self.outer[region], self.vault[region], self.marrow[region]
        )


def head_width(y: np.ndarray) -> np.ndarray:
    """Width of the head relative to its middle: widest behind the middle, narrow at the brow."""
    back = y * np.float32(1 / _LONG_MM)
    return np.asarray(1.0 + 0.08 * back - 0.07 * back * back)


def build_skull(ground: Ground, base_maps: BaseMaps) -> Skull:
    """Builds the cavity and the bone around it."""
    traits = ground.traits
    x, y, z = ground.points
    vault = _vault(x, y - 3.0, z)
    height = _look_up(base_maps.height, x, y)
    rough = np.exp(-(((z + 38.0) / 12.0) ** 2))
    rise = z - height + (0.3 + 1.2 * rough) * ground.fine
    # Far above a steep wall its steepness is of no account.
    steep = _look_up(base_maps.slope, x, y) * np.exp(-((rise / 14.0) ** 2))
    base = rise / np.sqrt(1.0 + steep * steep)
    depth = smooth_least(vault, base, 4.0)
    # The temporal squama is thin, the occiput and the brow are thick, and old frontal bones too.
    back = np.clip((y - 40.0) / 40.0, 0.0, 1.0)
    squama = np.exp(-(((z + 12.0) / 26.0) ** 2) - ((y + 2.0) / 42.0) ** 2) * (np.abs(x) > 30)
    bone_mm = traits.skull_mm * (0.96 + 0.03 * ground.relief + 0.10 * back - 0.52 * squama)
    # The brow.
    brow = np.exp(-(((z + 22.0) / 13.0) ** 2)) * np.clip((-y - 58.0) / 18.0, 0.0, 1.0)
    bone_mm += (2.0 + 5.0 * traits.pneumatization) * brow
    bone_mm = np.maximum(bone_mm, 2.0)
    # The crest and the ridges of the inner table.
    crest = np.exp(-((x / 2.2) ** 2)) * np.clip((-y - 55.0) / 15.0, 0.0, 1.0) * (z < 25.0)
    protuberance = np.exp(-((x / 6.0) ** 2) - ((z + 24.0) / 22.0) ** 2) * np.clip(
        (y - 70.0) / 8, 0, 1
    )
    inner = 0.16 * traits.skull_mm * ground.relief + 0.7 * np.abs(ground.fine)
    depth = depth - inner * np.exp(-((vault / 8.0) ** 2)) - 3.0 * crest
    depth -= 6.0 * protuberance
    under = _look_up(base_maps.thickness, x, y) * (1.0 + 0.2 * ground.fine)
    outer = np.minimum(vault + bone_mm, base + under)
    np.minimum(outer, _sutures(ground), out=outer)
    marrow = traits.diploe * traits.bone_hu + 330.0 * ground.fine + 290.0 * ground.relief
    marrow = np.clip(marrow, 100.0, 0.95 * traits.bone_hu)
    # The base has more marrow than the vault, but for the petrous bone.
    below = (base < 2.0) & (z < -18.0)
    marrow = np.where(below, 0.75 * marrow, marrow)
    marrow += _look_up(base_maps.density, x, y) * below
    return Skull(depth, outer, vault, marrow)


def _sutures(ground: Ground) -> np.ndarray:
    """Distance from the sutures of the vault, mm, negative in their gaps, which close with age."""
    x, y, z = ground.points
    old = (ground.traits.age - 18.0) / 77.0
    wave = 1.3 * ground.fine
    far = np.float32(9.0)
    coronal = np.where(z > 5.0, np.abs(y + 27.0 - 0.14 * z + wave), far)
    sagittal = np.where((np.abs(y - 23.0) < 38.0) & (z > 25.0), np.abs(x + wave), far)
    lambdoid = np.where(
        (y > 40.0) & (z > -25.0), 0.64 * np.abs(z - 42.0 + 1.2 * np.abs(x) + 1.5 * wave), far
    )
    return np.minimum(np.minimum(coronal, sagittal), lambdoid) - np.float32(0.55 - 0.35 * old)


def slope_distance(values: np.ndarray, step_mm: float, least: float = 0.5) -> np.ndarray:
    """First-order distance from the zero level of values on a lattice: divided by their slope.

    Args:
      values: Values, float32 [z, y, x].
      step_mm: Distance between neighbours.
      least: Smallest slope that is trusted, 1 / mm.
    """
    square = np.zeros_like(values)
    for axis in range(3):
        change = np.gradient(values, step_mm, axis=axis)
        square += change * change
    return np.asarray(values / np.sqrt(np.maximum(square, np.float32(least * least))))


def _vault(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    lift = np.where(z > 0, np.float32(1 / _UP_MM), np.float32(1 / _DOWN_MM))
    u = np.abs(x / (head_width(y) * np.float32(_WIDE_MM)))
    v, w = np.abs(y * np.float32(1 / _LONG_MM)), np.abs(z * lift)
    powers = [part**_EXPONENT for part in (u, v, w)]
    radius = np.maximum(sum(powers) ** np.float32(1 / _EXPONENT), 0.05)
    # The length of the gradient, by each axis' part of the radius.
    scale = radius ** np.float32(1 - _EXPONENT)
    parts = [
        power * scale / np.maximum(part, 1e-3)
        for power, part in zip(powers, (u, v, w), strict=True)
    ]
    slope = np.sqrt(
        (parts[0] / _WIDE_MM) ** 2 + (parts[1] / _LONG_MM) ** 2 + (parts[2] * lift) ** 2
    )
    return np.asarray((1.0 - radius) / np.maximum(slope, 1.0 / 110.0))


def smooth_least(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """The smaller of two, with a rounded corner."""
    overlap = np.clip(width - np.abs(first - second), 0.0, None)
    return np.asarray(np.minimum(first, second) - overlap * overlap * np.float32(0.25 / width))


# Maps of the base: a pixel a mm, x and y from these.
_MAP_LOW = (-100.0, -130.0)
_MAP_SHAPE = (260, 200)


def _look_up(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    flat = (-1, x.shape[-1])
    values = cv2.remap(
        image,
        (x - np.float32(_MAP_LOW[0])).reshape(flat),
        (y - np.float32(_MAP_LOW[1])).reshape(flat),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(values).reshape(x.shape)


def draw_base(rng: np.random.Generator) -> BaseMaps:
    """Draws the base of a skull."""
    rows, columns = np.indices(_MAP_SHAPE, np.float32)
    x, y = columns + np.float32(_MAP_LOW[0]), rows + np.float32(_MAP_LOW[1])
    s = np.abs(x)
    jitter = rng.normal(0.0, 1.0, 8)

    # Lines in the plane: the sphenoid ridge, and the petrous ridge.
    ridge = y - (-25.0 - 0.42 * np.minimum(s, 50.0) + jitter[0])
    petrous = y - (1.0 + 0.60 * (s - 12.0) + jitter[1])
    anterior = -31.0 + 9.5 * np.exp(-(((s - 30.0) / 15.0) ** 2) - ((y + 58.0) / 22.0) ** 2)
    anterior -= 3.0 * np.exp(-((s / 7.0) ** 2)) * (y < -40)
    middle = -51.0 + 16.0 * np.exp(-(((s - 12.0) / 9.0) ** 2) * (s > 12)) + jitter[2]
    middle += 4.0 * np.clip((s - 45.0) / 12.0, 0.0, 1.0)
    posterior = -62.0 + jitter[3] - 8.0 * np.exp(-((s / 22.0) ** 2) - ((y - 34.0) / 22.0) ** 2)
    # The clivus falls from the dorsum to the foramen; the sella lies before it.
    clivus = -27.0 - 1.75 * (y + 6.0)
    sella = -28.0 - 9.0 * np.exp(-((s / 9.0) ** 4) - ((y + 15.0) / 6.5) ** 4)

    def step(distance: np.ndarray, width: float) -> np.ndarray:
        return np.asarray(np.clip(distance / width + 0.5, 0.0, 1.0))

    height = anterior + step(ridge, 7.0) * (middle - anterior)
    height += step(petrous, 9.0) * (posterior - height)
    midline = step(13.0 - s, 6.0) * step(y + 30.0, 6.0) * step(22.0 - y, 4.0)
    middle_floor = np.maximum(np.where(y < -6.0, sella, clivus), posterior)
    height += midline * (middle_floor - height)
    # The crests of the sphenoid and of the petrous bone.
    along = step(s - 6.0, 6.0)
    height += 9.0 * np.exp(-((ridge / 3.5) ** 2)) * along * step(54.0 - s, 8.0)
    wide = 5.5 + 0.18 * np.clip(s - 10.0, 0.0, 50.0)
    crest = np.exp(-(((petrous - 1.0) / wide) ** 2)) * step(s - 10.0, 6.0)
    height = np.maximum(
        height, -66.0 + crest * (28.5 + jitter[4] + 0.22 * np.clip(s - 10.0, 0.0, 48.0))
    )
    canal = (s / 15.0) ** 2 + ((y - 33.0) / 18.0) ** 2 < 1.0
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 1.6)
    height[canal] = -400.0
    height = cv2.GaussianBlur(height, (0, 0), 0.6)

    thickness = 3.2 - 1.2 * step(-ridge, 6.0) + 3.0 * step(petrous, 8.0)
    thickness += 11.0 * np.exp(-((petrous / 11.0) ** 2)) * step(s - 10.0, 8.0)
    thickness += 14.0 * midline
    density = 800.0 * np.exp(-((petrous / 8.0) ** 2)) * step(s - 18.0, 10.0) - 180.0 * midline
    down, across = np.gradient(height)
    return BaseMaps(
        height,
        np.hypot(down, across),
        cv2.GaussianBlur(thickness.astype(np.float32), (0, 0), 1.5),
        density.astype(np.float32),
    )
