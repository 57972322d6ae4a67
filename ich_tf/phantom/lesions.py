"""The bleeds as functions of place, one shape a subtype.

  epidural          a lens between inner table and brain, thick for its width
  subdural          a crescent between inner table and brain, thin for its width, on one side
  subarachnoid      blood instead of fluid in sulci, fissures and cisterns of a region
  intraventricular  blood instead of fluid in the ventricles, from the back forwards: a patient
                    lies on the back, and blood sinks
  intraparenchymal  a lump in the brain, with a rim of oedema

Places are in the head frame of `anatomy`, mm. Blood has 50 to 80 HU.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom import anatomy
from ich_tf.phantom.anatomy import Head, Place
from ich_tf.phantom.shapes import ellipsoid, share

EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR, SUBARACHNOID, SUBDURAL = range(len(SUBTYPES))
# From distances between unit vectors to mm along the inner table.
_SURFACE_MM = 75.0
# Share of a region about the brain's surface or the basal cisterns that its fluid takes.
_SUBARACHNOID_SHARE = 0.10

Vector = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class ExtraAxial:
    """A lens or a crescent against the inner table.

    Attributes:
      subtype: EPIDURAL or SUBDURAL.
      direction: Unit vector from the origin to its middle.
      radius_mm: Half its width along the table.
      height_mm: Its largest thickness.
      power: Of the distance from the middle at which the thickness falls: 2 a lens, 4 a crescent.
      hu: Of its blood.
    """

    subtype: int
    direction: Vector
    radius_mm: float
    height_mm: float
    power: int
    hu: float

    def thickness(self, place: Place) -> np.ndarray:
        """Distance from inner table to inner surface, mm, 0 outside."""
        ux, uy, uz = place.direction
        dx, dy, dz = ux - self.direction[0], uy - self.direction[1], uz - self.direction[2]
        near = (dx * dx + dy * dy + dz * dz) * np.float32((_SURFACE_MM / self.radius_mm) ** 2)
        if self.power == 4:
            near = near * near
        thickness = np.maximum(self.height_mm * (1.0 - near), 0.0)
        if self.subtype == SUBDURAL:
            # The falx holds it on its side.
            thickness *= share(math.copysign(1.0, self.direction[0]) * place.x - 2.5, 3.0)
        return np.asarray(thickness)


@dataclasses.dataclass(frozen=True)
class Subarachnoid:
    """Blood in the fluid around the brain, within balls (x, y, z, radius)."""

    balls: tuple[tuple[float, float, float, float], ...]
    hu: float

    def region(self, place: Place) -> np.ndarray:
        """How much of the fluid is blood, 0 to 1."""
        inside = np.zeros_like(place.x)
        for x, y, z, radius in self.balls:
            distance = np.sqrt((place.x - x) ** 2 + (place.y - y) ** 2 + (place.z - z) ** 2)
            np.maximum(inside, share(radius - distance + 3.0 * place.relief, 8.0), out=inside)
        return inside


@dataclasses.dataclass(frozen=True)
class Intraventricular:
    """Blood behind `level_mm` in the ventricles of a side: -1 right, 1 left, 0 both."""

    level_mm: float
    side: int
    hu: float

    def pool(self, place: Place) -> np.ndarray:
        """How much of the ventricles' fluid is blood, 0 to 1."""
        pool = share(place.y - self.level_mm, 2.0)
        if self.side:
            pool *= share(self.side * place.inner_x + 2.0)
        return pool


