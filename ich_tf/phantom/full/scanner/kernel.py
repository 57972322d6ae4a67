"""Reconstruction kernels: how much of each spatial frequency an image keeps, and its noise has."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

# Noise lacks the blur of focal spot and detector: its frequencies of 50 and 10 % over a head's.
_NOISE_HALF, _NOISE_TENTH = 1.38, 1.07


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel.

    The modulation transfer is exp(-ln 2 (f / half)^p), with the power p that makes it 10 % at
    `tenth`, and a bump for kernels that enhance edges. Beyond `tenth` it falls to 0 at 1.35 times
    that frequency.

    Ranges: a GE head scan of 28 slices (kernel STD+) measured 0.35 and 0.68 per mm at the skull's
    edge. Others are chosen around it, in the order that vendors give their kernels.
    Edge enhancement of sharp kernels: transfer above 1 (Boone, "Determination of the presampled MTF
    in computed tomography", Medical Physics 2001).

    Attributes:
      name: Name, as a header has it.
      half: Frequency at which the modulation transfer is 50 %, 1/mm: soft 0.27 to 0.33, standard
        0.31 to 0.38, sharp 0.45 to 0.60.
      tenth: Frequency at which it is 10 %, 1/mm: `half` times 1.95 to 2.3; standard 2.05 to 2.4,
        sharp 1.6 to 1.9.
      overshoot: Height of the bump: soft 0, standard 0 to 0.05, sharp 0.05 to 0.25.
    """

    name: str
    half: float
    tenth: float
    overshoot: float

    def transfer(self, frequency: np.ndarray) -> np.ndarray:
        """Modulation transfer, 1 at frequency 0.

        Args:
          frequency: Spatial frequency, 1/mm, any shape.

        Examples:
          >>> Kernel("STANDARD", 0.35, 0.70, 0.0).transfer(np.array([0.0, 0.35, 0.70])).round(3)
          array([1. , 0.5, 0.1])
        """
        relative = frequency / self.half
        power = math.log(math.log(10) / math.log(2)) / math.log(self.tenth / self.half)
        bump = 1.0 + self.overshoot * np.exp(-(((relative - 0.6) / 0.3) ** 2))
        limit = np.clip((1.35 - frequency / self.tenth) / 0.35, 0.0, 1.0)
        return np.asarray(np.exp(-math.log(2) * relative**power) * bump * limit)

    def grain(self, frequency: np.ndarray, smoothing: float) -> np.ndarray:
        """Amplitude spectrum of the noise, in any unit.

        Filtered back projection of white noise has the power f M(f)^2 (Riederer, Pelc and Chesler,
        "The noise power spectrum in computed X-ray tomography", Phys. Med. Biol. 1978), where M
        lacks the blur of focal spot and detector: they blur heads, and noise arises behind them.
        In a GE head scan of 28 slices, M of the noise that its slices of 4 mm have and those of
        7 mm lack is 50 % at 0.49 per mm and 10 % at 0.79; at the skull's edge it is 0.35 and 0.68.
        Iterative reconstruction moves noise to lower frequencies.

        Args:
          frequency: Spatial frequency, 1/mm, any shape.
          smoothing: Strength of iterative reconstruction, 0 (none) to 1.
        """
        slower = 1.0 - 0.25 * smoothing
        kernel = dataclasses.replace(
            self,
            half=_NOISE_HALF * slower * self.half,
            tenth=_NOISE_TENTH * slower * self.tenth,
        )
        return np.asarray(np.sqrt(frequency) * kernel.transfer(frequency))


def draw_kernel(rng: np.random.Generator) -> Kernel:
    """Draws a kernel: soft, standard or sharp; chosen: 15, 75 and 10 %.

    Args:
      rng: Random generator of the protocol.
    """
    kind, at, wide, high = rng.uniform(size=4)
    if kind < 0.15:
        half = 0.27 + 0.06 * at
        return Kernel("SOFT", half, half * (1.95 + 0.35 * wide), 0.0)
    if kind < 0.9:
        half = 0.31 + 0.07 * at
        return Kernel("STANDARD", half, half * (2.05 + 0.35 * wide), 0.05 * high)
    half = 0.45 + 0.15 * at
    return Kernel("SHARP", half, half * (1.6 + 0.3 * wide), 0.05 + 0.2 * high)
