"""The tissue at each point of a head without bleeds: Hounsfield units and shares.

Arrays are float32 and of one shape, [sub-slices, rows, columns].
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.basic import fluid_spaces, skull
from ich_tf.phantom.basic.head import Head
from ich_tf.phantom.basic.place import Place
from ich_tf.phantom.shapes import blend, disc, ellipsoid, largest, share

# Width by which blood widens sulci and cisterns to either side.
_SWELLING_MM = 0.7


@dataclasses.dataclass(frozen=True, eq=False)
class Tissue:
    """Density and composition of each voxel of a head without bleeds.

    Attributes:
      hu: Hounsfield units.
      cavity: Share of the cranial cavity without bone, 0 to 1.
      ventricle: Share of ventricle, 0 to 1.
      subarachnoid: Share of sulci, fissures, cisterns and the rim over the brain, 0 to 1.
      parenchyma: Share of brain, 0 to 1.
    """

    hu: np.ndarray
    cavity: np.ndarray
    ventricle: np.ndarray
    subarachnoid: np.ndarray
    parenchyma: np.ndarray


def fill(
    head: Head,
    place: Place,
    displaced_mm: np.ndarray | None = None,
    swollen: np.ndarray | None = None,
) -> Tissue:
    """Computes the tissue at each point.

    Args:
      head: The head.
      place: Points, located in that head.
      displaced_mm: Thickness of a bleed between inner table and brain; None for no bleed.
      swollen: Share of blood in the space around the brain, which widens it, 0 to 1; None for
        none.
    """
    depth = place.depth if displaced_mm is None else place.depth - displaced_mm
    hu = skull.outside_cavity(head, place)
    bone = skull.base_bone(place)
    cavity = share(place.depth) * (1.0 - bone)
    tent = _tentorium(place)
    cerebrum = share(tent, 3.0)
    fluid_mm = fluid_spaces.outer_distance(head, place, depth, cerebrum)
    if swollen is not None:
        fluid_mm += _SWELLING_MM * swollen
    fluid = share(fluid_mm)
    ventricle_mm = np.full_like(hu, -30.0)
    if region := place.region((-52, -54, -52), (52, 72, 36)):
        part = place.crop(region)
        ventricle_mm[region] = fluid_spaces.ventricles(head, part.inner_x, part.y, part.z)
    ventricle = share(ventricle_mm)

    brain_hu = _brain_hu(head, place, cerebrum, fluid_mm, ventricle_mm)
    sheet = _dura(place, tent)

    blend(hu, share(place.depth), head.fluid_hu)
    blend(hu, share(depth) * (1.0 - fluid), brain_hu)
    blend(hu, cavity * ventricle, head.fluid_hu)
    blend(hu, cavity * sheet, head.dura_hu)
    _add_calcifications(head, place, cavity, hu)
    blend(hu, bone, 1150.0 + 120.0 * place.relief)
    skull.add_face(head, place, hu)
    inside = cavity * share(depth) * (1.0 - sheet)
    return Tissue(
        hu=hu,
        cavity=cavity,
        ventricle=inside * ventricle,
        subarachnoid=inside * fluid * (1.0 - ventricle),
        parenchyma=inside * (1.0 - fluid) * (1.0 - ventricle),
    )


def _brain_hu(
    head: Head,
    place: Place,
    cerebrum: np.ndarray,
    fluid_mm: np.ndarray,
    ventricle_mm: np.ndarray,
) -> np.ndarray:
    """Hounsfield units of brain: grey matter below the fluid and in the nuclei, else white."""
    grey = share(3.3 + fluid_mm, 1.6) * cerebrum
    # The cerebellum's leaves are finer than a voxel: grey all over.
    np.maximum(grey, (1.0 - cerebrum) * (0.75 + 0.1 * place.relief), out=grey)
    _add_nuclei(head, place, grey)
    brain_hu = head.white_hu + (head.grey_hu - head.white_hu) * grey
    # Old white matter is darker around the ventricles.
    brain_hu -= 7.0 * head.atrophy * share(ventricle_mm + 7.0, 9.0) * (1.0 - grey)
    brain_hu += 0.7 * place.relief
    return np.asarray(brain_hu)


def _add_calcifications(head: Head, place: Place, cavity: np.ndarray, hu: np.ndarray) -> None:
    for x, y, z, radius, value in head.calcifications:
        reach = radius + 12.0
        if region := place.region((x - reach, y - reach, z - 6), (x + reach, y + reach, z + 6)):
            part = place.crop(region)
            distance = np.sqrt((part.inner_x - x) ** 2 + (part.y - y) ** 2 + (part.z - z) ** 2)
            blend(hu[region], cavity[region] * share(radius - distance, 1.5), value)


def _tentorium(place: Place) -> np.ndarray:
    """Height above the tentorium, mm. It slopes down from the midline to the sides."""
    height = np.full_like(place.z, 30.0)
    if region := place.region((-90, 0, -90), (90, 120, 25)):
        part = place.crop(region)
        side = np.abs(part.inner_x)
        slope = part.z + 8.0 + 0.42 * side - 0.12 * (part.y - 40.0)
        height[region] = np.where(part.y > 8.0 + 0.25 * side, slope, np.float32(30.0))
    return height


def _dura(place: Place, tent: np.ndarray) -> np.ndarray:
    """Share of the dura's sheets and of the venous sinuses in them, which have blood's HU."""
    sheet = np.zeros_like(tent)
    if region := place.region((-20, -100, -40), (20, 100, 90)):
        part = place.crop(region)
        side = np.abs(part.inner_x)
        falx = share(0.8 - side) * share(-disc(part.y - 4.0, part.z - 6.0, 46.0, 27.0) - 2.0, 3.0)
        falx *= share(part.z + 16.0, 3.0) * share(0.4 * part.y + part.z + 22.0, 4.0)
        sagittal = share(4.2 - side - 0.45 * np.abs(part.depth - 3.0))
        sheet[region] = np.maximum(falx, sagittal * share(0.6 * part.y + part.z - 30.0, 4.0))
    if region := place.region((-80, 6, -50), (80, 100, 12)):
        part, above = place.crop(region), tent[region]
        leaf = 0.9 * share(1.1 - np.abs(above)) * share(np.abs(part.inner_x) - 9.0, 4.0)
        transverse = share(3.6 - np.hypot(above + 1.0, part.depth - 3.0)) * share(
            part.y - 12.0, 4.0
        )
        sheet[region] = np.maximum(sheet[region], np.maximum(leaf, transverse))
    return sheet


def _add_nuclei(head: Head, place: Place, grey: np.ndarray) -> None:
    """Adds caudate, lentiform nucleus and thalamus; the white matter between is the capsule."""
    if region := place.region((-48, -42, -10), (48, 34, 24)):
        part = place.crop(region)
        side, y, z = np.abs(part.inner_x), part.y, part.z
        nuclei = largest(
            ellipsoid(side - 12.5 * max(1.0, head.ventricle_scale), y + 24, z - 9, 5, 10, 10),
            ellipsoid(side - 25 + 0.25 * y, y + 3, z - 5, 6.5, 17, 11),
            ellipsoid(side - 10, y - 15, z - 5, 8.5, 13, 10),
        )
        grey[region] = np.maximum(grey[region], 0.75 * share(nuclei, 2.5))
