"""One patient's head: sizes, densities, and maps of the brain's surface, drawn at random.

Head frame, mm: x to the patient's left, y to the back, z to the crown (as DICOM's patient axes,
PS3.3 C.7.6.2.1.1); the origin lies between the foramina of Monro, in a head of standard size.

Sizes and Hounsfield units are rounded from textbooks of anatomy and neuroradiology: grey matter
37 to 40 HU, white 27 to 31, cerebrospinal fluid 3 to 10, flowing blood and dura 45 to 60, compact
bone 1,000 to 1,500, its diploe about 500, fat -90.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

# A box around any head, skin included: lowest and highest (x, y, z).
HEAD_BOX = ((-88.0, -110.0, -200.0), (88.0, 108.0, 92.0))
# A map of the brain's surface is Lambert's equal-area projection of the direction, from the crown:
# the disc of radius 2 is the whole sphere. Side of a map in pixels, and size of a pixel.
MAP_PIXELS = 640
_MAP_MM = 4.0 / MAP_PIXELS * 72.0

# x, y, z, radius in mm, and HU.
Calcification = tuple[float, float, float, float, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One patient's head.

    Attributes:
      scale: Size relative to the standard head.
      atrophy: Width of sulci and ventricles, 0 (young) to 1 (old).
      bone_mm: Mean thickness of the skull cap.
      grey_hu: Hounsfield units of grey matter.
      white_hu: Hounsfield units of white matter.
      fluid_hu: Hounsfield units of cerebrospinal fluid.
      dura_hu: Hounsfield units of dura and venous sinuses.
      ventricle_scale: Width of the ventricles relative to the standard head.
      asymmetry_mm: Excess width of the left ventricle over the right.
      air_cells: Share of air in sinuses and mastoids, 0 to 1.
      sulci: Distance to the nearest sulcus along the surface, mm, float32 [MAP_PIXELS, MAP_PIXELS].
      relief: Slow noise of standard deviation 1, float32 [MAP_PIXELS, MAP_PIXELS].
      calcifications: Position, radius and density of each calcification.
    """

    scale: float
    atrophy: float
    bone_mm: float
    grey_hu: float
    white_hu: float
    fluid_hu: float
    dura_hu: float
    ventricle_scale: float
    asymmetry_mm: float
    air_cells: float
    sulci: np.ndarray
    relief: np.ndarray
    calcifications: tuple[Calcification, ...]


def make_head(rng: np.random.Generator, with_calcifications: bool) -> Head:
    """Draws a head at random.

    Args:
      rng: Random generator of the patient.
      with_calcifications: Whether the head has calcifications, which are as dense as blood.
    """
    atrophy = float(np.clip(rng.beta(1.6, 2.0), 0.03, 1.0))
    coarse = _map_noise(rng, 15.0) + 0.35 * _map_noise(rng, 7.0)
    positive = (coarse > 0).astype(np.uint8)
    # Distance to the border between the signs, from either side.
    sulci = cv2.distanceTransform(positive, cv2.DIST_L2, 5) + cv2.distanceTransform(
        1 - positive, cv2.DIST_L2, 5
    )
    sulci = cv2.GaussianBlur(np.maximum(sulci - 0.5, 0.0), (0, 0), 1.0) * np.float32(_MAP_MM)
    return Head(
        scale=float(rng.uniform(0.93, 1.05)),
        atrophy=atrophy,
        bone_mm=float(rng.uniform(4.8, 7.0)),
        grey_hu=float(rng.normal(38.5, 0.8)),
        white_hu=float(rng.normal(29.5, 0.8)),
        fluid_hu=float(rng.uniform(3.0, 9.0)),
        dura_hu=float(rng.uniform(46.0, 58.0)),
        ventricle_scale=float(0.62 + 0.75 * atrophy + rng.uniform(-0.1, 0.15)),
        asymmetry_mm=float(rng.normal(0.0, 0.5)),
        air_cells=float(rng.uniform(0.3, 1.0)),
        sulci=sulci,
        relief=_map_noise(rng, 34.0),
        calcifications=_draw_calcifications(rng) if with_calcifications else (),
    )


def _map_noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    shape = (MAP_PIXELS, MAP_PIXELS)
    noise = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), sigma)
    return np.asarray(noise / noise.std(), np.float32)


def _draw_calcifications(rng: np.random.Generator) -> tuple[Calcification, ...]:
    """Choroid plexus, pineal body, falx, basal ganglia: as dense as blood after partial volume."""
    calcifications: list[Calcification] = []

    def add(x: float, y: float, z: float, radii: tuple[float, float], chance: float) -> None:
        values = rng.uniform(), *rng.normal(0, 1.5, 3), rng.uniform(*radii), rng.uniform(90, 420)
        if values[0] < chance:
            calcifications.append(
                (x + values[1], y + values[2], z + values[3], values[4], values[5])
            )

    for sign in (-1.0, 1.0):
        add(sign * 22.0, 36.0, 12.0, (2.0, 4.5), 0.85)
        add(sign * 20.0, 1.0, 3.0, (1.2, 3.0), 0.3)
    add(0.0, 27.0, -3.0, (1.5, 3.2), 0.8)
    for _ in range(3):
        add(0.0, float(rng.uniform(-60, -45)), float(rng.uniform(20, 50)), (1.5, 3.5), 0.4)
    return tuple(calcifications)
