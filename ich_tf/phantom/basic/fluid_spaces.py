"""Cerebrospinal fluid: the ventricles, and the space around the brain.

Arrays are float32 and of one shape, [sub-slices, rows, columns].
"""

from __future__ import annotations

import itertools

import numpy as np

from ich_tf.phantom.basic.head import Head
from ich_tf.phantom.basic.place import Place
from ich_tf.phantom.shapes import Region, capsule, disc, ellipsoid, largest


def ventricles(head: Head, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance from the ventricles' wall, mm, positive inside.

    Args:
      head: The head.
      x: Position to the patient's left, head frame, mm; without the shift of a bleed.
      y: Position to the back, of the same shape.
      z: Position to the crown, of the same shape.
    """
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


def outer_distance(head: Head, place: Place, depth: np.ndarray, cerebrum: np.ndarray) -> np.ndarray:
    """Distance from the surface of the fluid around the brain, mm, positive in the fluid.

    Args:
      head: The head.
      place: The points.
      depth: Distance from the brain's envelope, mm, positive inside.
      cerebrum: Share of cerebrum, as opposed to cerebellum, 0 to 1: only it has sulci.
    """
    old, relief = head.atrophy, place.relief
    rim = 0.7 + 2.2 * old * np.clip(0.5 + 0.5 * relief, 0.0, 1.4)
    reach = 13.0 + 4.0 * old + 5.0 * relief
    half_width = (0.35 + 1.15 * old) * np.clip(1.25 - depth * np.float32(1 / 30), 0.3, 1.0)
    sulcus = np.minimum(half_width - place.surface_mm, reach - depth)
    sulcus -= 25.0 * (cerebrum < 0.5)
    fluid = np.maximum(rim - depth, sulcus)
    _add_fissures(old, place, cerebrum, fluid)
    _add_cisterns(old, place, fluid)
    return np.asarray(fluid)


def _add_fissures(old: float, place: Place, cerebrum: np.ndarray, fluid: np.ndarray) -> None:
    # Between the hemispheres, above the corpus callosum.
    if region := place.region((-20, -100, -40), (20, 100, 90)):
        part = place.crop(region)
        around = np.minimum(-disc(part.y - 4.0, part.z - 6.0, 42.0, 23.0), part.z + 20.0)
        fissure = np.minimum(0.9 + 1.3 * old - np.abs(part.inner_x), around)
        fissure -= 25.0 * (cerebrum[region] < 0.5)
        _raise(fluid, region, fissure)
    # The Sylvian fissure: a sheet inwards from the temple, and the insula's cistern behind it.
    if region := place.region((-75, -42, -34), (75, 28, 30)):
        part = place.crop(region)
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
        _raise(fluid, region, np.maximum(sheet, insula))


def _add_cisterns(old: float, place: Place, fluid: np.ndarray) -> None:
    wide = 0.8 + 0.4 * old
    if region := place.region((-50, -34, -60), (50, 44, 0)):
        part = place.crop(region)
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
        _raise(fluid, region, cisterns)
    if region := place.region((-20, 50, -75), (20, 90, -40)):
        part = place.crop(region)
        magna = ellipsoid(part.x, part.y - 66, part.z + 55, 12 * wide, 8 * wide, 12)
        _raise(fluid, region, magna)


def _raise(distance: np.ndarray, region: Region, values: np.ndarray) -> None:
    """Takes the union of two shapes in a region."""
    np.maximum(distance[region], values, out=distance[region])
