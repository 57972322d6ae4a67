"""The face and the neck: skin, orbits, sinuses, jaw, muscles, vertebrae, ears."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy.ground import BOX, Ground
from ich_tf.phantom.full.anatomy.noise import Noise
from ich_tf.phantom.full.anatomy.skull import Skull, smooth_least
from ich_tf.phantom.shapes import blend, capsule, ellipsoid, largest, share


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """What lies outside the cranial cavity, at the points of the lattice.

    Attributes:
      skin: Distance from the skin, mm, positive inside.
      soft: Hounsfield units of skin, fat, muscle, eyes.
      bone: Distance from the surface of facial bones and vertebrae, mm, positive inside.
      air: Distance from the surface of air in the head, mm, positive inside.
    """

    skin: np.ndarray
    soft: np.ndarray
    bone: np.ndarray
    air: np.ndarray


class Textures:
    """Where planes of fat divide the muscles, and walls the cells of air."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draws the textures."""
        self.fascia = Noise(rng, 8.0, *BOX)
        self.cells = Noise(rng, 1.9, (0.0, -90.0, -80.0), (75.0, 50.0, -20.0))


def build_face(textures: Textures, ground: Ground, skull: Skull) -> Face:
    """Builds all that lies outside the cranial cavity."""
    skin = _skin(ground, skull)
    soft = _soft_tissue(textures, ground, skull, skin)
    bone = np.full_like(skin, -30.0)
    air = np.full_like(skin, -30.0)
    _add_orbits(ground, soft, bone)
    _add_sinuses(textures, ground, skull, skin, soft, bone, air)
    _add_jaws(ground, bone)
    _add_neck(ground, skull, soft, bone)
    return Face(skin, soft, bone, air)


def _skin(ground: Ground, skull: Skull) -> np.ndarray:
    traits = ground.traits
    x, y, z = ground.points
    side = np.abs(x)
    temple = np.exp(-(((z + 22.0) / 26.0) ** 2) - ((y + 28.0) / 24.0) ** 2) * (side > 40)
    nape = np.clip((-z - 10.0) / 45.0, 0.0, 1.2) * np.clip((y - 20.0) / 45.0, 0.0, 1.0)
    scalp = traits.scalp_mm * (1.0 + 0.06 * ground.relief) + 6.0 * temple + 14.0 * nape
    head = skull.vault + traits.skull_mm * (1.0 + 0.04 * ground.relief) + scalp
    neck = ellipsoid(x, y - 22.0, z + 110.0, 74.0, 72.0, 110.0)
    low = np.clip((-z - 60.0) / 60.0, 0.0, 1.0)
    face = ellipsoid(x * (1.0 + 0.12 * low), y + 30.0, z + 75.0, 70.0, 66.0, 85.0)
    nose = capsule(side, y, z, (0.0, -82.0, -34.0, 14.0), (0.0, -103.0, -78.0, 13.0), 1.0)
    # One skin over all: its corners are round.
    skin = -smooth_least(-head, -neck, 10.0)
    skin = -smooth_least(-skin, -face, 16.0)
    skin = -smooth_least(-skin, -nose, 12.0)
    ear = np.sqrt((side - 80.0) ** 2 + (y - 20.0) ** 2 + (z + 40.0) ** 2)
    pinna = ellipsoid(side - 78.0 - 0.45 * (y - 14.0), y - 20.0, z + 40.0, 3.0, 17.0, 30.0)
    curl = np.abs(ground.fine) * 1.6 - 0.5
    return np.asarray(np.maximum(skin, np.minimum(pinna - np.clip(curl, 0.0, 2.5), 36.0 - ear)))


def _soft_tissue(textures: Textures, ground: Ground, skull: Skull, skin: np.ndarray) -> np.ndarray:
    """Fat, and muscles in it: compartments with planes of fat between them."""
    x, y, z = ground.points
    side = np.abs(x)
    soft = np.full_like(x, -95.0)
    # Muscles lie in layers along the skin, and are divided across.
    layers = np.abs(np.sin(np.float32(np.pi / 12.0) * (skin + 6.0 * ground.relief)))
    across = np.abs(textures.fascia((x, y, 0.3 * z)))
    fascia = np.minimum(1.9 * layers + 0.5 * np.clip(ground.fine, 0.0, 2.0), 1.3 * across)
    fascia = np.minimum(fascia, 0.35 * side)
    muscle = share(fascia - 0.28, 0.5)
    temporal = np.exp(-(((z + 25.0) / 30.0) ** 2) - ((y + 22.0) / 26.0) ** 2) * (side > 45)
    nape = np.clip((-z - 16.0) / 14.0, 0.0, 1.0) * np.clip((y - 10.0) / 15.0, 0.0, 1.0)
    under = np.clip((-z - 44.0) / 8.0, 0.0, 1.0) * np.clip((side - 6.0) / 8.0, 0, 1)
    there = np.clip(temporal * 1.4 + nape + 0.9 * under, 0.0, 1.0)
    # Subcutaneous fat is left.
    there *= share(skin - 3.6 - 4.0 * nape - 1.5 * ground.relief, 3.0)
    blend(soft, there * muscle, 55.0 + 7.0 * ground.fine)
    # Galea, loose tissue and pericranium: a sheet on the bone.
    galea = share(ground.traits.galea_mm + 0.4 * ground.fine + skull.outer) * share(z + 10.0, 20.0)
    blend(soft, galea, 36.0)
    return soft


