"""Everything of a head but brain and fluid: air, skin, muscle, bone, orbits and sinuses.

Arrays are float32 and of one shape, [sub-slices, rows, columns].
"""

from __future__ import annotations

import numpy as np

from ich_tf.phantom.basic.head import Head
from ich_tf.phantom.basic.place import CAVITY_UP_MM, CAVITY_X_MM, CAVITY_Y_MM, Place, head_width
from ich_tf.phantom.shapes import blend, capsule, ellipsoid, ellipsoid_radius, largest, share


def outside_cavity(head: Head, place: Place) -> np.ndarray:
    """Air, scalp, muscle and skull cap.

    Returns:
      Hounsfield units; those within the cranial cavity have no meaning.
    """
    x, y, z, depth, relief = place.x, place.y, place.z, place.depth, place.relief
    cap = head.bone_mm * (1.0 + 0.14 * relief)
    cap += 0.0003 * y * y
    margin = head.bone_mm + 7.5
    down = np.where(z > 0, np.float32(1 / (CAVITY_UP_MM + margin)), np.float32(1 / 155.0))
    wide = x / head_width(y)
    skin, _ = ellipsoid_radius(
        wide, y, z, 1 / (CAVITY_X_MM + margin), 1 / (CAVITY_Y_MM + margin + 1.5), down
    )
    hu = np.full_like(x, -1000.0)
    # Skin, then fat, then muscle, most of it at the temples and the nape.
    blend(hu, share(skin), 40.0)
    blend(hu, share(skin - 2.3), -70.0)
    muscle = share(skin - 4.5 + 1.4 * relief, 2.0) * share(25.0 - z - 0.2 * np.abs(y), 12.0)
    blend(hu, muscle, 52.0 + 6.0 * relief)
    if region := place.region((-100, -120, -120), (100, 120, -20)):
        part = place.crop(region)
        bend = 2.0 * np.sin(0.07 * part.y + 0.05 * part.x)
        bundles = np.sin(0.2 * part.x + bend) + np.sin(0.16 * part.y + 0.8 * bend - 0.05 * part.z)
        between = share(bundles - 0.6, 1.6) * share(-14.0 - part.z, 8.0)
        between *= share(skin[region] - 7.0) * share(-part.depth - 3.0)
        blend(hu[region], 0.45 * between, -85.0)
    # Two tables of compact bone around the diploe.
    shell = share(depth + cap) * share(-depth) * share(skin - 2.0)
    diploe = share(0.27 * cap - np.abs(depth + 0.5 * cap)) * share(z + 20.0, 8.0)
    blend(hu, shell, 1250.0 - 700.0 * diploe + 50.0 * relief)
    return hu


def base_bone(place: Place) -> np.ndarray:
    """Share of bone at the skull base, 0 to 1: petrous pyramids, clivus, the orbits' walls."""
    bone = np.zeros_like(place.z)
    if region := place.region((-80, -110, -90), (80, 50, -10)):
        part = place.crop(region)
        side, y, z = np.abs(part.x), part.y, part.z
        petrous = capsule(side, y, z, (60.0, 24.0, -38.0, 11.0), (13.0, 1.0, -37.0, 6.0), 1.0)
        clivus = capsule(side, y, z, (0.0, -16.0, -34.0, 6.0), (0.0, 4.0, -62.0, 8.0), 1.0)
        wings = capsule(side, y, z, (8.0, -22.0, -28.0, 2.5), (46.0, -42.0, -25.0, 3.0), 1.0)
        orbit = ellipsoid(side - 30, y + 62, z + 40, 19, 27, 18)
        wall = np.minimum(1.3 - np.abs(orbit + 1.0), np.minimum(-42.0 - y, -20.0 - z))
        frontal = ellipsoid(side, y + 82, z + 22, 24, 8, 14)
        bone[region] = share(largest(petrous + 1.2 * part.relief, clivus, wings, wall, frontal))
    return bone


def add_face(head: Head, place: Place, hu: np.ndarray) -> None:
    """Adds orbits, sinuses and mastoid cells.

    Args:
      head: The head.
      place: The points.
      hu: Hounsfield units, changed in place.
    """
    _add_orbits(place, hu)
    _add_air_cells(head, place, hu)


def _add_orbits(place: Place, hu: np.ndarray) -> None:
    if region := place.region((-60, -110, -62), (60, -25, -18)):
        part, orbit_hu = place.crop(region), hu[region]
        side, y, z = np.abs(part.x), part.y, part.z
        in_orbit = share(ellipsoid(side - 30, y + 62, z + 40, 18, 26, 17))
        in_orbit *= share(-part.depth - 1.0)
        blend(orbit_hu, in_orbit, -85.0)
        recti = share(1.6 - np.abs(ellipsoid(side - 30, y + 58, z + 40, 11, 22, 11) - 1.0))
        blend(orbit_hu, 0.6 * in_orbit * recti * share(-52.0 - y, 4.0) * share(y + 78.0, 4.0), 45.0)
        nerve = capsule(side, y, z, (30.0, -62.0, -40.0, 2.2), (14.0, -34.0, -38.0, 2.0), 1.0)
        blend(orbit_hu, in_orbit * share(nerve), 35.0)
        globe = ellipsoid(side - 30, y + 74, z + 40, 12, 12, 12)
        blend(orbit_hu, share(globe + 1.0), 50.0)
        blend(orbit_hu, share(globe), 8.0)
        blend(orbit_hu, share(ellipsoid(side - 30, y + 82, z + 40, 4.5, 2.2, 4.5)), 80.0)


def _add_air_cells(head: Head, place: Place, hu: np.ndarray) -> None:
    if region := place.region((-75, -110, -100), (75, 45, -8)):
        part = place.crop(region)
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
        blend(hu[region], share(air) * share(-part.depth - 1.0), -990.0)
