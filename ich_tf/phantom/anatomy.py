"""A head as functions of place: give it points in mm, and it says what tissue is there.

Head frame, mm: x to the patient's left, y to the back, z to the crown (as DICOM's patient
axes, PS3.3 C.7.6.2.1.1); the origin lies between the foramina of Monro, in a head of standard
size. Arrays are float32 and of one shape, [sub-slices, rows, columns].

Sizes and Hounsfield units are rounded from textbooks of anatomy and neuroradiology: grey
matter 37 to 40 HU, white 27 to 31, cerebrospinal fluid 3 to 10, flowing blood and dura 45
to 60, compact bone 1,000 to 1,500, its diploe about 500, fat -90.
"""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np

from ich_tf.phantom.shapes import (
    Window,
    blend,
    capsule,
    disc,
    ellipsoid,
    ellipsoid_radius,
    find_window,
    largest,
    share,
)

# A box around any head, skin and all.
HEAD_BOX = ((-88.0, -110.0, -200.0), (88.0, 108.0, 92.0))
# Half axes of the cranial cavity above the skull base.
_A, _B, _UP, _DOWN = 67.0, 84.0, 72.0, 42.0
# A map of the brain's surface: Lambert's equal-area projection of the direction, from the crown.
# The disc of radius 2 is the whole sphere.
_MAP = 640
_MAP_MM = 4.0 / _MAP * 72.0
# How far blood widens sulci and cisterns to either side.
_SWELLING_MM = 0.7


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One patient's head.

    Attributes:
      scale: Size relative to the standard head.
      atrophy: 0 (young) to 1 (old): wide sulci and ventricles.
      bone_mm: Mean thickness of the skull cap.
      grey_hu, white_hu, fluid_hu, dura_hu: Of the tissues.
      ventricle_scale: Width of the ventricles relative to the standard head.
      asymmetry_mm: How much wider the left ventricle is than the right.
      air_cells: 0 to 1, how much air sinuses and mastoids hold.
      sulci: float32 [_MAP, _MAP], distance to the nearest sulcus on the surface, mm.
      relief: float32 [_MAP, _MAP], slow noise of standard deviation 1.
      calcifications: (x, y, z, radius in mm, HU) of each.
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
    calcifications: tuple[tuple[float, float, float, float, float], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Points, and where they lie in a head.

    Attributes:
      x, y, z: Head frame, mm.
      inner_x: x of the anatomy found there: what a bleed pushed aside came from elsewhere.
      depth: Distance from the inner table, mm, positive inside.
      direction: Unit vector from the origin in the standard head's proportions, three arrays.
      surface_mm: Distance to the nearest sulcus along the surface.
      relief: Slow noise along the surface, standard deviation 1.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    inner_x: np.ndarray
    depth: np.ndarray
    direction: tuple[np.ndarray, np.ndarray, np.ndarray]
    surface_mm: np.ndarray
    relief: np.ndarray

    def window(
        self, low: tuple[float, float, float], high: tuple[float, float, float]
    ) -> Window | None:
        """The part of the arrays that holds all points of a box; None if there are none.

        Most of anatomy is small: looking only where it is takes a third of the time.
        """
        return find_window((self.x, self.y, self.z), low, high)

    def crop(self, window: Window) -> Place:
        """The points of a window; its arrays are views."""
        ux, uy, uz = self.direction
        return Place(
            x=self.x[window],
            y=self.y[window],
            z=self.z[window],
            inner_x=self.inner_x[window],
            depth=self.depth[window],
            direction=(ux[window], uy[window], uz[window]),
            surface_mm=self.surface_mm[window],
            relief=self.relief[window],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Tissue:
    """What fills a head without bleeds.

    Attributes:
      hu: Hounsfield units.
      cavity: Share that lies within the skull and is not bone, 0 to 1, as all below.
      ventricle: Share of ventricle.
      subarachnoid: Share of sulci, fissures, cisterns and the rim over the brain.
      parenchyma: Share of brain.
    """

    hu: np.ndarray
    cavity: np.ndarray
    ventricle: np.ndarray
    subarachnoid: np.ndarray
    parenchyma: np.ndarray


def make_head(rng: np.random.Generator, with_calcifications: bool) -> Head:
    """Draws a head."""
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


def locate(head: Head, x: np.ndarray, y: np.ndarray, z: np.ndarray, shift_mm: float = 0.0) -> Place:
    """Finds where points lie.

    Args:
      head: The head.
      x: Head frame, float32, mm; as y and z.
      y: The same.
      z: The same.
      shift_mm: Of the midline, to the patient's right, by a bleed on the left; or negative.
    """
    wide = x / _egg(y)
    lift = np.where(z > 0, np.float32(1 / _UP), np.float32(1 / _DOWN))
    depth, radius = ellipsoid_radius(wide, y, z, 1 / _A, 1 / _B, lift)
    side = np.abs(wide)
    np.maximum(depth, ellipsoid(side - 35, y + 16, z + 25, 29, 36, 22), out=depth)
    np.maximum(depth, ellipsoid(x, y - 39, z + 31, 55, 41, 40), out=depth)
    ux, uy, uz = wide * np.float32(1 / _A), y * np.float32(1 / _B), z * np.float32(1 / _UP)
    inverse = 1.0 / np.maximum(np.sqrt(ux * ux + uy * uy + uz * uz), 1e-3)
    ux, uy, uz = ux * inverse, uy * inverse, uz * inverse
    # Sulci wander as they go deeper.
    wander = 0.16 * (1.0 - np.clip(radius, 0.0, 1.0))
    k = np.sqrt(2.0 / np.maximum(1.0 + uz, 1e-3)) * np.float32(_MAP / 4)
    column = (k * (ux + wander * uy) + _MAP / 2).astype(np.float32)
    row = (k * (uy - wander * ux) + _MAP / 2).astype(np.float32)
    inner_x = x
    if shift_mm:
        inner_x = x + np.float32(shift_mm) * np.clip(1.0 - radius * radius, 0.0, 1.0)
    # The map is torn apart at the nadir: neither sulci nor relief there.
    below = np.clip((-0.3 - uz) * np.float32(1 / 0.45), 0.0, 1.0)
    surface_mm = _look_up(head.sulci, column, row) + 4.0 * below
    relief = _look_up(head.relief, column, row) * (1.0 - below)
    return Place(x, y, z, inner_x, depth, (ux, uy, uz), surface_mm, relief)


def fill(
    head: Head,
    place: Place,
    displaced_mm: np.ndarray | None = None,
    swollen: np.ndarray | None = None,
) -> Tissue:
    """Fills a place with tissue.

    Args:
      head: The head.
      place: Of `locate`.
      displaced_mm: Thickness of what lies between inner table and brain; None is nothing.
      swollen: 0 to 1, where blood widens the space around the brain; None is nowhere.
    """
    depth = place.depth if displaced_mm is None else place.depth - displaced_mm
    hu = _outside_brain(head, place)
    bone = _base_bone(place)
    cavity = share(place.depth) * (1.0 - bone)
    tent = _tentorium(place)
    cerebrum = share(tent, 3.0)
    fluid_mm = _fluid_distance(head, place, depth, cerebrum)
    if swollen is not None:
        fluid_mm += _SWELLING_MM * swollen
    fluid = share(fluid_mm)
    ventricle_mm = np.full_like(hu, -30.0)
    if window := place.window((-52, -54, -52), (52, 72, 36)):
        part = place.crop(window)
        ventricle_mm[window] = ventricles(head, part.inner_x, part.y, part.z)
    ventricle = share(ventricle_mm)

    grey = share(3.3 + fluid_mm, 1.6) * cerebrum
    # The cerebellum's leaves are finer than a voxel: grey all over.
    np.maximum(grey, (1.0 - cerebrum) * (0.75 + 0.1 * place.relief), out=grey)
    _add_nuclei(head, place, grey)
    brain_hu = head.white_hu + (head.grey_hu - head.white_hu) * grey
    # Old white matter is darker around the ventricles.
    brain_hu -= 7.0 * head.atrophy * share(ventricle_mm + 7.0, 9.0) * (1.0 - grey)
    brain_hu += 0.7 * place.relief
    sheet = _dura(place, tent)

    blend(hu, share(place.depth), head.fluid_hu)
    blend(hu, share(depth) * (1.0 - fluid), brain_hu)
    blend(hu, cavity * ventricle, head.fluid_hu)
    blend(hu, cavity * sheet, head.dura_hu)
    for x, y, z, radius, value in head.calcifications:
        reach = radius + 12.0
        if window := place.window((x - reach, y - reach, z - 6), (x + reach, y + reach, z + 6)):
            part = place.crop(window)
            near = np.sqrt((part.inner_x - x) ** 2 + (part.y - y) ** 2 + (part.z - z) ** 2)
            blend(hu[window], cavity[window] * share(radius - near, 1.5), value)
    blend(hu, bone, 1150.0 + 120.0 * place.relief)
    _face(head, place, hu)
    inside = cavity * share(depth) * (1.0 - sheet)
    return Tissue(
        hu=hu,
        cavity=cavity,
        ventricle=inside * ventricle,
        subarachnoid=inside * fluid * (1.0 - ventricle),
        parenchyma=inside * (1.0 - fluid) * (1.0 - ventricle),
    )


def ventricles(head: Head, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance from the ventricles' wall, mm, positive inside."""
    width = head.ventricle_scale
    side = np.abs(x)
    spread = max(width, 0.9)
    # The lateral ventricle's course: frontal horn, body, atrium, occipital horn; temporal horn.
    course = (
        (7.0 * spread, -37.0, 5.0, 3.0),
        (8.0 * spread, -20.0, 13.0, 5.6),
        (11.0 * spread, 8.0, 22.0, 5.2),
        (22.0, 34.0, 13.0, 7.0),
        (25.0, 57.0, 6.0, 2.6),
    )
    temporal = (course[3], (36.0, 14.0, -13.0, 3.2), (31.0, -7.0, -20.0, 1.8))
    distance = np.full_like(x, -1e3)
    for points in (course, temporal):
        for start, end in itertools.pairwise(points):
            np.maximum(distance, capsule(side, y, z, start, end, width), out=distance)
    if head.asymmetry_mm:
        distance += np.where(x > 0, np.float32(head.asymmetry_mm), np.float32(-head.asymmetry_mm))
    # The septum keeps the two apart.
    np.minimum(distance, side - 0.9, out=distance)
    third = np.minimum(
        0.8 + 2.2 * head.atrophy + 0.6 * width - side, disc(y - 5.0, z + 3.0, 14.0, 11.0)
    )
    fourth = ellipsoid(x, y - 33 + 0.2 * (z + 38), z + 38, 5 + 3 * width, 4 + 2.5 * width, 9)
    return largest(distance, third, fourth)


def _tentorium(place: Place) -> np.ndarray:
    """Height above the tentorium, mm: it slopes down from the midline to the sides."""
    height = np.full_like(place.z, 30.0)
    if window := place.window((-90, 0, -90), (90, 120, 25)):
        part = place.crop(window)
        side = np.abs(part.inner_x)
        slope = part.z + 8.0 + 0.42 * side - 0.12 * (part.y - 40.0)
        height[window] = np.where(part.y > 8.0 + 0.25 * side, slope, np.float32(30.0))
    return height


def _dura(place: Place, tent: np.ndarray) -> np.ndarray:
    """Share of the dura's sheets and of the venous sinuses in them, which have blood's HU."""
    sheet = np.zeros_like(tent)
    if window := place.window((-20, -100, -40), (20, 100, 90)):
        part = place.crop(window)
        side = np.abs(part.inner_x)
        falx = share(0.8 - side) * share(-disc(part.y - 4.0, part.z - 6.0, 46.0, 27.0) - 2.0, 3.0)
        falx *= share(part.z + 16.0, 3.0) * share(0.4 * part.y + part.z + 22.0, 4.0)
        sagittal = share(4.2 - side - 0.45 * np.abs(part.depth - 3.0))
        sheet[window] = np.maximum(falx, sagittal * share(0.6 * part.y + part.z - 30.0, 4.0))
    if window := place.window((-80, 6, -50), (80, 100, 12)):
        part, above = place.crop(window), tent[window]
        leaf = 0.9 * share(1.1 - np.abs(above)) * share(np.abs(part.inner_x) - 9.0, 4.0)
        transverse = share(3.6 - np.hypot(above + 1.0, part.depth - 3.0)) * share(
            part.y - 12.0, 4.0
        )
        sheet[window] = np.maximum(sheet[window], np.maximum(leaf, transverse))
    return sheet


def _add_nuclei(head: Head, place: Place, grey: np.ndarray) -> None:
    """Caudate, lentiform nucleus and thalamus; what is left white between them is the capsule."""
    if window := place.window((-48, -42, -10), (48, 34, 24)):
        part = place.crop(window)
        side, y, z = np.abs(part.inner_x), part.y, part.z
        nuclei = largest(
            ellipsoid(side - 12.5 * max(1.0, head.ventricle_scale), y + 24, z - 9, 5, 10, 10),
            ellipsoid(side - 25 + 0.25 * y, y + 3, z - 5, 6.5, 17, 11),
            ellipsoid(side - 10, y - 15, z - 5, 8.5, 13, 10),
        )
        grey[window] = np.maximum(grey[window], 0.75 * share(nuclei, 2.5))


def _fluid_distance(
    head: Head, place: Place, depth: np.ndarray, cerebrum: np.ndarray
) -> np.ndarray:
    """Distance from the surface of the fluid around the brain, mm, positive in the fluid."""
    old, relief = head.atrophy, place.relief
    rim = 0.7 + 2.2 * old * np.clip(0.5 + 0.5 * relief, 0.0, 1.4)
    reach = 13.0 + 4.0 * old + 5.0 * relief
    half_width = (0.35 + 1.15 * old) * np.clip(1.25 - depth * np.float32(1 / 30), 0.3, 1.0)
    sulcus = np.minimum(half_width - place.surface_mm, reach - depth)
    sulcus -= 25.0 * (cerebrum < 0.5)
    fluid = np.maximum(rim - depth, sulcus)
    # Between the hemispheres, above the corpus callosum.
    if window := place.window((-20, -100, -40), (20, 100, 90)):
        part = place.crop(window)
        around = np.minimum(-disc(part.y - 4.0, part.z - 6.0, 42.0, 23.0), part.z + 20.0)
        fissure = np.minimum(0.9 + 1.3 * old - np.abs(part.inner_x), around)
        fissure -= 25.0 * (cerebrum[window] < 0.5)
        _raise(fluid, window, fissure)
    # The Sylvian fissure: a sheet inwards from the temple, and the insula's cistern behind it.
    if window := place.window((-75, -42, -34), (75, 28, 30)):
        part = place.crop(window)
        side, y, z = np.abs(part.inner_x), part.y, part.z
        thin = 0.8 + 1.4 * old + 0.3 * part.relief
        sheet = np.minimum(
            thin - 0.7 * np.abs(z - 3.0 - 0.75 * (y + 6.0) + 0.25 * (side - 45.0)),
            np.minimum(side - 39.0, 24.0 - np.abs(y + 6.0)),
        )
        insula = np.minimum(
            thin - np.abs(side - 41.5 + 0.011 * (y + 4.0) ** 2),
            np.minimum(21.0 - np.abs(y + 4.0), 11.0 - np.abs(z - 5.0)),
        )
        _raise(fluid, window, np.maximum(sheet, insula))
    wide = 0.8 + 0.4 * old
    if window := place.window((-50, -34, -60), (50, 44, 0)):
        part = place.crop(window)
        side, y, z = np.abs(part.inner_x), part.y, part.z
        stem = np.hypot(side * (1.0 + 0.006 * (y - 10.0)), 0.9 * (y - 11.0) + 0.12 * (z + 20.0))
        ambient = np.minimum(
            0.4 + 0.9 * old + 0.4 * part.relief - np.abs(stem - 17.0),
            np.minimum(9.0 - np.abs(z + 20.0), y - 2.0),
        )
        cisterns = largest(
            ambient,
            ellipsoid(side, y + 11, z + 25, 11 * wide, 9 * wide, 6),  # suprasellar
            ellipsoid(side - 9, y + 11, z + 25, 10 * wide, 3.2 * wide, 4),  # its rays
            ellipsoid(side, y - 29 - 0.02 * side * side, z + 11, 11 * wide, 3.5 * wide, 5),
            ellipsoid(side, y + 7, z + 40, 14 * wide, 3.5 * wide, 14),  # prepontine
        )
        _raise(fluid, window, cisterns)
    if window := place.window((-20, 50, -75), (20, 90, -40)):
        part = place.crop(window)
        magna = ellipsoid(part.x, part.y - 66, part.z + 55, 12 * wide, 8 * wide, 12)
        _raise(fluid, window, magna)
    return np.asarray(fluid)


def _outside_brain(head: Head, place: Place) -> np.ndarray:
    """Air, scalp, muscle and skull; the cavity is left for others to fill. HU."""
    x, y, z, depth, relief = place.x, place.y, place.z, place.depth, place.relief
    cap = head.bone_mm * (1.0 + 0.14 * relief)
    cap += 0.0003 * y * y
    margin = head.bone_mm + 7.5
    down = np.where(z > 0, np.float32(1 / (_UP + margin)), np.float32(1 / 155.0))
    wide = x / _egg(y)
    skin, _ = ellipsoid_radius(wide, y, z, 1 / (_A + margin), 1 / (_B + margin + 1.5), down)
    hu = np.full_like(x, -1000.0)
    # Skin, then fat, then muscle, most of it at the temples and the nape.
    blend(hu, share(skin), 40.0)
    blend(hu, share(skin - 2.3), -70.0)
    muscle = share(skin - 4.5 + 1.4 * relief, 2.0) * share(25.0 - z - 0.2 * np.abs(y), 12.0)
    blend(hu, muscle, 52.0 + 6.0 * relief)
    if window := place.window((-100, -120, -120), (100, 120, -20)):
        part = place.crop(window)
        bend = 2.0 * np.sin(0.07 * part.y + 0.05 * part.x)
        bundles = np.sin(0.2 * part.x + bend) + np.sin(0.16 * part.y + 0.8 * bend - 0.05 * part.z)
        between = share(bundles - 0.6, 1.6) * share(-14.0 - part.z, 8.0)
        between *= share(skin[window] - 7.0) * share(-part.depth - 3.0)
        blend(hu[window], 0.45 * between, -85.0)
    # Two tables of compact bone around the diploe.
    shell = share(depth + cap) * share(-depth) * share(skin - 2.0)
    diploe = share(0.27 * cap - np.abs(depth + 0.5 * cap)) * share(z + 20.0, 8.0)
    blend(hu, shell, 1250.0 - 700.0 * diploe + 50.0 * relief)
    return hu


def _base_bone(place: Place) -> np.ndarray:
    """Share of bone at the skull base: petrous pyramids, clivus, the orbits' walls."""
    bone = np.zeros_like(place.z)
    if window := place.window((-80, -110, -90), (80, 50, -10)):
        part = place.crop(window)
        side, y, z = np.abs(part.x), part.y, part.z
        petrous = capsule(side, y, z, (60.0, 24.0, -38.0, 11.0), (13.0, 1.0, -37.0, 6.0), 1.0)
        clivus = capsule(side, y, z, (0.0, -16.0, -34.0, 6.0), (0.0, 4.0, -62.0, 8.0), 1.0)
        wings = capsule(side, y, z, (8.0, -22.0, -28.0, 2.5), (46.0, -42.0, -25.0, 3.0), 1.0)
        orbit = ellipsoid(side - 30, y + 62, z + 40, 19, 27, 18)
        wall = np.minimum(1.3 - np.abs(orbit + 1.0), np.minimum(-42.0 - y, -20.0 - z))
        frontal = ellipsoid(side, y + 82, z + 22, 24, 8, 14)
        bone[window] = share(largest(petrous + 1.2 * part.relief, clivus, wings, wall, frontal))
    return bone


def _face(head: Head, place: Place, hu: np.ndarray) -> None:
    """Sinuses, mastoid cells and orbits, into `hu`."""
    if window := place.window((-60, -110, -62), (60, -25, -18)):
        part, here = place.crop(window), hu[window]
        side, y, z = np.abs(part.x), part.y, part.z
        in_orbit = share(ellipsoid(side - 30, y + 62, z + 40, 18, 26, 17))
        in_orbit *= share(-part.depth - 1.0)
        blend(here, in_orbit, -85.0)
        recti = share(1.6 - np.abs(ellipsoid(side - 30, y + 58, z + 40, 11, 22, 11) - 1.0))
        blend(here, 0.6 * in_orbit * recti * share(-52.0 - y, 4.0) * share(y + 78.0, 4.0), 45.0)
        nerve = capsule(side, y, z, (30.0, -62.0, -40.0, 2.2), (14.0, -34.0, -38.0, 2.0), 1.0)
        blend(here, in_orbit * share(nerve), 35.0)
        globe = ellipsoid(side - 30, y + 74, z + 40, 12, 12, 12)
        blend(here, share(globe + 1.0), 50.0)
        blend(here, share(globe), 8.0)
        blend(here, share(ellipsoid(side - 30, y + 82, z + 40, 4.5, 2.2, 4.5)), 80.0)
    if window := place.window((-75, -110, -100), (75, 45, -8)):
        part = place.crop(window)
        side, y, z = np.abs(part.x), part.y, part.z
        cells = np.sin(0.9 * part.x + 2.0 * part.relief) * np.sin(0.8 * y) * np.sin(0.7 * z)
        ethmoid = np.minimum(ellipsoid(side, y + 60, z + 42, 11, 24, 15), 2.0 - 4.0 * cells)
        mastoid = np.minimum(
            ellipsoid(side - 58, y - 27, z + 46, 9, 12, 14),
            2.2 * head.air_cells + 3.0 * cells - 0.8,
        )
        air = largest(
            ethmoid,
            mastoid,
            ellipsoid(side - 7, y + 30, z + 44, 9, 12, 9) + 1.0,  # sphenoid sinus
            ellipsoid(side - 9, y + 83, z + 22, 9 * head.air_cells, 4, 10),  # frontal sinus
            ellipsoid(side, y + 60, z + 72, 14, 24, 17),  # the nose
            ellipsoid(side - 34, y + 58, z + 76, 13, 16, 14),  # maxillary sinus
        )
        blend(hu[window], share(air) * share(-part.depth - 1.0), -990.0)


def _draw_calcifications(
    rng: np.random.Generator,
) -> tuple[tuple[float, float, float, float, float], ...]:
    """Choroid plexus, pineal body, falx, basal ganglia: as dense as blood after partial volume."""
    found: list[tuple[float, float, float, float, float]] = []

    def add(x: float, y: float, z: float, radii: tuple[float, float], chance: float) -> None:
        values = rng.uniform(), *rng.normal(0, 1.5, 3), rng.uniform(*radii), rng.uniform(90, 420)
        if values[0] < chance:
            found.append((x + values[1], y + values[2], z + values[3], values[4], values[5]))

    for sign in (-1.0, 1.0):
        add(sign * 22.0, 36.0, 12.0, (2.0, 4.5), 0.85)
        add(sign * 20.0, 1.0, 3.0, (1.2, 3.0), 0.3)
    add(0.0, 27.0, -3.0, (1.5, 3.2), 0.8)
    for _ in range(3):
        add(0.0, float(rng.uniform(-60, -45)), float(rng.uniform(20, 50)), (1.5, 3.5), 0.4)
    return tuple(found)


def _egg(y: np.ndarray) -> np.ndarray:
    """Width of the head relative to its middle: widest behind it."""
    back = y * np.float32(1 / _B)
    return 1.0 + 0.10 * back - 0.06 * back * back


def _raise(array: np.ndarray, window: Window, values: np.ndarray) -> None:
    np.maximum(array[window], values, out=array[window])


def _map_noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal((_MAP, _MAP), np.float32), (0, 0), sigma)
    return np.asarray(noise / noise.std(), np.float32)


def _look_up(image: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    flat = (-1, column.shape[-1])
    found = cv2.remap(
        image, column.reshape(flat), row.reshape(flat), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    return np.asarray(found).reshape(column.shape)
