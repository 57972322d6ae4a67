"""Random blood: its age, haematocrit and clotting."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.bleeds.blood import Blood
from ich_tf.phantom.full.bleeds.noise import Noise

# Share of heads with each age of blood: up to 3 hours, 3 days, 3 weeks, 3 months. Chosen: most are
# scanned on the day of the bleed, but subdural ones are often found late.
_AGES = {
    "clot": (0.2, 0.68, 0.12, 0.0),
    "subdural": (0.1, 0.45, 0.2, 0.25),
    "fluid": (0.25, 0.75, 0.0, 0.0),
}
_DAYS = ((0.02, 0.125), (0.125, 3.0), (3.0, 21.0), (21.0, 90.0))


@dataclasses.dataclass(frozen=True)
class Patient:
    """What the blood of all bleeds of a patient has in common.

    Attributes:
      days: Age of the bleeds.
      haematocrit: Share of cells in the blood: 0.36 to 0.5, men and women (textbooks); 0.2 to 0.3
        in one of ten (chosen).
      coagulates: Whether the blood clots; not in one of eight (chosen: anticoagulants are taken by
        about that share of patients with a bleed).
    """

    days: float
    haematocrit: float
    coagulates: bool


def draw_patient(rng: np.random.Generator, kind: str) -> Patient:
    """Draws a patient's blood.

    Args:
      rng: Random generator.
      kind: Kind of the leading bleed: `clot`, `subdural`, which may be old, or `fluid`, which is
        washed out within days.
    """
    index = rng.choice(4, p=_AGES[kind])
    low, high = np.log(_DAYS[index])
    days = float(np.exp(rng.uniform(low, high)))
    healthy, anaemic = rng.uniform(0.36, 0.5), rng.uniform(0.2, 0.3)
    haematocrit = float(anaemic if rng.uniform() < 0.1 else healthy)
    return Patient(days, haematocrit, bool(rng.uniform() >= 0.125))


def draw_blood(rng: np.random.Generator, patient: Patient, noise: Noise, kind: str) -> Blood:
    """Draws the blood of one bleed.

    Args:
      rng: Random generator.
      patient: The patient's blood.
      noise: Noise, which is moved to another place.
      kind: `clot` of an epidural bleed, `pool` of a haematoma, `torn` of a contusion, `subdural`,
        or `fluid` for blood in sulci and ventricles.
    """
    chance = rng.uniform(size=4)
    draws = rng.uniform(size=6)
    retraction = 1.25 + 0.25 * draws[0]
    swirl = settled = mixture = 0.0
    if kind in ("clot", "pool", "subdural") and patient.days < 0.25 and chance[0] < 0.5:
        swirl = 0.08 + 0.22 * draws[1]
    if kind in ("pool", "subdural") and chance[1] < (0.05 if patient.coagulates else 0.5):
        settled = 0.2 + 0.5 * draws[2]
    if kind == "subdural" and patient.days > 10.0 and chance[2] < 0.45:
        mixture = 0.15 + 0.4 * draws[3]
    loss_hu = 2.0 + 2.0 * draws[4] if kind == "fluid" else 1.0 + draws[4]
    low, high = {"torn": (4.0, 9.0), "fluid": (1.5, 3.0)}.get(kind, (1.5, 5.0))
    return Blood(
        days=patient.days,
        haematocrit=patient.haematocrit,
        # Mixed with fluid, blood does not retract as much.
        retraction=float(retraction if kind != "fluid" else 1.0 + 0.7 * (retraction - 1.0)),
        loss_hu=float(loss_hu),
        texture_hu=float(low + (high - low) * draws[5]),
        texture=noise.moved(rng),
        swirl=float(swirl),
        settled=float(settled),
        mixture=float(mixture),
        membranes=bool(kind == "subdural" and patient.days > 10.0 and chance[3] < 0.3),
    )
