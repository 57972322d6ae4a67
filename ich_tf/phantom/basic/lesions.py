"""The five kinds of bleed, each a shape in the head.

  epidural          a lens between inner table and brain, thick for its width
  subdural          a crescent between inner table and brain, thin for its width, on one side
  subarachnoid      blood instead of fluid in sulci, fissures and cisterns of a region
  intraventricular  blood instead of fluid in the ventricles, from the back forwards: a patient
                    lies on the back, and blood sinks
  intraparenchymal  a lump in the brain, with a rim of oedema

Positions are in the head frame of `head`, mm. Blood has 50 to 80 HU.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.basic.head import Head
from ich_tf.phantom.basic.place import Place
from ich_tf.phantom.basic.tissue import Tissue, fill
from ich_tf.phantom.shapes import ellipsoid, share

EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR, SUBARACHNOID, SUBDURAL = range(len(SUBTYPES))
# Factor from distances between unit vectors to mm along the inner table.
_SURFACE_MM = 75.0

# x, y, z.
Vector = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class ExtraAxial:
    """An epidural or subdural bleed: a lens or a crescent against the inner table.

    Attributes:
      subtype: EPIDURAL or SUBDURAL.
      direction: Unit vector from the origin to the middle of the bleed.
      radius_mm: Half the width along the inner table.
      height_mm: Largest thickness.
      power: Power of the distance from the middle by which the thickness falls: 2 for a lens, 4
        for a crescent.
      hu: Hounsfield units of the blood.
    """

    subtype: int
    direction: Vector
    radius_mm: float
    height_mm: float
    power: int
    hu: float

    def thickness(self, place: Place) -> np.ndarray:
        """Thickness of the bleed below each point of the inner table, mm, 0 outside."""
        ux, uy, uz = place.direction
        dx, dy, dz = ux - self.direction[0], uy - self.direction[1], uz - self.direction[2]
        near = (dx * dx + dy * dy + dz * dz) * np.float32((_SURFACE_MM / self.radius_mm) ** 2)
        if self.power == 4:
            near = near * near
        thickness = np.maximum(self.height_mm * (1.0 - near), 0.0)
        if self.subtype == SUBDURAL:
            # The falx keeps the blood on one side.
            thickness *= share(math.copysign(1.0, self.direction[0]) * place.x - 2.5, 3.0)
        return np.asarray(thickness)


@dataclasses.dataclass(frozen=True)
class Subarachnoid:
    """Blood in the fluid around the brain.

    Attributes:
      balls: Regions of the blood, each x, y, z and radius in mm.
      hu: Hounsfield units of the blood.
    """

    balls: tuple[tuple[float, float, float, float], ...]
    hu: float

    def share_of_fluid(self, place: Place) -> np.ndarray:
        """Share of blood in the fluid around the brain, 0 to 1."""
        inside = np.zeros_like(place.x)
        for x, y, z, radius in self.balls:
            distance = np.sqrt((place.x - x) ** 2 + (place.y - y) ** 2 + (place.z - z) ** 2)
            np.maximum(inside, share(radius - distance + 3.0 * place.relief, 8.0), out=inside)
        return inside


@dataclasses.dataclass(frozen=True)
class Intraventricular:
    """Blood in the ventricles.

    Attributes:
      level_mm: Surface of the blood; all fluid behind it (greater y) is blood.
      side: Side of the ventricles: -1 right, 1 left, 0 both.
      hu: Hounsfield units of the blood.
    """

    level_mm: float
    side: int
    hu: float

    def share_of_fluid(self, place: Place) -> np.ndarray:
        """Share of blood in the ventricles' fluid, 0 to 1."""
        inside = share(place.y - self.level_mm, 2.0)
        if self.side:
            inside *= share(self.side * place.inner_x + 2.0)
        return inside


@dataclasses.dataclass(frozen=True)
class Hematoma:
    """An intraparenchymal bleed: a lump of blood with an uneven surface.

    Attributes:
      center: Position of the centre, mm.
      axes: Half axes, mm.
      phases: Phases of the waves of the surface, radians.
      oedema_mm: Width of the rim of oedema.
      hu: Hounsfield units of the blood.
    """

    center: Vector
    axes: Vector
    phases: Vector
    oedema_mm: float
    hu: float

    def distance(self, place: Place) -> np.ndarray | None:
        """Distance from the surface, mm, positive inside; None if no point is near the lump."""
        cx, cy, cz = self.center
        if abs(float(place.z.mean()) - cz) > max(self.axes) + self.oedema_mm + 45.0:
            return None
        x, y, z = place.x - cx, place.y - cy, place.z - cz
        distance = ellipsoid(x, y, z, *self.axes)
        size = min(self.axes)
        pitch = np.float32(2.2 / size)
        px, py, pz = self.phases
        waves = np.sin(pitch * (x + 0.5 * y) + px) + np.sin(pitch * (y - 0.6 * z) + py)
        waves += np.sin(1.7 * pitch * (z + 0.4 * x) + pz)
        return np.asarray(distance + 0.11 * size * waves)


