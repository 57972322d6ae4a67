"""A slice on a grid of 2 mm, on which anatomy is looked for: the same of any matrix, and quick."""

from __future__ import annotations

import cv2
import numpy as np

GRID_MM = 2.0
# Bound for absurd spacings: 4,096 pixels a metre apart would make a grid of two million a side.
_LARGEST_GRID = 1024


def coarse(hu: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    """Averages a slice over a grid of 2 mm.

    Args:
      hu: Hounsfield units, float32 [H, W].
      spacing_mm: Distance between rows, and between columns.

    Returns:
      float32 [rows, columns], from 1 to 1024 a side.
    """
    rows, columns = (
        min(_LARGEST_GRID, max(1, round(n * mm / GRID_MM)))
        for n, mm in zip(hu.shape, spacing_mm, strict=True)
    )
    return cv2.resize(hu, (columns, rows), interpolation=cv2.INTER_AREA)
