"""Random bleeds of a head: a leading one of a given volume, and those that join it in patients."""

from __future__ import annotations

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.full.bleeds.ages import draw_patient
from ich_tf.phantom.full.bleeds.bleed import Bleed, fit_volume
from ich_tf.phantom.full.bleeds.bleeds import Bleeds
from ich_tf.phantom.full.bleeds.drawing import (
    EPIDURAL,
    INTRAPARENCHYMAL,
    INTRAVENTRICULAR,
    SUBARACHNOID,
    SUBDURAL,
    Artist,
)
from ich_tf.phantom.full.bleeds.fluid_blood import Intraventricular, Subarachnoid
from ich_tf.phantom.full.bleeds.mass_effect import push
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.truth import BleedsTruth, BleedTruth

# Smallest bleed that joins another.
_LEAST_ML = 0.3
_KINDS = {SUBDURAL: "subdural", SUBARACHNOID: "fluid", INTRAVENTRICULAR: "fluid"}
# Blood in fluid is not seen for longer.
_WASHED_OUT_DAYS = 6.0


def draw_bleeds(
    rng: np.random.Generator,
    coarse: Voxels,
    voxel_ml: float,
    leading: int,
    volume_ml: float,
    *,
    fractures: bool = False,
) -> Bleeds:
    """Draws a leading bleed, those that join it, and how they push the brain.

    Args:
      rng: Random generator, of which one number is drawn.
      coarse: Voxels of the whole head, about 3 mm apart.
      voxel_ml: Volume of one of them.
      leading: Subtype of the leading bleed, an index of `SUBTYPES`.
      volume_ml: Volume of the leading bleed.
      fractures: Whether epidural bleeds come with fractures, which `Bleeds.paint` draws into the
        skull.

    Raises:
      ValueError: If no voxel is brain.
    """
    rng = np.random.default_rng(int(rng.integers(2**62)))
    interior = coarse.take(coarse.depth > -1.5)
    if not interior.brain.any():
        raise ValueError("the voxels hold no brain, which draw_bleeds expects: give a whole head")
    artist = Artist.of(rng, interior, draw_patient(rng, _KINDS.get(leading, "clot")), fractures)
    planned, blocked = _plan(artist, leading, volume_ml)
    bleeds: list[Bleed] = []
    truths = []
    pushed = np.zeros_like(interior.x)
    free = np.ones_like(interior.x)
    for bleed, wanted_ml in planned:
        if isinstance(bleed, Subarachnoid | Intraventricular) and (
            bleed.blood.days > _WASHED_OUT_DAYS
        ):
            continue
        sized, _ = fit_volume(bleed, interior, voxel_ml, wanted_ml)
        near = sized.near(interior)
        part = interior.take(near)
        filled, inside_mm = sized.fill(part)
        filled *= free[near]
        total = float(filled.sum())
        if not total:
            continue
        free[near] -= filled
        pushed[near] += np.float32(sized.pushing) * filled
        mean_hu = float((filled * sized.blood.hu(part, inside_mm)).sum() / total)
        bleeds.append(sized)
        truths.append(
            BleedTruth(SUBTYPES[sized.subtype], total * voxel_ml, mean_hu, sized.blood.days)
        )
    # Stiff brains hand on more of the pressure; injured ones swell (chosen: a reach of 100 to 250
    # mm, up to 10 %, for shifts as in pictures of textbooks).
    reach_mm, swelling, widened = rng.uniform((100, 0, 0.15), (250, 0.1, 0.5)).tolist()
    days = artist.patient.days
    swelling *= min(1.0, float(pushed.sum()) * voxel_ml / 40.0) * max(0.0, 1.0 - days / 14.0)
    effect = None
    if blocked or pushed.any():
        effect = push(interior, pushed, reach_mm, swelling, widened if blocked else 0.0)
    shift_mm = effect.shift_mm if effect else 0.0
    return Bleeds(tuple(bleeds), effect, BleedsTruth(tuple(truths), shift_mm))