def _add_orbits(ground: Ground, soft: np.ndarray, bone: np.ndarray) -> None:
    region = ground.box((-62.0, -108.0, -76.0), (62.0, -18.0, -18.0))
    if region is None:
        return
    part = ground.crop(region)
    x, y, z = part.points
    side = np.abs(x)
    cone = capsule(side, y, z, (11.0, -27.0, -40.0, 4.0), (31.0, -68.0, -46.0, 18.5), 1.0)
    # The medial walls are parallel; the ethmoid's cells lie between them.
    cone = np.minimum(cone, side - 13.5 - 0.05 * (y + 90.0))
    fat = share(cone)
    tissue = soft[region]
    blend(tissue, fat, -90.0)
    # The wall is open in front, more so at the side, where it is thick.
    lateral = np.clip((side - 22.0) / 12.0, 0.0, 1.0)
    thick = 0.8 + 1.8 * lateral * np.clip((y + 78.0) / 20.0, 0.0, 1.0)
    wall = np.minimum(thick - np.abs(cone + thick), y + 86.0 - 0.8 * np.maximum(side - 22.0, 0.0))
    rim = largest(
        capsule(side, y, z, (13.0, -85.0, -33.0, 3.5), (17.0, -81.0, -58.0, 2.5), 1.0),
        capsule(side, y, z, (13.0, -84.0, -30.0, 4.5), (32.0, -81.0, -28.0, 4.5), 1.0),
        capsule(side, y, z, (32.0, -81.0, -28.0, 4.5), (49.0, -66.0, -35.0, 4.0), 1.0),
        capsule(side, y, z, (17.0, -83.0, -60.0, 2.5), (32.0, -81.0, -66.0, 3.0), 1.0),
        capsule(side, y, z, (32.0, -81.0, -66.0, 3.0), (48.0, -68.0, -60.0, 4.0), 1.0),
    )
    bone[region] = largest(bone[region], np.minimum(wall, -y - 24.0), rim)
    axis = np.clip((y + 30.0) / -48.0, 0.0, 1.2)
    cx, cz = 11.0 + 21.0 * axis, -40.0 - 6.0 * axis
    around = np.hypot(side - cx, z - cz)
    recti = np.minimum(
        2.2 * np.sin(np.pi * np.clip(axis, 0.0, 1.0))
        + 0.4
        - np.abs(around - 2.0 - 10.0 * np.sin(0.5 * np.pi * np.clip(axis, 0.0, 1.0))),
        np.minimum(-y - 30.0, y + 82.0),
    )
    gaps = np.abs(np.sin(2.0 * np.arctan2(z - cz, side - cx)))
    blend(tissue, share(recti) * share(0.66 - gaps, 0.2), 58.0)
    nerve = capsule(side, y, z, (31.0, -68.0, -46.0, 3.0), (12.0, -28.0, -40.0, 2.6), 1.0)
    blend(tissue, fat * share(nerve), 42.0)
    globe = ellipsoid(side - 31.5, y + 75.5, z + 46.0, 12.3, 12.3, 12.3)
    blend(tissue, share(globe + 0.9), 70.0)
    blend(tissue, share(globe - 1.0), 14.0)
    blend(tissue, share(ellipsoid(side - 31.5, y + 83.0, z + 46.0, 4.6, 2.2, 4.6)), 95.0)
    lids = np.minimum(1.5 - np.abs(globe + 3.0), -76.0 - y)
    blend(tissue, share(lids), 40.0)
    gland = ellipsoid(side - 43.0, y + 76.0, z + 38.0, 4.0, 7.0, 6.0)
    blend(tissue, share(gland), 40.0)


