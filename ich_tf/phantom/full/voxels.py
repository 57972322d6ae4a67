"""What a bleed must know of each voxel: position, tissue, and distance from bone and dura.

Synthetic heads fill it from their formulas, real scans from their pixels: bleeds are drawn into
both by the same code.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Voxels:
    """Voxels of a head without bleeds; arrays are float32 of one shape, [n, rows, columns].

    The head frame: x to the patient's left, y to the back, z to the crown, in mm; the origin lies
    in the middle of the brain, between the foramina of Monro where they are known.

    Attributes:
      x: Position to the left, mm.
      y: Position to the back, mm.
      z: Position to the crown, mm.
      depth: Distance from the inner table of the skull, mm, positive inside.
      falx: Distance from the plane between the hemispheres, mm, positive on the left.
      tent: Height above the tentorium, mm, negative in the posterior fossa.
      relief: Slow noise, of standard deviation 1, that makes outlines uneven.
      hu: Hounsfield units.
      brain: Share of brain, 0 to 1.
      fluid: Share of sulci, fissures, cisterns and the rim over the brain, 0 to 1.
      ventricle: Share of ventricle, 0 to 1.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    depth: np.ndarray
    falx: np.ndarray
    tent: np.ndarray
    relief: np.ndarray
    hu: np.ndarray
    brain: np.ndarray
    fluid: np.ndarray
    ventricle: np.ndarray

    def take(self, index: np.ndarray) -> Voxels:
        """Some of the voxels, one-dimensional.

        Args:
          index: Which to take, bool of the shape of `x`.
        """
        fields = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Voxels(*(values[index] for values in fields))
