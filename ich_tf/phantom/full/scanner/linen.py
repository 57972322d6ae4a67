"""What lies about a head: sheets, bands, cables and tubes.

They follow the head's outline, which is found in each slice. Air is within 10 HU of -1000 in a GE
head scan of 28 slices, folds of cloth are -900 to -600 HU; ranges are chosen around that.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.phantom.shapes import blend, share

# Head: above this; the smaller parts that lie beside it count, too.
_SKIN_HU = -500.0


@dataclasses.dataclass(frozen=True)
class Fold:
    """A layer of cloth under the head.

    Attributes:
      off_mm: Mean distance from the skin: 2 to 16.
      wave_mm: How far it waves: 0.5 to 4.
      waves: Its waves across and along, 1/mm, and their phase: 0.02 to 0.09; 0.01 to 0.05.
      top_mm: Height to which it reaches over the back of the head: 5 to 60.
      thick_mm: Thickness: 0.8 to 2.8.
      hu: Hounsfield units: -900 to -550.
    """

    off_mm: float
    wave_mm: float
    waves: tuple[float, float, float]
    top_mm: float
    thick_mm: float
    hu: float


@dataclasses.dataclass(frozen=True)
class Line:
    """A cable or tube along the body.

    Attributes:
      at_mm: x and y of it at z = 0: beside the head or before the face.
      slope: Change of x and y with z, -0.4 to 0.4.
      radius_mm: Outer radius: cables 1 to 2, tubes 2.5 to 5.
      core_mm: Radius of the core: wire 0.4 to 0.8; of tubes, of air, 60 to 80 % of `radius_mm`.
      hu: Hounsfield units of the wall: -100 to 250.
      core_hu: Those of the core: wire 2,000 to 3,000; air.
      reach: Lowest and highest z.
    """

    at_mm: tuple[float, float]
    slope: tuple[float, float]
    radius_mm: float
    core_mm: float
    hu: float
    core_hu: float
    reach: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Linen:
    """What lies about a head.

    Attributes:
      folds: Layers of cloth: none in 15 %, else 1 to 4.
      lines: Cables and tubes: none in 75 %, else 1 to 3.
      band: Lowest and highest z of a band over the forehead: empty in 85 %.
      band_hu: Its Hounsfield units: -700 to -200.
    """

    folds: tuple[Fold, ...]
    lines: tuple[Line, ...]
    band: tuple[float, float]
    band_hu: float

    def paint(
        self,
        hu: np.ndarray,
        air: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        z: np.ndarray,
        step_mm: float,
    ) -> None:
        """Adds it to a slice, in place.

        Args:
          hu: Hounsfield units, float32 [size, size].
          air: Share of air, which it may take, of the same shape.
          x: Position to the left of the middle, [1, size], mm.
          y: Position down from the lowest point of the head's back, [size, 1], mm.
          z: Position to the crown from the head's origin, [size, 1], mm.
          step_mm: Distance between pixels.
        """
        head = (air < 0.5).astype(np.uint8)
        if not head.any():
            return
        off = cv2.distanceTransform(1 - head, cv2.DIST_L2, 3) * np.float32(step_mm)
        for fold in self.folds:
            across, along, phase = fold.waves
            wave = np.sin(across * x + along * z + phase) + np.sin(1.7 * across * x - phase)
            layer = share(0.5 * fold.thick_mm - np.abs(off - fold.off_mm - fold.wave_mm * wave))
            blend(hu, air * layer * share(y + fold.top_mm, 8.0), fold.hu)
        if self.band[0] < self.band[1]:
            layer = share(1.0 - np.abs(off - 1.2)) * share(-60.0 - y, 4.0)
            inside = share(np.minimum(z - self.band[0], self.band[1] - z), 3.0)
            blend(hu, air * layer * inside, self.band_hu)
        for line in self.lines:
            _paint_line(line, hu, air, x, y, z)


def draw_linen(rng: np.random.Generator) -> Linen:
    """Draws what lies about a head.

    Args:
      rng: Random generator of what surrounds the head.
    """
    folds = [_draw_fold(rng) for _ in range(int(rng.choice(5, p=[0.15, 0.2, 0.25, 0.2, 0.2])))]
    lines = [_draw_line(rng) for _ in range(int(rng.choice(4, p=[0.75, 0.15, 0.07, 0.03])))]
    start = float(rng.uniform(-10.0, 30.0))
    banded = bool(rng.uniform() < 0.15)
    return Linen(
        folds=tuple(folds),
        lines=tuple(lines),
        band=(start, start + float(rng.uniform(15.0, 40.0))) if banded else (0.0, 0.0),
        band_hu=float(rng.uniform(-700.0, -200.0)),
    )


def _draw_fold(rng: np.random.Generator) -> Fold:
    return Fold(
        off_mm=float(rng.uniform(2.0, 16.0)),
        wave_mm=float(rng.uniform(0.5, 4.0)),
        waves=(
            float(rng.uniform(0.02, 0.09)),
            float(rng.uniform(0.01, 0.05)),
            float(rng.uniform(0.0, 6.3)),
        ),
        top_mm=float(rng.uniform(5.0, 60.0)),
        thick_mm=float(rng.uniform(0.8, 2.8)),
        hu=float(rng.uniform(-900.0, -550.0)),
    )


def _draw_line(rng: np.random.Generator) -> Line:
    cable = bool(rng.uniform() < 0.6)
    side = 1.0 if rng.uniform() < 0.5 else -1.0
    before = bool(rng.uniform() < 0.4)
    across, down = rng.uniform(0.0, 40.0), rng.uniform(-225.0, -205.0)
    if not before:
        across, down = rng.uniform(88.0, 112.0), rng.uniform(-150.0, -10.0)
    radius = float(rng.uniform(1.0, 2.0) if cable else rng.uniform(2.5, 5.0))
    low = float(rng.uniform(-120.0, -40.0))
    return Line(
        at_mm=(float(side * across), float(down)),
        slope=(float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.4, 0.4))),
        radius_mm=radius,
        core_mm=float(rng.uniform(0.4, 0.8)) if cable else radius * float(rng.uniform(0.6, 0.8)),
        hu=float(rng.uniform(-100.0, 250.0)),
        core_hu=float(rng.uniform(2000.0, 3000.0)) if cable else -1000.0,
        reach=(low, low + float(rng.uniform(40.0, 160.0))),
    )


def _paint_line(
    line: Line, hu: np.ndarray, air: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> None:
    off = np.hypot(x - line.at_mm[0] - line.slope[0] * z, y - line.at_mm[1] - line.slope[1] * z)
    inside = share(np.minimum(z - line.reach[0], line.reach[1] - z), 4.0)
    blend(hu, air * inside * share(line.radius_mm - off), line.hu)
    blend(hu, air * inside * share(line.core_mm - off), line.core_hu)
