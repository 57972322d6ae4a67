"""All bleeds of a head: what they do to each voxel, and what is known of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.full.bleeds.bleed import Bleed
from ich_tf.phantom.full.bleeds.mass_effect import MassEffect
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.truth import BleedsTruth

# Difference between brain and fluid, HU: what a sulcus gains that is pressed empty.
_BRAIN_OVER_FLUID_HU = 28.0
_FLUID_HU = 8.0
# Content of a voxel that is half bone: what blood replaces there.
_SOFT_HU = 45.0


@dataclasses.dataclass(frozen=True, eq=False)
class Bleeds:
    """All bleeds of a head.

    Attributes:
      bleeds: The bleeds in the order in which they take their room: the leading one is first, but
        for a haematoma that bled into ventricles.
      mass_effect: How they push the brain; None if they do not.
      truth: What is known of them.
    """

    bleeds: tuple[Bleed, ...] = ()
    mass_effect: MassEffect | None = None
    truth: BleedsTruth = dataclasses.field(default_factory=BleedsTruth)

    def later(self, days: float) -> Bleeds:
        """The same bleeds after some days: denser or paler, pushing as before.

        Args:
          days: Time since, of a week at most: bleeds do not shrink here.
        """
        bleeds, truths = [], []
        for bleed, truth in zip(self.bleeds, self.truth.bleeds, strict=True):
            older = bleed.later(days)
            bleeds.append(older)
            mean_hu = truth.mean_hu + older.blood.clot_hu - bleed.blood.clot_hu
            truths.append(dataclasses.replace(truth, mean_hu=mean_hu, days=older.blood.days))
        known = dataclasses.replace(self.truth, bleeds=tuple(truths))
        return dataclasses.replace(self, bleeds=tuple(bleeds), truth=known)

    def displacement(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Vector from each point to where the tissue that now is there came from, mm.

        Args:
          x: Position to the left, head frame, mm, float32 [n, rows, columns].
          y: Position to the back, of the same shape.
          z: Position to the crown, of the same shape.
        """
        if self.mass_effect is None:
            zero = np.zeros_like(x)
            return zero, zero, zero
        return self.mass_effect.displacement(x, y, z)

    def pushed(
        self,
        voxels_at: Callable[[np.ndarray, np.ndarray, np.ndarray], Voxels],
        x: np.ndarray,
        y: np.ndarray,
        z: np.ndarray,
    ) -> Voxels:
        """Voxels of a head whose brain the bleeds have pushed, while its skull stays.

        Args:
          voxels_at: Function of points that gives new voxels of the head without bleeds.
          x: Position to the left, head frame, mm, float32 [n, rows, columns].
          y: Position to the back, of the same shape.
          z: Position to the crown, of the same shape.

        Returns:
          Voxels for `paint`.
        """
        here = voxels_at(x, y, z)
        if self.mass_effect is None:
            return here
        inside = here.depth > 0.6
        if not inside.any():
            return here
        # The cavity's rows and columns.
        rows, columns = (
            np.flatnonzero(inside.any(axis=(0, 2))),
            np.flatnonzero(inside.any(axis=(0, 1))),
        )
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        x, y, z = x[box], y[box], z[box]
        dx, dy, dz = self.displacement(x, y, z)
        came = voxels_at(x + dx, y + dy, z + dz)
        # Beneath a bleed on the brain's surface the lattice of displacements is too coarse to stop
        # at the skull: what would have come from bone is fluid.
        torn = came.depth < 0.6
        came.hu[torn] = np.minimum(came.hu[torn], _FLUID_HU)
        came.fluid[torn] = 1.0
        inside = inside[box]
        fields = {}
        for name in ("falx", "tent", "relief", "hu", "brain", "fluid", "ventricle"):
            fields[name] = getattr(here, name).copy()
            fields[name][box][inside] = getattr(came, name)[inside]
        return dataclasses.replace(here, **fields)

    def paint(self, voxels: Voxels) -> tuple[np.ndarray, np.ndarray]:
        """Density and blood of each voxel.

        Args:
          voxels: Position and depth of the voxels, and the tissue that mass effect brought there.

        Returns:
          Hounsfield units, float32 [n, rows, columns]; share of each subtype's blood, float32
          [5, n, rows, columns], 0 to 1.
        """
        hu = voxels.hu.copy()
        if self.mass_effect is not None:
            effaced = self.mass_effect.effacement(voxels.x, voxels.y, voxels.z)
            hu += np.float32(_BRAIN_OVER_FLUID_HU) * effaced * voxels.fluid
        for bleed in self.bleeds:
            loss = bleed.fall(voxels)
            if loss is not None:
                hu -= loss
        blood = np.zeros((len(SUBTYPES), *hu.shape), np.float32)
        free = np.ones_like(hu)
        for bleed in self.bleeds:
            near = bleed.near(voxels)
            if not near.any():
                continue
            part = voxels.take(near)
            filled, inside_mm = bleed.fill(part)
            filled *= free[near]
            free[near] -= filled
            blood[bleed.subtype][near] += filled
            # Beside the skull a voxel's density is that of bone, its share of room is not.
            beside = part.depth < 1.5
            replaced = np.where(beside, np.minimum(hu[near], _SOFT_HU), hu[near])
            hu[near] += filled * (bleed.blood.hu(part, inside_mm) - replaced)
        return hu, blood
