"""What a head lies in: a cradle or a table, with cushions.

Positions are patient coordinates relative to the lowest point of the head's back: x to the left,
y down, z to the crown, mm. Measured on a GE head scan of 28 slices: a shell of two upright plates,
2.5 mm thick, about 400 HU, 194 mm apart, and pads of -970 HU with skins of -880 HU; on two Philips
scans: a shell that is a half circle of 198 to 208 mm with upright ends, 3 mm thick, above 80 HU,
and a foam crescent with a skin. Other ranges are chosen around these.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.shapes import share


@dataclasses.dataclass(frozen=True)
class Holder:
    """A head holder with its cushions.

    Attributes:
      kind: `cradle` (85 %) or `table`.
      center_mm: x of its middle: 0 +- 4.
      gap_mm: Distance from the back of the head to the shell: 8 to 32.
      half_mm: Half of a cradle's inner width: 94 to 110.
      arm_mm: Height of a cradle's ends over the back of the head: 60 to 150.
      corner_mm: Height over the shell's lowest point at which the plates begin to bend: 50 to 115.
      power: Shape of the bend: 2 (ellipse) to 4 (box).
      shell_mm: Thickness of the shell: 2 to 4.
      shell_hu: Its Hounsfield units: 80 to 500 (plastics, with glass or carbon).
      core_mm: Thickness of a foam core between two shells: tables 15 to 40; cradles 0 in 70 %,
        else 4 to 10.
      foam_hu: Hounsfield units of foam: -985 to -930.
      skin_hu: Those of its skin: -930 to -700.
      skin_mm: Thickness of its skin: 0.6 to 1.6.
      hollow_mm: Radius of the cushion's hollow: 95 to 150.
      sink_mm: How deep the head lies in the cushion: 0 to 12.
      pads: Whether pads lie at both sides of the head: 60 %.
      pad_mm: Width of a pad: 10 to 26.
      pad_top_mm: Height of the pads' upper end over the back of the head: 30 to 110.
      window: Lowest and highest z between which the ends are lower, by 70 mm; empty in 70 %.
    """

    kind: str
    center_mm: float
    gap_mm: float
    half_mm: float
    arm_mm: float
    corner_mm: float
    power: float
    shell_mm: float
    shell_hu: float
    core_mm: float
    foam_hu: float
    skin_hu: float
    skin_mm: float
    hollow_mm: float
    sink_mm: float
    pads: bool
    pad_mm: float
    pad_top_mm: float
    window: tuple[float, float]

    def paint(
        self, hu: np.ndarray, air: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
    ) -> None:
        """Adds the holder to a slice, in place.

        Args:
          hu: Hounsfield units, float32 [size, size].
          air: Share of air, which the holder may take, of the same shape.
          x: Position to the left, [1, size].
          y: Position down, [size, 1].
          z: Position to the crown, [size, 1].
        """
        x = x - np.float32(self.center_mm)
        outside = self._shell(x, y)
        # Foam fills the shell up to a hollow for the head.
        hollow = np.hypot(x, y + np.float32(self.hollow_mm - self.sink_mm)) - self.hollow_mm
        rim = y + np.float32(0.32 * self.hollow_mm)
        foam = np.minimum(np.minimum(-outside - 0.5, hollow), rim)
        self._cushion(hu, air, foam)
        if self.pads:
            self._cushion(hu, air, self._pad(x, y, z, outside))
        low = self.arm_mm - 70.0 * share(np.minimum(z - self.window[0], self.window[1] - z), 12.0)
        upright = share(y + low, 3.0)
        inner = outside + 0.5 * self.shell_mm
        shell = share(0.5 * self.shell_mm - np.abs(inner - 0.5 * self.shell_mm))
        if self.core_mm:
            beyond = inner - self.core_mm - 0.5 * self.shell_mm
            shell = np.maximum(shell, share(0.5 * self.shell_mm - np.abs(beyond)))
            core = share(np.minimum(inner, self.core_mm - inner))
            _blend(hu, air * core * upright, self.foam_hu)
        _blend(hu, air * shell * upright, self.shell_hu)

    def _shell(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance from the shell's inner side, mm, positive outside."""
        if self.kind == "table":
            return np.asarray(y - np.float32(self.gap_mm) + x * x * np.float32(1 / 900.0))
        down = np.maximum(y - np.float32(self.gap_mm - self.corner_mm), 0.0)
        down *= np.float32(self.half_mm / self.corner_mm)
        p = self.power
        return np.asarray((np.abs(x) ** p + down**p) ** (1 / p) - np.float32(self.half_mm))

    def _pad(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, outside: np.ndarray) -> np.ndarray:
        """Distance from the surface of the side pads, mm, positive inside."""
        thick = 0.5 * self.pad_mm * (1.0 + 0.15 * np.sin(0.07 * z + 1.3 * (x > 0)))
        middle = outside + thick + 4.0
        low, high = 14.0, self.pad_top_mm
        beyond = np.maximum(np.abs(y + 0.5 * (low + high)) - 0.5 * (high - low) + thick, 0.0)
        return np.asarray(thick - np.hypot(middle, beyond))

    def _cushion(self, hu: np.ndarray, air: np.ndarray, inside: np.ndarray) -> None:
        _blend(hu, air * share(inside), self.foam_hu)
        skin = share(0.5 * self.skin_mm - np.abs(inside - 0.5 * self.skin_mm))
        _blend(hu, air * skin, self.skin_hu)


def draw_holder(rng: np.random.Generator) -> Holder:
    """Draws a head holder.

    Args:
      rng: Random generator of what surrounds the head.
    """
    table = bool(rng.uniform() < 0.15)
    cored = bool(rng.uniform() < 0.3)
    core_mm = float(rng.uniform(4.0, 10.0))
    window = float(rng.uniform(-40.0, 40.0)), float(rng.uniform(15.0, 50.0))
    windowed = bool(rng.uniform() < 0.3)
    return Holder(
        kind="table" if table else "cradle",
        center_mm=float(rng.normal(0.0, 4.0)),
        gap_mm=float(rng.uniform(8.0, 32.0)),
        half_mm=float(rng.uniform(94.0, 110.0)),
        arm_mm=float(rng.uniform(60.0, 150.0)),
        corner_mm=float(rng.uniform(50.0, 115.0)),
        power=float(rng.uniform(2.0, 4.0)),
        shell_mm=float(rng.uniform(2.0, 4.0)),
        shell_hu=float(rng.uniform(80.0, 500.0)),
        core_mm=float(rng.uniform(15.0, 40.0)) if table else core_mm if cored else 0.0,
        foam_hu=float(rng.uniform(-985.0, -930.0)),
        skin_hu=float(rng.uniform(-930.0, -700.0)),
        skin_mm=float(rng.uniform(0.6, 1.6)),
        hollow_mm=float(rng.uniform(95.0, 150.0)),
        sink_mm=float(rng.uniform(0.0, 12.0)),
        pads=bool(rng.uniform() < 0.6),
        pad_mm=float(rng.uniform(10.0, 26.0)),
        pad_top_mm=float(rng.uniform(45.0, 110.0)),
        window=(window[0], window[0] + window[1]) if windowed else (0.0, -100.0),
    )


def _blend(hu: np.ndarray, part: np.ndarray, value: float) -> None:
    hu += part * (np.float32(value) - hu)
