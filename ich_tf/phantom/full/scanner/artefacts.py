"""What a scanner adds to a slice, by projection: hardening, scatter, starved rays, motion.

The slice is projected once on a coarse grid, as water and bone. The error of each ray is
reconstructed alone, so that the slice keeps its detail. The same rays tell how noisy each pixel is.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ich_tf.phantom.full.scanner.hardening import BONE_SHARE, Hardening
from ich_tf.phantom.full.scanner.projection import ANGLES, SIZE, Projector
from ich_tf.phantom.full.scanner.protocol import Protocol

# Attenuation of water at the mean energy behind a head, 1/mm (70 keV: NIST, Hubbell and Seltzer,
# 1995).
_WATER_PER_MM = 0.0193
# Water and bone through the middle of a standard head, as mm of water.
_USUAL_MM = 190.0
# Bowtie filter: it evens out so much of a cylinder of water, mm.
_BOWTIE_MM, _BOWTIE_SHARE = 170.0, 1.0
# Rays with more noise variance than so many usual ones become streaks; scanners smooth what
# exceeds the second number (adaptive filters: Hsieh, Medical Physics 1998).
_STREAK_FROM, _STREAK_UP_TO = 6.0, 60.0
# Bone begins here; this much more is compact bone.
_BONE_FROM_HU, _BONE_HU = 150.0, 1500.0


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """A slice during which the head moved.

    Attributes:
      change: The slice at the other position minus the slice, HU, float32 [size, size].
      start: First angle at which the head is there, a share of the half turn.
      end: Angle from which it is back, of the same unit.
    """

    change: np.ndarray
    start: float
    end: float


class Artefacts:
    """What the scanner of one scan adds to its slices."""

    def __init__(self, protocol: Protocol, view_mm: float, density: float) -> None:
        """Prepares tables.

        Args:
          protocol: How the head is scanned.
          view_mm: Side of the slices.
          density: Noise power of the usual kernel (`noise.Grain.density`), mm3.
        """
        self._protocol = protocol
        self._projector = Projector(view_mm / SIZE)
        self._hardening = Hardening(protocol.kvp, protocol.hardening, protocol.scatter)
        step = view_mm / SIZE
        # Noise of one ray whose image has a deviation of 1 HU, HU mm.
        self._ray_noise = float(np.sqrt(density * ANGLES / (np.pi * step)))
        place = (np.arange(SIZE) - (SIZE - 1) / 2) * step
        chord = np.sqrt(np.maximum(_BOWTIE_MM**2 - 4.0 * place**2, 0.0))
        bowtie = np.exp(_BOWTIE_SHARE * _WATER_PER_MM * (_BOWTIE_MM - chord))
        self._bowtie = bowtie.astype(np.float32)

    def __call__(
        self, rng: np.random.Generator, image: np.ndarray, noise_hu: float, motion: Motion | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes what is added to a slice.

        Args:
          rng: Random generator of the slice.
          image: Hounsfield units, float32 [size, size].
          noise_hu: Noise in the middle of a standard head.
          motion: What moved; None for nothing.

        Returns:
          Hounsfield units to add, float32 [SIZE, SIZE]; noise relative to the middle of a standard
          head, of the same shape.
        """
        hu = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        bone = np.maximum(hu - _BONE_FROM_HU, 0.0) / _BONE_HU
        layers = [1.0 + hu / 1000.0 - BONE_SHARE * bone, bone]
        if motion is not None:
            layers.append(cv2.resize(motion.change, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
        rays = self._projector.project(np.stack(layers, axis=2).astype(np.float32))
        error = 1000.0 * self._hardening.excess(rays[..., 0], rays[..., 1])
        variance = self._variance(rays[..., 0] + BONE_SHARE * rays[..., 1])
        starved = np.clip(variance - _STREAK_FROM, 0.0, _STREAK_UP_TO)
        grain = rng.standard_normal(error.shape, np.float32)
        error += np.sqrt(starved) * grain * np.float32(noise_hu * self._ray_noise)
        if motion is not None:
            angle = np.arange(ANGLES) / ANGLES
            there = np.clip(20.0 * np.minimum(angle - motion.start, motion.end - angle), 0.0, 1.0)
            error += (there - there.mean())[:, None] * rays[..., 2]
        both = np.stack([self._projector.filter(error), np.minimum(variance, _STREAK_FROM)], axis=2)
        added, power = np.moveaxis(self._projector.spread(both.astype(np.float32)), 2, 0)
        return added, np.sqrt(np.maximum(power, 0.0) / ANGLES)

    def _variance(self, water_mm: np.ndarray) -> np.ndarray:
        """Noise variance of rays relative to one through the middle of a standard head."""
        protocol = self._protocol
        beyond = np.exp(_WATER_PER_MM * (np.maximum(water_mm, 0.0) - _USUAL_MM)) * self._bowtie
        # The tube's current follows the slice's densest rays.
        current = np.percentile(beyond, 95.0) ** protocol.modulation
        beyond /= np.float32(max(current, 0.05))
        photons = np.float32(protocol.electronics * np.exp(_WATER_PER_MM * _USUAL_MM))
        return np.asarray((beyond + photons * beyond * beyond) / (1.0 + photons))
