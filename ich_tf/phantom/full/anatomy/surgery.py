"""What surgeons leave: burr holes, craniotomies, plates, catheters, clips and coils."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.lattice import Points
from ich_tf.phantom.shapes import capsule, share

# Where lines through the vault start, in the standard head.
_MIDDLE = (0.0, 5.0, 10.0)
_PLATE_MM, _METAL_HU = 5.5, 3000.0


@dataclasses.dataclass(frozen=True)
class Opening:
    """A burr hole, or the gap around a bone flap.

    Attributes:
      axis: Unit vector from the middle of the head through the opening.
      radius_mm: Radius of the hole, 6 to 8, or of the flap, 22 to 42; usual sizes of perforators
        and of pterional and parietal flaps.
      gap_mm: Width of the gap around a flap, 1.2 to 3; 0 for a hole.
      plates: Directions in which plates of titanium bridge the gap, radians.
    """

    axis: tuple[float, float, float]
    radius_mm: float
    gap_mm: float
    plates: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Rod:
    """A catheter, or the blade of a clip.

    Attributes:
      start: x, y and z of one end in the standard head, mm.
      end: x, y and z of the other end.
      radius_mm: Radius: 1.2 to 1.6 of a catheter, 0.8 to 1.2 of a clip, 2.5 to 4.5 of coils.
      hu: Hounsfield units: 150 to 500 of silicone with barium, 3,000 of metal.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius_mm: float
    hu: float


@dataclasses.dataclass(frozen=True)
class Surgery:
    """What a patient has of it; most have nothing.

    Attributes:
      openings: Burr holes and craniotomies.
      rods: Catheters, clips, coils.
    """

    openings: tuple[Opening, ...]
    rods: tuple[Rod, ...]

    def open_bone(self, ground: Ground, outer: np.ndarray) -> None:
        """Removes bone.

        Args:
          ground: The points.
          outer: Distance from the outer surface of the skull, mm, changed in place.
        """
        for opening in self.openings:
            along, across = _along(opening.axis, ground.points)
            if opening.gap_mm:
                closed = np.abs(across - opening.radius_mm) - 0.5 * opening.gap_mm
            else:
                closed = across - opening.radius_mm
            closed = np.maximum(closed, 40.0 - along)
            np.minimum(outer, closed, out=outer)

    def add_hardware(self, ground: Ground, vault: np.ndarray, dense: np.ndarray) -> None:
        """Adds plates, catheters, clips and coils.

        Args:
          ground: The points.
          vault: Distance from the inner surface of the vault, mm, positive inside.
          dense: Hounsfield units of what is dense, changed in place.
        """
        for opening in self.openings:
            for angle in opening.plates:
                center = _on_rim(opening, angle)
                along, across = _along(center, ground.points)
                bone = ground.traits.skull_mm
                plate = np.minimum(_PLATE_MM - across, 0.9 - np.abs(vault + bone + 0.7))
                np.maximum(dense, share(np.where(along > 0, plate, -9.0)) * _METAL_HU, out=dense)
        for rod in self.rods:
            low = [min(pair) - 5.0 for pair in zip(rod.start, rod.end, strict=True)]
            high = [max(pair) + 5.0 for pair in zip(rod.start, rod.end, strict=True)]
            region = ground.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
            if region is None:
                continue
            x, y, z = ground.crop(region).points
            ends = (*rod.start, rod.radius_mm), (*rod.end, rod.radius_mm)
            part = share(capsule(x, y, z, *ends, 1.0))
            np.maximum(dense[region], part * np.float32(rod.hu), out=dense[region])


def draw_surgery(rng: np.random.Generator) -> Surgery:
    """Draws what a patient has; chances are chosen: 6 % of all patients have something."""
    kind = rng.uniform()
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    if kind < 0.02:
        return _catheter(rng, side)
    if kind < 0.035:
        axis = _direction(side, rng.uniform(20.0, 150.0), rng.uniform(15.0, 55.0))
        return Surgery((Opening(axis, float(rng.uniform(6.0, 8.0)), 0.0, ()),), ())
    if kind < 0.055:
        plates = tuple(float(angle + rng.normal(0.0, 0.3)) for angle in (0.3, 2.4, 4.5))
        axis = _direction(side, rng.uniform(40.0, 120.0), rng.uniform(5.0, 40.0))
        flap = Opening(axis, float(rng.uniform(22.0, 42.0)), float(rng.uniform(1.2, 3.0)), plates)
        return Surgery((flap,), _clip(rng, side) if rng.uniform() < 0.4 else ())
    if kind < 0.06:
        x = side * float(rng.uniform(0.0, 12.0))
        coils = Rod((x, -12.0, -22.5), (x, -12.0, -21.5), float(rng.uniform(2.5, 4.5)), _METAL_HU)
        return Surgery((), (coils,))
    return Surgery((), ())


def _catheter(rng: np.random.Generator, side: float) -> Surgery:
    """A shunt or a drain: from a burr hole to the frontal horn."""
    frontal = bool(rng.uniform() < 0.6)
    axis = _direction(side, 28.0, 48.0) if frontal else _direction(side, 140.0, 25.0)
    tip = (side * 6.0, -12.0 if frontal else 5.0, 10.0)
    entry = tuple(m + 84.0 * a for m, a in zip(_MIDDLE, axis, strict=True))
    radius, hu = float(rng.uniform(1.2, 1.6)), float(rng.uniform(150.0, 500.0))
    catheter = Rod((entry[0], entry[1], entry[2]), tip, radius, hu)
    return Surgery((Opening(axis, 6.0, 0.0, ()),), (catheter,))


def _clip(rng: np.random.Generator, side: float) -> tuple[Rod, ...]:
    x, y = side * float(rng.uniform(4.0, 30.0)), float(rng.uniform(-20.0, -12.0))
    length = float(rng.uniform(6.0, 11.0))
    return (Rod((x, y, -21.0), (x + side * length, y + 2.0, -19.0), 1.0, _METAL_HU),)


def _direction(side: float, turn: float, rise: float) -> tuple[float, float, float]:
    """Unit vector: degrees from the front to one side, and upwards."""
    angle, up = math.radians(turn), math.radians(rise)
    flat = math.cos(up)
    return side * flat * math.sin(angle), -flat * math.cos(angle), math.sin(up)


def _on_rim(opening: Opening, angle: float) -> tuple[float, float, float]:
    """Unit vector through a point of the opening's edge."""
    axis = np.array(opening.axis)
    first = np.cross(axis, (0.0, 0.0, 1.0))
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    # The vault is about 80 mm from the middle.
    rim = 80.0 * axis + opening.radius_mm * (math.cos(angle) * first + math.sin(angle) * second)
    x, y, z = rim / np.linalg.norm(rim)
    return float(x), float(y), float(z)


def _along(axis: tuple[float, float, float], points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Distance along a line through the middle of the head, and from it, mm."""
    offsets = [p - np.float32(m) for p, m in zip(points, _MIDDLE, strict=True)]
    along = sum(o * np.float32(a) for o, a in zip(offsets, axis, strict=True))
    square = sum(o * o for o in offsets) - along * along
    return np.asarray(along), np.sqrt(np.maximum(square, 0.0))