@dataclasses.dataclass(frozen=True)
class Bleeds:
    """All bleeds of a head.

    Attributes:
      extra_axial: Epidural and subdural bleeds.
      subarachnoid: Subarachnoid bleed; None for none.
      intraventricular: Intraventricular bleed; None for none.
      hematoma: Intraparenchymal bleed; None for none.
      shift_mm: Shift of the midline to the patient's right.
    """

    extra_axial: tuple[ExtraAxial, ...] = ()
    subarachnoid: Subarachnoid | None = None
    intraventricular: Intraventricular | None = None
    hematoma: Hematoma | None = None
    shift_mm: float = 0.0

    def faded(self, contrast: float) -> Bleeds:
        """The same bleeds some days later, with less contrast.

        Args:
          contrast: Factor of the difference between blood and brain, 0 to 1.
        """

        def fade(hu: float) -> float:
            return 33.0 + (hu - 33.0) * contrast

        replace = dataclasses.replace
        return replace(
            self,
            extra_axial=tuple(replace(bleed, hu=fade(bleed.hu)) for bleed in self.extra_axial),
            subarachnoid=self.subarachnoid
            and replace(self.subarachnoid, hu=fade(self.subarachnoid.hu)),
            intraventricular=self.intraventricular
            and replace(self.intraventricular, hu=fade(self.intraventricular.hu)),
            hematoma=self.hematoma and replace(self.hematoma, hu=fade(self.hematoma.hu)),
        )


def paint(head: Head, bleeds: Bleeds, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Computes tissue and blood at each point.

    Args:
      head: The head.
      bleeds: Bleeds in that head.
      place: Points, located in that head.

    Returns:
      Hounsfield units, float32 of the shape of `place.x`; share of each subtype's blood, float32
      [5, ...], 0 to 1.
    """
    blood = np.zeros((len(SUBTYPES), *place.x.shape), np.float32)
    displaced_mm: np.ndarray | None = None
    layers = []
    for bleed in bleeds.extra_axial:
        thickness = bleed.thickness(place)
        layers.append((bleed, thickness))
        displaced_mm = thickness if displaced_mm is None else np.maximum(displaced_mm, thickness)
    swollen = bleeds.subarachnoid.share_of_fluid(place) if bleeds.subarachnoid else None
    tissue = fill(head, place, displaced_mm, swollen)
    hu = tissue.hu
    # Clots are not even.
    uneven = 2.0 * place.relief
    for bleed, thickness in layers:
        inside = tissue.cavity * share(thickness - place.depth) * (thickness > 0.5)
        inside *= 1.0 - blood.sum(axis=0)
        blood[bleed.subtype] += inside
        hu += inside * (bleed.hu + uneven - hu)
    ventricle = tissue.ventricle
    if bleeds.hematoma and (distance := bleeds.hematoma.distance(place)) is not None:
        ventricle = _paint_hematoma(bleeds.hematoma, distance, tissue, uneven, blood)
    if bleeds.intraventricular:
        inside = ventricle * bleeds.intraventricular.share_of_fluid(place)
        blood[INTRAVENTRICULAR] += inside
        hu += inside * (bleeds.intraventricular.hu + uneven - hu)
    if bleeds.subarachnoid and swollen is not None:
        inside = tissue.subarachnoid * swollen * (1.0 - blood.sum(axis=0))
        blood[SUBARACHNOID] += inside
        hu += inside * (bleeds.subarachnoid.hu + uneven - hu)
    return hu, blood


def _paint_hematoma(
    hematoma: Hematoma,
    distance: np.ndarray,
    tissue: Tissue,
    uneven: np.ndarray,
    blood: np.ndarray,
) -> np.ndarray:
    """Adds a hematoma to `tissue.hu` and `blood`; returns the share of ventricle outside it."""
    hu, ventricle = tissue.hu, tissue.ventricle
    # The lump pushes fluid aside as well as brain.
    brain = tissue.parenchyma + tissue.subarachnoid + ventricle
    rim = tissue.parenchyma * share(distance + hematoma.oedema_mm, hematoma.oedema_mm)
    hu -= 9.0 * rim * (hu < 60.0)
    filled = share(distance, 1.5)
    inside = brain * filled
    blood[INTRAPARENCHYMAL] += inside
    hu += inside * (hematoma.hu + uneven - hu)
    return np.asarray(ventricle * (1.0 - filled))
