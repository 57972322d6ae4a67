"""One patient's head, and what lies at any point of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy import brain, dura, face, fluid, skull
from ich_tf.phantom.full.anatomy.ground import Ground, lay_ground
from ich_tf.phantom.full.anatomy.lattice import Lattice
from ich_tf.phantom.full.anatomy.traits import Traits, draw_traits
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import blend, share

# Finer than the gap between the tables of the skull, and than half a gyrus.
STEP_MM = 1.4


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One patient's head.

    Attributes:
      traits: What is the patient's own.
      low: Lowest x, y and z of a box around the head, mm; the neck goes on below.
      high: Highest x, y and z of the box, mm.
      lattice: Fields of `_FIELDS` at the points of a lattice.
    """

    traits: Traits
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    lattice: Lattice

    def voxels(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Voxels:
        """The tissue at points.

        Args:
          x: Position to the patient's left, head frame, mm, float32 [n, rows, columns].
          y: Position to the back, of the same shape.
          z: Position to the crown, of the same shape.
        """
        (
            depth, outer, skin, falx, tent, relief, marrow, outer_fluid,
            ventricle_mm, tissue, bone, air, dense, soft,
        ) = self.lattice.sample(x, y, z)  # fmt: skip
        traits = self.traits
        compact = np.float32(traits.bone_hu)
        hu = np.full_like(x, -1000.0)
        blend(soft, share(2.6 - skin), 65.0)
        blend(hu, share(skin), soft)
        # Two compact tables around the marrow; bones of the face likewise.
        wall = np.minimum(outer, -depth)
        core = share(wall - 1.5, 1.6)
        blend(hu, share(wall), compact + core * (marrow - compact))
        core = share(bone - 1.6, 1.6)
        blend(
            hu, share(bone) * share(-depth), compact * 0.8 + core * (0.6 * marrow - compact * 0.8)
        )
        inside = share(depth)
        fluid_share, ventricle = share(outer_fluid), share(ventricle_mm)
        content = tissue
        blend(content, fluid_share, traits.fluid_hu)
        blend(content, ventricle, traits.fluid_hu)
        sheet = share(dense - 0.5 * traits.blood_hu, 20.0)
        np.maximum(content, dense, out=content)
        blend(hu, inside, content)
        blend(hu, share(air), -1000.0)
        inside *= 1.0 - sheet
        return Voxels(
            x=x,
            y=y,
            z=z,
            depth=depth,
            falx=falx,
            tent=tent,
            relief=relief,
            hu=hu,
            brain=inside * (1.0 - fluid_share) * (1.0 - ventricle),
            fluid=inside * fluid_share * (1.0 - ventricle),
            ventricle=inside * ventricle,
        )


def draw_head(rng: np.random.Generator, step_mm: float = STEP_MM) -> Head:
    """Draws the head of a patient.

    Args:
      rng: Random generator of the head.
      step_mm: Distance between the points of the lattice; the time rises with its inverse cube.
    """
    traits = draw_traits(rng)
    ground = lay_ground(rng, traits, step_mm)
    bones = skull.build_skull(rng, ground)
    tent = ground.z - brain.tentorium_height(ground.x, ground.y)
    cortex = brain.build_cortex(rng, ground, bones, tent)
    outer = fluid.outer_fluid(ground, bones, cortex, tent)
    inner = fluid.ventricles(ground)
    tissue = _brain_hu(ground, bones, cortex, tent, outer, inner)
    dense = dura.build_dense(rng, ground, bones, tent)
    around = face.build_face(rng, ground, bones)
    fields = (
        bones.depth, bones.outer, around.skin, ground.x, tent, ground.relief, bones.marrow, outer,
        inner, tissue, around.bone, around.air, dense, around.soft,
    )  # fmt: skip
    lattice = Lattice.pack(ground.origin_mm, step_mm, fields)
    high = tuple(
        first + step_mm * (count - 1)
        for first, count in zip(ground.origin_mm, lattice.shape[::-1], strict=True)
    )
    return Head(traits, ground.origin_mm, high, lattice)  # type: ignore[arg-type]


def _brain_hu(
    ground: Ground,
    bones: skull.Skull,
    cortex: brain.Cortex,
    tent: np.ndarray,
    outer: np.ndarray,
    inner: np.ndarray,
) -> np.ndarray:
    """Hounsfield units of brain at each point."""
    traits = ground.traits
    x, y, z = ground.points
    side = np.abs(x)
    above = tent > 0
    folds = np.where(cortex.reach > -3.0, np.maximum(cortex.width, 0.0) - cortex.sulcus, -9.0)
    surface = np.maximum(folds, -cortex.surface)
    grey = share(3.2 + np.maximum(surface, outer), 1.8)
    below = share(brain.cerebellum(bones, side, y, z) - 1.0, 2.0) * (0.85 + 0.1 * ground.fine)
    core = share(brain.cerebellum(bones, side, y, z) - 12.0 - 2.0 * ground.fine, 6.0)
    grey = np.where(above, grey, below * (1.0 - 0.7 * core) + 0.25)
    np.maximum(grey, brain.nuclei(ground), out=grey)
    # The leaves of the cerebellum, around its middle.
    turn = np.sqrt(x * x + (y - 26.0) ** 2 + 1.7 * (z + 48.0) ** 2) + 1.2 * ground.fine
    leaves = np.sin(np.float32(2.0 * np.pi / 5.5) * turn) * below * share(tent + 1.0, -2.0)
    white = np.float32(traits.white_hu)
    hu = white + (np.float32(traits.grey_hu) - white) * grey
    near = share(inner + 6.0 + 4.0 * traits.white_disease, 10.0)
    patchy = np.clip(0.7 + 0.5 * ground.relief, 0.0, 1.5)
    hu -= 9.0 * traits.white_disease * near * patchy * (1.0 - grey) * above
    hu += 2.2 * leaves * (1.0 - core)
    return np.asarray(hu + 0.6 * ground.relief + 0.4 * ground.fine, np.float32)