@dataclasses.dataclass(frozen=True)
class Hematoma:
    """A lump of blood in the brain; `phases` make its surface uneven."""

    center: Vector
    axes: Vector
    phases: Vector
    oedema_mm: float
    hu: float

    def distance(self, place: Place) -> np.ndarray | None:
        """Distance from its surface, mm, positive inside; None where it is far away."""
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
    """All that bleeds in a head.

    Attributes:
      extra_axial: Lenses and crescents.
      subarachnoid, intraventricular, hematoma: Of each none or one.
      shift_mm: Of the midline, to the patient's right.
    """

    extra_axial: tuple[ExtraAxial, ...] = ()
    subarachnoid: Subarachnoid | None = None
    intraventricular: Intraventricular | None = None
    hematoma: Hematoma | None = None
    shift_mm: float = 0.0

    def faded(self, contrast: float) -> Bleeds:
        """The same bleeds some days later: `contrast` of what they stood out from the brain."""

        def fade(hu: float) -> float:
            return 33.0 + (hu - 33.0) * contrast

        replace = dataclasses.replace
        return replace(
            self,
            extra_axial=tuple(replace(item, hu=fade(item.hu)) for item in self.extra_axial),
            subarachnoid=self.subarachnoid
            and replace(self.subarachnoid, hu=fade(self.subarachnoid.hu)),
            intraventricular=self.intraventricular
            and replace(self.intraventricular, hu=fade(self.intraventricular.hu)),
            hematoma=self.hematoma and replace(self.hematoma, hu=fade(self.hematoma.hu)),
        )


def draw_bleeds(rng: np.random.Generator, head: Head, leading: int, volume_ml: float) -> Bleeds:
    """Draws a leading bleed and those that join it.

    Args:
      rng: The patient's generator.
      head: Where it bleeds.
      leading: Index in `SUBTYPES`.
      volume_ml: Of the leading bleed.
    """
    side = 1 if rng.uniform() < 0.5 else -1
    extra: list[ExtraAxial] = []
    subarachnoid: Subarachnoid | None = None
    intraventricular: Intraventricular | None = None
    hematoma: Hematoma | None = None
    chance, part = rng.uniform(size=4), rng.uniform(0.15, 0.5, size=4)
    small = [max(1.0, volume_ml * float(value)) for value in part]
    pushing = 0.0

    if leading == EPIDURAL:
        extra.append(_epidural(rng, side, volume_ml))
        pushing = volume_ml
        if chance[0] < 0.15:
            # Contrecoup: on the other side.
            extra.append(_subdural(rng, -side, small[0]))
        if chance[1] < 0.2:
            subarachnoid = _convexity(rng, -side, small[1])
    elif leading == SUBDURAL:
        extra.append(_subdural(rng, side, volume_ml))
        pushing = volume_ml
        if chance[0] < 0.25:
            subarachnoid = _convexity(rng, side if chance[2] < 0.5 else -side, small[0])
        if chance[1] < 0.12:
            hematoma = _hematoma(rng, side, small[1], "lobar")
    elif leading == SUBARACHNOID:
        if rng.uniform() < 0.5:
            subarachnoid = _cisternal(rng, side, volume_ml)
            if chance[0] < 0.4:
                intraventricular = _intraventricular(rng, head, 0, small[0], 0.0)
        else:
            subarachnoid = _convexity(rng, side, volume_ml)
            if chance[0] < 0.2:
                extra.append(_subdural(rng, side, small[0]))
            if chance[1] < 0.12:
                hematoma = _hematoma(rng, side, small[1], "lobar")
    elif leading == INTRAPARENCHYMAL:
        where = str(
            rng.choice(["putamen", "thalamus", "lobar", "cerebellum"], p=[0.4, 0.15, 0.35, 0.1])
        )
        hematoma = _hematoma(rng, side, volume_ml, where)
        pushing = 0.7 * volume_ml if where != "cerebellum" else 0.0
        if where in ("putamen", "thalamus") and chance[0] < 0.5:
            only = side if chance[2] < 0.4 else 0
            intraventricular = _intraventricular(rng, head, only, small[0], 0.0)
        if where == "lobar" and chance[1] < 0.25:
            subarachnoid = _convexity(rng, side, small[1])
    else:
        # A third of these come from a small bleed beside the ventricle.
        beside = chance[0] < 0.33
        intraventricular = _intraventricular(
            rng, head, side if beside and chance[2] < 0.3 else 0, volume_ml, 3.0
        )
        if beside:
            hematoma = _hematoma(rng, side, small[0], "thalamus")
        if chance[1] < 0.15:
            subarachnoid = _cisternal(rng, side, small[1])

    shift = side * min(9.0, 0.11 * pushing) * float(rng.uniform(0.5, 1.0))
    return Bleeds(tuple(extra), subarachnoid, intraventricular, hematoma, shift)


