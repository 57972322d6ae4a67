"""What all bleeds have in common: a shape that is sized to a volume, and blood."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import numpy as np

from ich_tf.phantom.full.bleeds.blood import Blood
from ich_tf.phantom.full.voxels import Voxels

AnyBleed = TypeVar("AnyBleed", bound="Bleed")


@dataclasses.dataclass(frozen=True, eq=False)
class Bleed:
    """A bleed of one subtype; the base of all shapes.

    Attributes:
      subtype: Index of `SUBTYPES`.
      blood: The blood.
      pushing: Volume of brain that it pushes aside, relative to its own: below 1 if some is
        destroyed, above 1 with the swelling around it.
    """

    subtype: int
    blood: Blood
    pushing: float

    def near(self, voxels: Voxels) -> np.ndarray:
        """Whether the bleed may reach a voxel, bool of the shape of `voxels.x`: a quick test."""
        raise NotImplementedError

    def fill(self, part: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """Share of each voxel that blood takes, and the distance from its surface.

        Args:
          part: Voxels, of any shape.

        Returns:
          Share, 0 to 1, of voxels that no other bleed takes; distance in mm, positive inside.
        """
        raise NotImplementedError

    def sized(self: AnyBleed, size: float) -> AnyBleed:
        """The bleed with another size.

        Args:
          size: Natural logarithm of about the factor of the volume: 0 for no change.
        """
        raise NotImplementedError

    def later(self: AnyBleed, days: float) -> AnyBleed:
        """The bleed after some days.

        Args:
          days: Time since.
        """
        return dataclasses.replace(self, blood=self.blood.later(days))

    def fall(self, part: Voxels) -> np.ndarray | None:
        """Loss of density around the bleed, HU, by oedema or a crack of the bone; None for none."""
        return None


def fit_volume(
    bleed: AnyBleed, interior: Voxels, voxel_ml: float, volume_ml: float
) -> tuple[AnyBleed, float]:
    """Sizes a bleed until it has a volume, and places the level of its blood.

    Args:
      bleed: The bleed.
      interior: Voxels of the cranial cavity, one-dimensional.
      voxel_ml: Volume of a voxel.
      volume_ml: Volume to reach.

    Returns:
      The bleed and its volume in ml, which is smaller if there is no more room.
    """
    low, high = -7.0, 5.0
    sized, found, part, filled = bleed, -1.0, interior, np.zeros(0, np.float32)
    for _ in range(14):
        size = 0.5 * (low + high)
        trial = bleed.sized(size)
        part = interior.take(trial.near(interior))
        filled = trial.fill(part)[0]
        volume = float(filled.sum()) * voxel_ml
        if abs(volume - volume_ml) < abs(found - volume_ml):
            sized, found, level_at = trial, volume, part.y[filled > 0.5]
        if abs(volume - volume_ml) < 0.01 * volume_ml:
            break
        low, high = (size, high) if volume < volume_ml else (low, size)
    blood = sized.blood.levelled(level_at)
    return dataclasses.replace(sized, blood=blood), found