def _add_sinuses(
    textures: Textures,
    ground: Ground,
    skull: Skull,
    skin: np.ndarray,
    soft: np.ndarray,
    bone: np.ndarray,
    air: np.ndarray,
) -> None:
    full = ground.traits.pneumatization
    region = ground.box((-80.0, -112.0, -118.0), (80.0, 50.0, 2.0))
    if region is None:
        return
    part = ground.crop(region)
    x, y, z = part.points
    side = np.abs(x)
    bend = 2.5 * part.relief
    # Cells: thin walls where noise is near 0.
    cells = np.abs(textures.cells((side, y + 0.3 * x, z)))
    big = 1.4 * part.fine
    sphenoid = np.minimum(
        ellipsoid(side, y + 21.0, z + 45.0, 6.0 + 9.0 * full, 13.0, 11.0), np.abs(x - bend) - 0.7
    )
    vault = skull.vault[region]
    middle = 0.55 * ground.traits.skull_mm + 1.5
    frontal = smooth_least(
        (1.6 + 1.5 * full) - np.abs(vault + middle + big),
        ellipsoid(side - 8.0, y + 86.0, z + 24.0, 3.0 + 15.0 * full, 20.0, 4.0 + 12.0 * full)
        + 2.0 * big,
        3.0,
    )
    frontal = np.minimum(np.minimum(frontal, skull.outer[region] - 1.4), np.abs(x + bend) - 0.7)
    maxillary = ellipsoid(side - 31.0, y + 58.0, z + 79.0, 13.0, 17.0, 17.0) + 0.6 * big
    ethmoid_box = smooth_least(
        12.6 + 0.05 * (y + 90.0) - side + 0.6 * big,
        smooth_least(24.0 - np.abs(y + 57.0), 13.0 - np.abs(z + 43.0), 12.0),
        8.0,
    )
    ethmoid = np.minimum(ethmoid_box, cells / 0.37 - 0.6)
    ethmoid = np.minimum(ethmoid, side - 0.9)
    # The cavity of the nose narrows to the front.
    passage = smooth_least(
        12.5 - side - 0.28 * np.maximum(-y - 74.0, 0.0),
        smooth_least(32.0 - np.abs(y + 64.0), 26.0 - np.abs(z + 77.0), 12.0),
        7.0,
    )
    nose = np.minimum(passage, np.abs(x - 0.5 * bend) - 1.2)
    turbinate = (
        largest(
            ellipsoid(side - 8.0, y + 60.0, z + 85.0, 4.6, 27.0, 12.0),
            ellipsoid(side - 7.5, y + 56.0, z + 64.0, 3.4, 23.0, 10.0),
        )
        + 0.5 * big
    )
    nose = np.minimum(nose, -turbinate)
    throat = ellipsoid(side, y + 14.0, z + 88.0, 13.0, 12.0, 26.0)
    mastoid_bone = ellipsoid(side - 56.0, y - 26.0, z + 52.0, 12.0, 17.0, 22.0)
    mastoid = np.minimum(
        ellipsoid(side - 56.0, y - 25.0, z + 47.0, 11.0, 15.0, 17.0) - 1.0 + 2.0 * part.relief,
        cells / 0.37 - 0.7 - 1.8 * (1.0 - full),
    )
    canal = capsule(side, y, z, (78.0, 13.0, -48.0, 3.4), (50.0, 9.0, -45.0, 3.0), 1.0)
    ear = ellipsoid(side - 46.0, y - 8.0, z + 43.0, 3.5, 5.0, 6.0)
    shell = largest(
        1.0 - np.abs(maxillary + 0.8),
        np.minimum(0.8 - np.abs(ethmoid_box + 0.6), -z - 30.0),
        1.2 - np.abs(ellipsoid(side, y + 21.0, z + 45.0, 6.0 + 9.0 * full, 13.0, 11.0) + 1.0),
        2.2 - np.abs(frontal + 1.6),
        np.minimum(0.6 - np.abs(x - 0.5 * bend), ellipsoid(side, y + 66.0, z + 70.0, 20, 34, 34)),
    )
    septa = np.minimum(0.6 - cells / 0.37, ethmoid_box)
    nasal = capsule(side, y, z, (1.0, -88.0, -35.0, 3.2), (3.5, -98.0, -58.0, 1.8), 1.0)
    bone[region] = largest(bone[region], shell, septa, nasal, mastoid_bone)
    mucosa = largest(turbinate, 1.5 - np.abs(nose + 1.0))
    blend(soft[region], share(mucosa) * share(-z - 40.0), 45.0)
    inside = largest(sphenoid, frontal, maxillary, ethmoid, nose, throat, mastoid, canal, ear)
    inside = np.minimum(inside, largest(skin[region] - 4.0, canal))
    air[region] = np.minimum(inside, -skull.depth[region] - 1.2)