def _blood_hu(rng: np.random.Generator) -> float:
    return float(np.clip(rng.normal(67.0, 6.0), 52.0, 80.0))


def _direction(azimuth_deg: float, elevation_deg: float, side: int) -> Vector:
    """From the ear (azimuth 0) to the back (90), up to the crown (elevation 90)."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    flat = math.cos(elevation)
    return side * flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)


def _epidural(rng: np.random.Generator, side: int, volume_ml: float) -> ExtraAxial:
    # A paraboloid's cap: volume = pi / 2 radius^2 height.
    slimness = rng.uniform(0.42, 0.58)
    radius = (volume_ml * 1e3 / (math.pi / 2 * slimness)) ** (1 / 3)
    direction = _direction(rng.uniform(-65, 65), rng.uniform(-4, 45), side)
    height = min(slimness * radius, 30.0)
    return ExtraAxial(EPIDURAL, direction, radius, height, 2, _blood_hu(rng))


def _subdural(rng: np.random.Generator, side: int, volume_ml: float) -> ExtraAxial:
    # volume = 2 pi / 3 radius^2 height.
    height = max(2.8, 2.4 * volume_ml ** (1 / 3)) * rng.uniform(0.85, 1.15)
    radius = min(math.sqrt(volume_ml * 1e3 / (2 * math.pi / 3 * height)), 92.0)
    direction = _direction(rng.uniform(-30, 30), rng.uniform(8, 42), side)
    return ExtraAxial(SUBDURAL, direction, max(radius, 20.0), height, 4, _blood_hu(rng))


def _cisternal(rng: np.random.Generator, side: int, volume_ml: float) -> Subarachnoid:
    """As from an aneurysm of the circle of Willis: basal cisterns, Sylvian fissures, falx."""
    radius = _ball_radius(volume_ml, 0.8)
    lateral = (side * rng.uniform(18, 30), -6.0, -8.0, 0.9 * radius)
    return Subarachnoid(((0.0, -6.0, -22.0, radius), lateral), _blood_hu(rng) - 3.0)


def _convexity(rng: np.random.Generator, side: int, volume_ml: float) -> Subarachnoid:
    """As after a blow: sulci beneath one spot of the skull."""
    x, y, z = _direction(rng.uniform(-65, 65), rng.uniform(0, 50), side)
    radius = _ball_radius(volume_ml, 0.55)
    return Subarachnoid(((x * 58, y * 74, z * 62, radius),), _blood_hu(rng))


def _ball_radius(volume_ml: float, inside: float) -> float:
    """Of a ball whose fluid is `volume_ml`; `inside` is its share that lies in the skull."""
    size = volume_ml * 1e3 / (_SUBARACHNOID_SHARE * inside * 4 / 3 * math.pi)
    return float(np.clip(size ** (1 / 3), 14.0, 62.0))


def _intraventricular(
    rng: np.random.Generator, head: Head, side: int, volume_ml: float, least_ml: float
) -> Intraventricular:
    # Counted on a grid of 3 mm: the level below which the ventricles hold the volume.
    axes = (np.arange(-48, 49, 3), np.arange(-50, 72, 3), np.arange(-52, 40, 3))
    x, y, z = (a.astype(np.float32) for a in np.meshgrid(*axes, indexing="ij"))
    within = anatomy.ventricles(head, x, y, z) > 0
    if side:
        within &= side * x > -2.0
    depths = np.sort(y[within])[::-1]
    count = max(volume_ml, least_ml) * 1e3 / 27.0 / head.scale**3
    # Even a cast leaves the tips of the frontal horns free.
    index = int(np.clip(count, 4, 0.95 * (depths.size - 1)))
    return Intraventricular(float(depths[index]), side, _blood_hu(rng))


def _hematoma(rng: np.random.Generator, side: int, volume_ml: float, where: str) -> Hematoma:
    volume_ml = min(volume_ml, {"thalamus": 22.0, "cerebellum": 22.0}.get(where, 95.0))
    radius = (volume_ml * 1e3 / (4 / 3 * math.pi)) ** (1 / 3)
    if where == "putamen":
        center = (side * (26.0 + 0.25 * radius), -2.0, 6.0)
        shape = (0.82, 1.28, 0.95)
    elif where == "thalamus":
        center, shape = (side * (11.0 + 0.3 * radius), 14.0, 7.0), (0.92, 1.1, 1.0)
    elif where == "cerebellum":
        center, shape = (side * 22.0, 44.0, -34.0), (1.05, 1.0, 0.95)
    else:
        x, y, z = _direction(rng.uniform(-75, 75), rng.uniform(2, 50), side)
        # Just below the cortex, wholly within the brain.
        inner = np.array([67.0, 84.0, 72.0]) - radius - 6.0
        center = (float(x * inner[0]), float(y * inner[1]), float(z * inner[2]))
        shape = (float(rng.uniform(0.8, 1.1)), float(rng.uniform(0.9, 1.2)), 1.0)
    norm = math.prod(shape) ** (1 / 3)
    jitter = rng.normal(0, 1.5, 3)
    phases = rng.uniform(0, 2 * math.pi, 3)
    return Hematoma(
        center=tuple((np.array(center) + jitter).tolist()),
        axes=tuple((radius * np.array(shape) / norm).tolist()),
        phases=tuple(phases.tolist()),
        oedema_mm=float(rng.uniform(1.5, 3.0 + 0.25 * radius)),
        hu=_blood_hu(rng),
    )


def paint(head: Head, bleeds: Bleeds, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Fills a place with tissue and blood.

    Returns:
      Hounsfield units, float32 like `place.x`; the share of each subtype's blood, float32
      [5, ...], 0 to 1.
    """
    blood = np.zeros((len(SUBTYPES), *place.x.shape), np.float32)
    displaced: np.ndarray | None = None
    layers = []
    for item in bleeds.extra_axial:
        thickness = item.thickness(place)
        layers.append((item, thickness))
        displaced = thickness if displaced is None else np.maximum(displaced, thickness)
    region = bleeds.subarachnoid.region(place) if bleeds.subarachnoid else None
    tissue = anatomy.fill(head, place, displaced, region)
    hu = tissue.hu
    # Clots are not even.
    uneven = 2.0 * place.relief
    for item, thickness in layers:
        inside = tissue.cavity * share(thickness - place.depth) * (thickness > 0.5)
        inside *= 1.0 - blood.sum(axis=0)
        blood[item.subtype] += inside
        hu += inside * (item.hu + uneven - hu)
    ventricle = tissue.ventricle
    if bleeds.hematoma and (distance := bleeds.hematoma.distance(place)) is not None:
        lump = bleeds.hematoma
        # It pushes aside what fluid there was.
        brain = tissue.parenchyma + tissue.subarachnoid + ventricle
        rim = tissue.parenchyma * share(distance + lump.oedema_mm, lump.oedema_mm)
        hu -= 9.0 * rim * (hu < 60.0)
        filled = share(distance, 1.5)
        inside = brain * filled
        ventricle = ventricle * (1.0 - filled)
        blood[INTRAPARENCHYMAL] += inside
        hu += inside * (lump.hu + uneven - hu)
    if bleeds.intraventricular:
        inside = ventricle * bleeds.intraventricular.pool(place)
        blood[INTRAVENTRICULAR] += inside
        hu += inside * (bleeds.intraventricular.hu + uneven - hu)
    if bleeds.subarachnoid and region is not None:
        inside = tissue.subarachnoid * region * (1.0 - blood.sum(axis=0))
        blood[SUBARACHNOID] += inside
        hu += inside * (bleeds.subarachnoid.hu + uneven - hu)
    return hu, blood
