"""Shares of blood on the drawing grid -> bit masks of a slice."""

from __future__ import annotations

import cv2
import numpy as np

from ich_tf.labels import SUBTYPES


def bit_mask(blood: np.ndarray, step_mm: float, matrix: int, min_area_mm2: float) -> np.ndarray:
    """The voxels that are at least half filled with each subtype's blood.

    Args:
      blood: Share of each subtype's blood, float32 [5, size, size], 0 to 1.
      step_mm: Distance between pixels of `blood`.
      matrix: Rows and columns of the mask.
      min_area_mm2: Smallest area of a subtype that the mask contains.

    Returns:
      uint8 [matrix, matrix], bit k for class k in the order of `labels.CLASSES`.
    """
    mask = np.zeros((matrix, matrix), np.uint8)
    for subtype in range(len(SUBTYPES)):
        area = float((blood[subtype] >= 0.5).sum()) * step_mm**2
        if area < max(min_area_mm2, 1e-9):
            continue
        interpolation = cv2.INTER_AREA if matrix < blood.shape[1] else cv2.INTER_LINEAR
        resized = cv2.resize(blood[subtype], (matrix, matrix), interpolation=interpolation)
        # Coarse pixels may all be filled less than half: the mask is then the fullest one.
        mask[resized >= min(0.5, float(resized.max()))] |= np.uint8(1 << subtype)
    mask[mask > 0] |= np.uint8(1 << len(SUBTYPES))
    return mask