def _add_jaws(ground: Ground, bone: np.ndarray) -> None:
    region = ground.box((-82.0, -112.0, -135.0), (82.0, 30.0, -30.0))
    if region is None:
        return
    part = ground.crop(region)
    x, y, z = part.points
    side = np.abs(x)
    arch = largest(
        capsule(side, y, z, (47.0, -66.0, -62.0, 6.0), (64.0, -34.0, -62.0, 3.0), 1.0),
        capsule(side, y, z, (64.0, -34.0, -62.0, 3.0), (66.0, -6.0, -56.0, 3.5), 1.0),
        capsule(side, y, z, (50.0, -64.0, -36.0, 4.5), (47.0, -66.0, -66.0, 6.0), 1.0),
        capsule(side, y, z, (47.0, -66.0, -66.0, 6.0), (34.0, -72.0, -96.0, 3.0), 1.0),
    )
    jaw = largest(
        ellipsoid(side - 52.0, y - 1.0, z + 62.0, 9.0, 4.5, 7.0),
        capsule(side, y, z, (51.0, 0.0, -66.0, 3.6), (47.0, -6.0, -128.0, 4.0), 1.0),
        capsule(side, y, z, (50.0, -20.0, -72.0, 2.4), (46.0, -20.0, -130.0, 3.0), 1.0),
    )
    pterygoid = largest(
        np.minimum(1.0 - np.abs(side - 13.0 - 0.1 * (y + 24.0)), 8.0 - np.abs(y + 24.0)),
        np.minimum(1.0 - np.abs(side - 20.0 - 0.5 * (y + 24.0)), 8.0 - np.abs(y + 24.0)),
    )
    pterygoid = np.minimum(pterygoid, np.minimum(-z - 48.0, z + 98.0))
    palate = np.minimum(
        2.0 - np.abs(z + 104.0), ellipsoid(side, y + 62.0, z + 104.0, 26.0, 36.0, 40.0)
    )
    styloid = capsule(side, y, z, (47.0, 15.0, -62.0, 2.0), (40.0, 4.0, -98.0, 1.6), 1.0)
    bone[region] = largest(bone[region], arch, jaw, pterygoid, palate, styloid)


def _add_neck(ground: Ground, skull: Skull, soft: np.ndarray, bone: np.ndarray) -> None:
    region = ground.box((-60.0, -10.0, -135.0), (60.0, 80.0, -56.0))
    if region is None:
        return
    part = ground.crop(region)
    x, y, z = part.points
    side = np.abs(x)
    axis = y - 33.0 - 0.15 * (-z - 66.0)
    canal = 1.0 - np.sqrt((side / 13.0) ** 2 + (axis / 12.0) ** 2)
    canal = canal * 11.0
    atlas = np.minimum(4.0 - np.abs(canal + 4.5), 6.5 - np.abs(z + 84.0 - 0.05 * axis))
    vertebrae = largest(
        atlas + 0.5 * part.relief,
        ellipsoid(side - 21.0, axis + 6.0, z + 81.0, 9.0, 11.0, 11.0),
        capsule(side, axis, z, (20.0, 0.0, -84.0, 6.0), (40.0, 2.0, -85.0, 4.0), 1.0),
        ellipsoid(side - 19.0, axis + 4.0, z + 68.0, 8.0, 13.0, 7.0),
        capsule(side, axis, z, (0.0, -17.0, -74.0, 4.5), (0.0, -18.0, -135.0, 6.5), 1.0),
        ellipsoid(side, axis + 20.0, z + 118.0, 18.0, 10.0, 18.0),
        ellipsoid(side - 20.0, axis + 6.0, z + 104.0, 9.0, 10.0, 9.0),
        np.minimum(3.5 - np.abs(canal + 4.0), 9.0 - np.abs(z + 112.0)),
        capsule(side, axis, z, (0.0, 16.0, -110.0, 5.0), (5.0, 34.0, -116.0, 5.0), 1.0),
    )
    bone[region] = largest(bone[region], np.minimum(vertebrae, -canal - 0.5))
    spinal = share(canal)
    tissue = soft[region]
    blend(tissue, spinal, ground.traits.fluid_hu + 4.0)
    cord = capsule(side, y, z, (0.0, 30.0, -60.0, 7.0), (0.0, 41.0, -135.0, 5.5), 1.0)
    blend(tissue, share(cord), ground.traits.grey_hu - 4.0)
