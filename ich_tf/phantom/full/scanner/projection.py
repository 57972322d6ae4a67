"""Images to sinograms and back, by rotation and sums, on a coarse grid.

Only what a scanner adds to a head is reconstructed here (hardening, starved rays, motion): it has
little detail, and 128 pixels across a field of view show it.
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft

SIZE = 128
ANGLES = 128


class Projector:
    """Parallel rays through a square image, over half a turn."""

    def __init__(self, step_mm: float) -> None:
        """Prepares the rotations and the filter.

        Args:
          step_mm: Distance between pixels, and between rays.
        """
        self.step_mm = step_mm
        center = ((SIZE - 1) / 2, (SIZE - 1) / 2)
        self._turns = [
            cv2.getRotationMatrix2D(center, 180.0 * angle / ANGLES, 1.0) for angle in range(ANGLES)
        ]
        # The ramp, which the finite image would turn into an offset, from its samples in space
        # (Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, equation 61).
        at = np.minimum(np.arange(2 * SIZE), 2 * SIZE - np.arange(2 * SIZE))
        kernel = np.where(at % 2 == 1, -1.0 / (np.pi * np.maximum(at, 1)) ** 2, 0.0)
        kernel[0] = 0.25
        ramp = scipy.fft.rfft(kernel).real / step_mm
        window = 0.5 + 0.5 * np.cos(np.pi * np.arange(SIZE + 1) / SIZE)
        self._filter = (ramp * window * np.pi / ANGLES).astype(np.float32)

    def project(self, images: np.ndarray) -> np.ndarray:
        """Integrals along rays.

        Args:
          images: float32 [SIZE, SIZE, channels], per mm.

        Returns:
          Sinograms, float32 [ANGLES, SIZE, channels].
        """
        sums = np.empty((ANGLES, SIZE, images.shape[2]), np.float32)
        for angle, turn in enumerate(self._turns):
            turned = cv2.warpAffine(images, turn, (SIZE, SIZE))
            sums[angle] = cv2.reduce(turned, 0, cv2.REDUCE_SUM)[0].reshape(SIZE, -1)
        return sums * np.float32(self.step_mm)

    def filter(self, sinogram: np.ndarray) -> np.ndarray:
        """Filters rays so that `spread` reconstructs an image from them.

        Args:
          sinogram: float32 [ANGLES, SIZE].
        """
        spectrum = scipy.fft.rfft(sinogram, 2 * SIZE, axis=1) * self._filter
        return np.asarray(scipy.fft.irfft(spectrum, 2 * SIZE, axis=1)[:, :SIZE])

    def spread(self, sinograms: np.ndarray) -> np.ndarray:
        """Sums over all angles of the ray through each pixel.

        Args:
          sinograms: float32 [ANGLES, SIZE, channels].

        Returns:
          float32 [SIZE, SIZE, channels].
        """
        total = np.zeros((SIZE, SIZE, sinograms.shape[2]), np.float32)
        for rays, turn in zip(sinograms, self._turns, strict=True):
            band = np.repeat(rays[None], SIZE, axis=0)
            total += cv2.warpAffine(
                band, turn, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            ).reshape(total.shape)
        return total
