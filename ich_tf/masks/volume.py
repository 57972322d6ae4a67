"""What a mask file holds, whatever its format: bits on planes in patient coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.masks.errors import MaskError, MaskReason
from ich_tf.masks.planes import SAME_PLACE_MM, Plane, places_mm

# The sine of the angle between planes that count as parallel: headers are rounded.
_MAX_SINE = 0.01


@dataclass(frozen=True, eq=False)
class MaskVolume:
    """Masks on parallel planes.

    Attributes:
      planes: Planes in their order along their common normal.
      bits: Bit masks, uint8 [n, rows, columns], bit k for class k of `labels.CLASSES`.
      annotated: Bits of the classes that the file tells of.
      sparse: Whether a slice without a plane is empty: such a file leaves out what has no mask.
        Otherwise nobody looked at that slice.
    """

    planes: tuple[Plane, ...]
    bits: np.ndarray
    annotated: int
    sparse: bool = False

    def __post_init__(self) -> None:
        check_stack(self.planes)


@dataclass(frozen=True, eq=False)
class ImageVolume:
    """The image that a mask was drawn on, as it comes with the mask.

    Attributes:
      planes: Planes in their order along their common normal.
      values: Grey values of each plane, float32 [rows, columns].
    """

    planes: tuple[Plane, ...]
    values: Sequence[np.ndarray] | np.ndarray

    def __post_init__(self) -> None:
        check_stack(self.planes)


def check_stack(planes: Sequence[Plane]) -> None:
    """Checks that planes are parallel, and in their order along the normal of the first.

    Raises:
      MaskError: MASK_FORMAT for no planes, MASK_GEOMETRY otherwise.
    """
    if not planes:
        raise MaskError(MaskReason.MASK_FORMAT, "holds no planes of pixels; expected one or more.")
    normal = planes[0].normal
    for plane in planes:
        sine = float(np.linalg.norm(np.cross(normal, plane.normal)))
        if not sine <= _MAX_SINE:
            raise MaskError(
                MaskReason.MASK_GEOMETRY,
                f"has planes at an angle of {np.degrees(np.arcsin(min(sine, 1.0))):.1f} degrees to "
                "each other; expected parallel ones.",
            )
    if not (np.diff(places_mm(planes, normal)) >= SAME_PLACE_MM).all():
        raise MaskError(
            MaskReason.MASK_GEOMETRY, "has two planes in the same place; expected one at each."
        )