def _plan(artist: Artist, leading: int, volume_ml: float) -> tuple[list[tuple[Bleed, float]], bool]:
    """Bleeds with their volumes, and whether the ventricles' outflow is blocked.

    How often bleeds join each other is chosen, after textbooks of neuroradiology.
    """
    rng = artist.rng
    side = 1 if rng.uniform() < 0.5 else -1
    chance, part = rng.uniform(size=6), rng.uniform(0.08, 0.45, size=3)
    small = [max(_LEAST_ML, volume_ml * float(value)) for value in part]
    opposite = side if chance[5] < 0.4 else -side
    plan: list[tuple[Bleed, float]] = []
    blocked = False
    if leading == EPIDURAL:
        plan.append((artist.epidural(side), volume_ml))
        if chance[0] < 0.2:
            plan.append((artist.contusion(-side), min(small[0], 15.0)))
        if chance[1] < 0.15:
            plan.append((artist.subdural(-side), small[1]))
        if chance[2] < 0.25:
            plan.append((artist.convexity(opposite), min(small[2], 6.0)))
    elif leading == SUBDURAL:
        thin = chance[4] < 0.12 and volume_ml < 25.0
        plan.append((artist.sheet(side) if thin else artist.subdural(side), volume_ml))
        if chance[0] < 0.2 and not thin:
            plan.append((artist.subdural(-side), small[0] * 2))
        if chance[1] < 0.3 and artist.patient.days < 14.0:
            plan.append((artist.sheet(side), min(small[1], 12.0)))
        if chance[2] < 0.2:
            plan.append((artist.convexity(opposite), min(small[2], 6.0)))
        if chance[3] < 0.12:
            plan.append((artist.contusion(opposite), min(small[2], 15.0)))
    elif leading == SUBARACHNOID and chance[4] < 0.55:
        # An aneurysm.
        plan.append((artist.cisternal(side, volume_ml), volume_ml))
        if chance[0] < 0.1:
            plan.append((artist.haematoma(side, "lobar", small[0]), small[0]))
        if chance[1] < 0.45:
            plan.append((artist.intraventricular(0), min(small[1], 15.0)))
        blocked = chance[2] < 0.3
    elif leading == SUBARACHNOID:
        plan.append((artist.convexity(side), volume_ml))
        if chance[0] < 0.3:
            plan.append((artist.contusion(opposite), small[0]))
        if chance[1] < 0.25:
            plan.append((artist.subdural(opposite), small[1]))
    elif leading == INTRAPARENCHYMAL and chance[4] < 0.3:
        # An injury.
        plan.append((artist.contusion(side), volume_ml))
        if chance[0] < 0.35:
            plan.append((artist.contusion(-side), small[0]))
        if chance[1] < 0.4:
            plan.append((artist.convexity(side), min(small[1], 6.0)))
        if chance[2] < 0.25:
            plan.append((artist.subdural(opposite), small[2]))
    elif leading == INTRAPARENCHYMAL:
        # Shares of a population study's sites: deep half, lobar a third, the rest below.
        sites = ("putamen", "thalamus", "caudate", "lobar", "cerebellum", "pons")
        room_ml = (200.0, 25.0, 12.0, 200.0, 35.0, 12.0)
        index = int(rng.choice(6, p=(0.34, 0.14, 0.04, 0.33, 0.1, 0.05)))
        site, main_ml = sites[index], min(volume_ml, room_ml[index])
        plan.append((artist.haematoma(side, site, main_ml), main_ml))
        if site in ("thalamus", "caudate", "putamen") and chance[0] < 0.45:
            one = side if chance[1] < 0.4 else 0
            plan.append((artist.intraventricular(one), min(small[0], 20.0)))
            blocked = chance[2] < 0.35
        if site == "lobar" and chance[0] < 0.25:
            plan.append((artist.convexity(side), min(small[1], 6.0)))
        if site == "lobar" and chance[3] < 0.1:
            plan.append((artist.subdural(side), min(small[2], 12.0)))
    else:
        one = side if chance[4] < 0.25 else 0
        plan.append((artist.intraventricular(one), volume_ml))
        if chance[0] < 0.4:
            site = "thalamus" if chance[1] < 0.6 else "caudate"
            beside_ml = min(small[0], 8.0)
            plan.insert(0, (artist.haematoma(side, site, beside_ml), beside_ml))
        if chance[2] < 0.2:
            around_ml = min(small[1], 8.0)
            plan.append((artist.cisternal(side, around_ml), around_ml))
        blocked = chance[3] < 0.4
    return plan, blocked
