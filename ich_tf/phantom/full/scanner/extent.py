"""Where a painted head has tissue: the scanner needs no other knowledge of its anatomy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

# Points of the head frame (x, y, z, float32 [n, rows, columns], mm) -> Hounsfield units of that
# shape, and shares of the five subtypes of blood, [5, n, rows, columns].
Paint = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Lowest and highest x, y and z of the points that are tried, mm: no head is larger. A neck goes on
# below them.
_LOW, _HIGH = (-114.0, -144.0, -138.0), (114.0, 138.0, 126.0)
# Distance between the points that are tried.
STEP_MM = 6.0
_TISSUE_HU = -300.0
# What is denser than this is drawn, also hair.
_AIR_HU = -985.0


@dataclasses.dataclass(frozen=True, eq=False)
class Extent:
    """Points of a head, on a coarse grid.

    Attributes:
      points: Points of the head frame that are not air, hair included, float64 [n, 3], mm.
      tissue: Points among these with tissue, float64 [m, 3].
    """

    points: np.ndarray
    tissue: np.ndarray


def measure_extent(paint: Paint) -> Extent:
    """Looks where a head has tissue.

    Args:
      paint: The head.

    Raises:
      ValueError: If no point has tissue.
    """
    x, y, z = (
        np.arange(low, high + 1.0, STEP_MM, dtype=np.float32)
        for low, high in zip(_LOW, _HIGH, strict=True)
    )
    shape = (len(z), len(y), len(x))
    points = (
        np.broadcast_to(x[None, None, :], shape).copy(),
        np.broadcast_to(y[None, :, None], shape).copy(),
        np.broadcast_to(z[:, None, None], shape).copy(),
    )
    hu, _ = paint(*points)
    tissue = hu > _TISSUE_HU
    if not tissue.any():
        raise ValueError(
            f"The head has no point above {_TISSUE_HU:.0f} HU between {_LOW} and {_HIGH} mm; a "
            "scan needs one."
        )
    return Extent(
        *(
            np.stack([axis[found] for axis in points], axis=1).astype(np.float64)
            for found in (hu > _AIR_HU, tissue)
        )
    )
