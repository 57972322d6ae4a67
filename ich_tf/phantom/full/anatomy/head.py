"""One patient's head, and what lies at any point of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.anatomy import cortex, dura, face, fluid, hindbrain, skull
from ich_tf.phantom.full.anatomy.ground import Terrain
from ich_tf.phantom.full.anatomy.infarcts import Infarct, draw_infarcts
from ich_tf.phantom.full.anatomy.lattice import Lattice
from ich_tf.phantom.full.anatomy.surgery import Surgery, draw_surgery
from ich_tf.phantom.full.anatomy.tissue import brain_hu
from ich_tf.phantom.full.anatomy.traits import Traits, draw_traits
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import blend, share

# Finer than the gap between the tables of the skull, and than half a gyrus.
STEP_MM = 1.5
# Loss of density of compact bone at its inner and its outer surface, whose pits and grooves are
# finer than the lattice; chosen: on a GE head scan of 28 slices, half of the vault's bone has less
# than two thirds of the density that a tenth of it exceeds. There the inner table has 0.85 of the
# outer one's density, and bone of equal thickness differs by 250 HU from place to place.
_PITS = (np.float32(0.35), np.float32(0.12))
# Planes that are built at a time.
_SLAB = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
    """One patient's head.

    Attributes:
      traits: What is the patient's own.
      low: Lowest x, y and z of a box around the head, mm; the neck goes on below.
      high: Highest x, y and z of the box, mm.
      lattice: The fields of `_build` at the points of a lattice.
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
        if traits.hair_mm:
            scalp = share(np.maximum(z - 5.0, y + 35.0), 15.0)
            lock = share(skin + np.float32(traits.hair_mm) * (0.7 + 0.3 * relief), 5.0)
            # Ears may reach the lattice's sides, beyond which its values go on: hair ends before.
            (left, front, _), (right, back, _) = self.low, self.high
            side = np.minimum(np.minimum(x - left, right - x), np.minimum(y - front, back - y))
            blend(hu, scalp * lock * share(side - 4.0, 8.0), traits.hair_hu)
        blend(soft, share(traits.skin_mm - skin), 60.0)
        blend(hu, share(skin), soft)
        # Two compact tables around the marrow; bones of the face likewise.
        wall = np.minimum(outer, -depth)
        core = share(wall - 1.7, 1.6)
        pits = _PITS[0] * share(1.1 + depth, 2.2) + _PITS[1] * share(1.1 - outer, 2.2)
        table = compact * (1.0 - pits) * (1.0 + 0.1 * relief)
        table *= 1.0 - 0.12 * share(2.5 + depth, 2.0)
        blend(hu, share(wall), table + core * (marrow - table))
        core = share(bone - 2.4, 2.0)
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
        # Metal and catheters lie anywhere.
        blend(hu, share(dense - 200.0, 200.0), dense)
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
    # A generator for each part: what is drawn of one does not change another.
    generators = rng.spawn(8)
    traits = draw_traits(generators[0])
    plan = _Plan(
        terrain=Terrain(generators[1], traits, step_mm),
        base=skull.draw_base(generators[2]),
        folds=cortex.Folds(generators[3]),
        textures=face.Textures(generators[4]),
        calcifications=dura.draw_calcifications(generators[5], traits),
        infarcts=draw_infarcts(generators[6], traits),
        surgery=draw_surgery(generators[7]),
    )
    origin, shape = plan.terrain.origin_mm, plan.terrain.shape
    starts = range(0, shape[0], _SLAB)
    lattice = Lattice.pack(origin, step_mm, shape, (_build(plan, start) for start in starts))
    high = [first + step_mm * (count - 1) for first, count in zip(origin, shape[::-1], strict=True)]
    return Head(traits, origin, (high[0], high[1], high[2]), lattice)


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """All that is random in a head."""

    terrain: Terrain
    base: skull.BaseMaps
    folds: cortex.Folds
    textures: face.Textures
    calcifications: tuple[dura.Calcification, ...]
    infarcts: tuple[Infarct, ...]
    surgery: Surgery


def _build(plan: _Plan, start: int) -> list[np.ndarray]:
    """Fields of the planes from `start` on: so few at a time stay in the processor's cache."""
    stop = min(start + _SLAB, plan.terrain.shape[0])
    # Slopes need the neighbouring planes.
    first = max(start - 1, 0)
    ground = plan.terrain.ground(slice(first, stop + 1))
    traits = ground.traits
    bones = skull.build_skull(ground, plan.base)
    tent = ground.z - hindbrain.tentorium_height(ground.x, ground.y)
    outer = np.full_like(ground.x, -30.0)
    inner, dense = np.full_like(ground.x, -30.0), np.zeros_like(ground.x)
    tissue = np.full_like(ground.x, traits.fluid_hu)
    if region := ground.box(*cortex.BRAIN_BOX):
        part, bone, over = ground.crop(region), bones.crop(region), tent[region]
        folded = cortex.build_cortex(plan.folds, part, bone, over)
        hind = hindbrain.build_hindbrain(part, bone)
        outer[region] = fluid.outer_fluid(part, bone, folded, hind, over)
        inner[region] = fluid.ventricles(part)
        tissue[region] = brain_hu(part, hind, folded, over, outer[region], inner[region])
        for infarct in plan.infarcts:
            infarct.add(part, tissue[region])
        dense[region] = dura.build_dense(plan.calcifications, part, bone, over)
    plan.surgery.open_bone(ground, bones.outer)
    plan.surgery.add_hardware(ground, bones.vault, dense)
    around = face.build_face(plan.textures, ground, bones)
    fields = (
        bones.depth, bones.outer, around.skin, ground.x, tent, ground.relief, bones.marrow, outer,
        inner, tissue, around.bone, around.air, dense, around.soft,
    )  # fmt: skip
    return [field[start - first : stop - first] for field in fields]
