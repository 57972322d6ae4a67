"""Random bleeds: a leading one of a given volume, and those that join it as in patients.

Positions are in the head frame of `head`, mm. Blood has 50 to 80 HU.
"""

from __future__ import annotations

import math

import numpy as np

from ich_tf.phantom.basic.fluid_spaces import ventricles
from ich_tf.phantom.basic.head import Head
from ich_tf.phantom.basic.lesions import (
    EPIDURAL,
    INTRAPARENCHYMAL,
    SUBARACHNOID,
    SUBDURAL,
    Bleeds,
    ExtraAxial,
    Hematoma,
    Intraventricular,
    Subarachnoid,
    Vector,
)
from ich_tf.phantom.basic.place import CAVITY_UP_MM, CAVITY_X_MM, CAVITY_Y_MM

# Share of a region about the brain's surface or the basal cisterns that its fluid takes.
_SUBARACHNOID_SHARE = 0.10


def draw_bleeds(rng: np.random.Generator, head: Head, leading: int, volume_ml: float) -> Bleeds:
    """Draws a leading bleed and those that join it.

    Args:
      rng: Random generator of the patient.
      head: Head of the patient.
      leading: Subtype of the leading bleed, an index of `SUBTYPES`.
      volume_ml: Volume of the leading bleed.
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
        site = str(
            rng.choice(["putamen", "thalamus", "lobar", "cerebellum"], p=[0.4, 0.15, 0.35, 0.1])
        )
        hematoma = _hematoma(rng, side, volume_ml, site)
        pushing = 0.7 * volume_ml if site != "cerebellum" else 0.0
        if site in ("putamen", "thalamus") and chance[0] < 0.5:
            ventricles_side = side if chance[2] < 0.4 else 0
            intraventricular = _intraventricular(rng, head, ventricles_side, small[0], 0.0)
        if site == "lobar" and chance[1] < 0.25:
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
    """Unit vector: azimuth 0 is the ear of that side, 90 the back; elevation 90 the crown."""
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
    """Blood of an aneurysm of the circle of Willis: basal cisterns, Sylvian fissures, falx."""
    radius = _ball_radius(volume_ml, 0.8)
    lateral = (side * rng.uniform(18, 30), -6.0, -8.0, 0.9 * radius)
    return Subarachnoid(((0.0, -6.0, -22.0, radius), lateral), _blood_hu(rng) - 3.0)


def _convexity(rng: np.random.Generator, side: int, volume_ml: float) -> Subarachnoid:
    """Blood of a blow to the head: sulci beneath one spot of the skull."""
    x, y, z = _direction(rng.uniform(-65, 65), rng.uniform(0, 50), side)
    radius = _ball_radius(volume_ml, 0.55)
    return Subarachnoid(((x * 58, y * 74, z * 62, radius),), _blood_hu(rng))


def _ball_radius(volume_ml: float, inside: float) -> float:
    """Radius in mm of a ball that holds `volume_ml` of fluid.

    Args:
      volume_ml: Volume of the fluid.
      inside: Share of the ball that lies within the skull, 0 to 1.
    """
    size = volume_ml * 1e3 / (_SUBARACHNOID_SHARE * inside * 4 / 3 * math.pi)
    return float(np.clip(size ** (1 / 3), 14.0, 62.0))


def _intraventricular(
    rng: np.random.Generator, head: Head, side: int, volume_ml: float, least_ml: float
) -> Intraventricular:
    # Counted on a grid of 3 mm: the level below which the ventricles hold the volume.
    axes = (np.arange(-48, 49, 3), np.arange(-50, 72, 3), np.arange(-52, 40, 3))
    x, y, z = (a.astype(np.float32) for a in np.meshgrid(*axes, indexing="ij"))
    within = ventricles(head, x, y, z) > 0
    if side:
        within &= side * x > -2.0
    depths = np.sort(y[within])[::-1]
    count = max(volume_ml, least_ml) * 1e3 / 27.0 / head.scale**3
    # Even a cast leaves the tips of the frontal horns free.
    index = int(np.clip(count, 4, 0.95 * (depths.size - 1)))
    return Intraventricular(float(depths[index]), side, _blood_hu(rng))


def _hematoma(rng: np.random.Generator, side: int, volume_ml: float, site: str) -> Hematoma:
    volume_ml = min(volume_ml, {"thalamus": 22.0, "cerebellum": 22.0}.get(site, 95.0))
    radius = (volume_ml * 1e3 / (4 / 3 * math.pi)) ** (1 / 3)
    if site == "putamen":
        center = (side * (26.0 + 0.25 * radius), -2.0, 6.0)
        shape = (0.82, 1.28, 0.95)
    elif site == "thalamus":
        center, shape = (side * (11.0 + 0.3 * radius), 14.0, 7.0), (0.92, 1.1, 1.0)
    elif site == "cerebellum":
        center, shape = (side * 22.0, 44.0, -34.0), (1.05, 1.0, 0.95)
    else:
        x, y, z = _direction(rng.uniform(-75, 75), rng.uniform(2, 50), side)
        # Just below the cortex, wholly within the brain.
        inner = np.array([CAVITY_X_MM, CAVITY_Y_MM, CAVITY_UP_MM]) - radius - 6.0
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
