"""Noise with the spectrum of a kernel, and the image that the kernel lets through."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft

from ich_tf.phantom.full.scanner.kernel import Kernel
from ich_tf.phantom.full.scanner.sampling import DrawingGrid

# The kernel for which a protocol's noise is given.
_USUAL = Kernel("STANDARD", 0.35, 0.74, 0.0)
# Width of the edges that surfaces are drawn with, mm: `shapes.share` has 1.2, and where distances
# are rough, edges are steeper.
_DRAWN_EDGE_MM = 0.9
# Pixels that show a kernel's whole spectrum.
_FINE_MM = 0.6


class Resolution:
    """The kernel's blur, and the way from the drawing grid to the image's pixels."""

    def __init__(self, kernel: Kernel, grid: DrawingGrid, matrix: int) -> None:
        """Computes the transfer.

        Args:
          kernel: Reconstruction kernel.
          grid: Grid on which slices are drawn.
          matrix: Rows and columns of a slice.
        """
        self._grid, self._matrix = grid, matrix
        self._size = grid.fine + 2 * grid.fine_margin
        rows = np.fft.fftfreq(grid.size, grid.step_mm)
        columns = np.fft.rfftfreq(grid.size, grid.step_mm)
        frequency = np.hypot(rows[:, None], columns)
        # Drawn edges are soft already: what they took is given back, up to a factor of 2.5.
        drawn = np.maximum(np.sinc(_DRAWN_EDGE_MM * frequency), 0.4)
        transfer = kernel.transfer(frequency) / drawn
        # At the grid's limit nothing is left to ring.
        limit = 0.5 / grid.step_mm
        transfer *= np.clip((limit - frequency) / (0.12 * limit), 0.0, 1.0)
        # Centres of the first pixels differ by half of the pixels' difference.
        fine_mm = grid.step_mm * grid.size / self._size
        phase = np.exp(1j * np.pi * (fine_mm - grid.step_mm) * (rows[:, None] + columns))
        scale = (self._size / grid.size) ** 2
        self._transfer = (transfer * phase * scale).astype(np.complex64)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Blurs an image, and resamples it.

        Args:
          image: Hounsfield units, float32 [size, size] of the drawing grid.

        Returns:
          float32 [matrix, matrix].
        """
        size, margin = self._grid.size, self._grid.fine_margin
        spectrum = scipy.fft.rfft2(image, overwrite_x=True) * self._transfer
        if self._size > size:
            positive = (size + 1) // 2
            padded = np.zeros((self._size, self._size // 2 + 1), np.complex64)
            padded[:positive, : size // 2 + 1] = spectrum[:positive]
            padded[positive - size :, : size // 2 + 1] = spectrum[positive:]
            spectrum = padded
        fine = scipy.fft.irfft2(spectrum, (self._size, self._size), overwrite_x=True)
        fine = fine[margin:-margin, margin:-margin]
        if self._matrix == self._grid.fine:
            return np.ascontiguousarray(fine)
        # Coarse pixels are means of finer ones.
        return np.asarray(
            cv2.resize(fine, (self._matrix, self._matrix), interpolation=cv2.INTER_AREA)
        )


class Grain:
    """Correlated noise.

    Attributes:
      strength: Standard deviation relative to that of the usual kernel in pixels of 0.45 mm.
      density: Noise power at low frequencies divided by the frequency, for a standard deviation of
        1 with the usual kernel, mm3.
    """

    def __init__(self, kernel: Kernel, smoothing: float, matrix: int, spacing_mm: float) -> None:
        """Computes the spectrum.

        Args:
          kernel: Reconstruction kernel.
          smoothing: Strength of iterative reconstruction, 0 to 1.
          matrix: Rows and columns of the image.
          spacing_mm: Distance between its pixels.
        """
        rows, columns = np.fft.fftfreq(matrix, spacing_mm), np.fft.rfftfreq(matrix, spacing_mm)
        frequency = np.hypot(rows[:, None], columns)
        amplitude = kernel.grain(frequency, smoothing)
        fine = np.linspace(-1.3, 1.3, 261)
        plane = np.hypot(fine[:, None], fine)
        box = np.ones_like(fine)
        if spacing_mm > _FINE_MM:
            # Coarse pixels are means of finer ones.
            amplitude *= np.sinc(rows * spacing_mm)[:, None] * np.sinc(columns * spacing_mm)
            box = np.sinc(fine * spacing_mm)
        cell = (fine[1] - fine[0]) ** 2
        usual = float((_USUAL.grain(plane, 0.0) ** 2).sum() * cell)
        power = (kernel.grain(plane, smoothing) * box[:, None] * box) ** 2
        self.strength = float(np.sqrt(power.sum() * cell / usual))
        self.density = 1.0 / usual
        # Half of a spectrum: its inner columns count twice, the others lose their imaginary part.
        single = [0] if matrix % 2 else [0, -1]
        amplitude[:, single] *= np.sqrt(2.0)
        weight = np.full(amplitude.shape[1], 4.0)
        weight[single] = 1.0
        deviation = np.sqrt((weight * amplitude**2).sum()) / matrix**2
        self._amplitude = (amplitude * (self.strength / deviation)).astype(np.float32)
        self._matrix = matrix

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draws the noise of one slice, float32 [matrix, matrix], of deviation `strength`.

        Args:
          rng: Random generator of the slice.
        """
        parts = rng.standard_normal((*self._amplitude.shape, 2), np.float32)
        spectrum = parts.view(np.complex64)[..., 0] * self._amplitude
        return np.asarray(scipy.fft.irfft2(spectrum, (self._matrix,) * 2, overwrite_x=True))
