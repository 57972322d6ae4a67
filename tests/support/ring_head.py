"""A head of known numbers: rings of skin, bone and brain with a blur and noise of choice."""

import numpy as np

PIXEL_MM = 0.5
SIDE = 320
# Radii of ellipses: skin, outer table, inner table; half width of the ventricle, mm.
SKIN_MM, OUTER_MM, INNER_MM, VENTRICLE_MM = 74.0, 68.0, 61.0, 9.0


def ring_head(
    sigma_mm: float = 0.6,
    noise_hu: float = 0.0,
    noise_sigma_mm: float = 0.5,
    slices: int = 2,
    pixel_mm: float = PIXEL_MM,
    seed: int = 0,
) -> np.ndarray:
    """Hounsfield units of equal slices, float32 [slices, side, side].

    Args:
      sigma_mm: Standard deviation of the scanner's blur, a Gaussian.
      noise_hu: Standard deviation of the noise.
      noise_sigma_mm: Standard deviation of the Gaussian that colours the noise.
      slices: Number of slices.
      pixel_mm: Side of a pixel.
      seed: Seed of the noise.
    """
    side = round(SIDE * PIXEL_MM / pixel_mm)
    axis = (np.arange(side) - (side - 1) / 2) * pixel_mm
    radius = np.hypot(axis[:, None], axis)
    sharp = np.full((side, side), -1000.0)
    # Drawn on the pixels' own grid: a share of each pixel, so that edges lie between pixels.
    for edge_mm, value in ((SKIN_MM, 20.0), (OUTER_MM, 900.0), (INNER_MM, 30.0)):
        share = np.clip((edge_mm - radius) / pixel_mm + 0.5, 0, 1)
        sharp = sharp * (1 - share) + value * share
    # Grey matter around the white, fluid in the middle.
    for edge_mm, value, around in ((INNER_MM, 38.0, 45.0), (VENTRICLE_MM, 5.0, 0.0)):
        share = np.clip((edge_mm - radius) / pixel_mm + 0.5, 0, 1)
        share *= np.clip((radius - around) / pixel_mm + 0.5, 0, 1) if around else 1.0
        sharp = sharp * (1 - share) + value * share
    image = filtered(sharp, sigma_mm, pixel_mm)
    rng = np.random.default_rng(seed)
    volume = np.repeat(image[None], slices, axis=0)
    if noise_hu:
        noise = [
            filtered(rng.standard_normal(image.shape), noise_sigma_mm, pixel_mm)
            for _ in range(slices)
        ]
        volume = volume + noise_hu * np.stack([part / part.std() for part in noise])
    return volume.astype(np.float32)


def filtered(image: np.ndarray, sigma_mm: float, pixel_mm: float) -> np.ndarray:
    """Blurs an image by a Gaussian, exactly, by its Fourier transform."""
    axis = np.fft.fftfreq(len(image), pixel_mm)
    transfer = np.exp(-2 * (np.pi * sigma_mm) ** 2 * (axis[:, None] ** 2 + axis**2))
    return np.fft.ifft2(np.fft.fft2(image) * transfer).real
