"""A patient of the basic realism: one head and its bleeds, scanned once or more."""

from __future__ import annotations

import numpy as np

from ich_tf.phantom.basic.head import Head, make_head
from ich_tf.phantom.basic.lesion_sampling import draw_bleeds
from ich_tf.phantom.basic.lesions import Bleeds
from ich_tf.phantom.basic.scanner import Defects, place_scan, scan
from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.study import PatientPlan, PhantomStudy, draw_encoding

# Exponent of the uniform variate that chooses a volume between smallest and largest, on a
# logarithmic scale: below 1 favours large ones.
_VOLUME_POWER = 0.5


def make_patient(config: PhantomConfig, plan: PatientPlan) -> list[PhantomStudy]:
    """Makes the studies of one patient, who has the same head and bleeds in all of them.

    Args:
      config: Config of the set.
      plan: Role of the patient.
    """
    rng = np.random.default_rng([config.seed, plan.index])
    head = make_head(rng, with_calcifications=bool(rng.uniform() < config.mimic_fraction))
    bleeds = Bleeds()
    if plan.leading is not None:
        ratio = config.max_volume_ml / config.min_volume_ml
        volume_ml = config.min_volume_ml * ratio ** (rng.uniform() ** _VOLUME_POWER)
        bleeds = draw_bleeds(rng, head, plan.leading, float(volume_ml))
    count = 1
    if rng.uniform() < config.followup_fraction:
        count = 2 if rng.uniform() < 0.8 else 3
    studies = []
    for _ in range(count):
        studies.append(make_study(rng, config, head, bleeds))
        bleeds = bleeds.faded(0.85)
    return studies


def make_study(
    rng: np.random.Generator,
    config: PhantomConfig,
    head: Head | None = None,
    bleeds: Bleeds | None = None,
) -> PhantomStudy:
    """Scans one head once.

    Args:
      rng: Random generator of the study.
      config: Config of the set.
      head: Head of the patient; None to draw one.
      bleeds: Bleeds in that head; None for none.

    Examples:
      >>> import numpy as np
      >>> study = make_study(np.random.default_rng(0), PhantomConfig(matrix=32))
      >>> study.hu.shape, study.labels.shape
      ((25, 32, 32), (25, 6))
    """
    if head is None:
        head = make_head(rng, with_calcifications=bool(rng.uniform() < config.mimic_fraction))
    encoding = draw_encoding(rng, config)
    tilted = bool(rng.uniform() < config.tilt_fraction)
    pose, geometry = place_scan(rng, head, config.matrix, tilted)
    hu, masks = scan(
        rng,
        head,
        bleeds or Bleeds(),
        pose,
        geometry,
        _draw_defects(rng, config, len(geometry.positions_mm)),
        config.matrix,
        config.min_area_mm2,
        encoding.intercept,
    )
    return PhantomStudy(hu, masks, geometry, encoding)


def _draw_defects(rng: np.random.Generator, config: PhantomConfig, count: int) -> Defects:
    noise_hu = config.noise_hu * float(rng.uniform(0.75, 1.3))
    start, length = int(rng.integers(0, count)), int(rng.integers(2, 6))
    moves = bool(rng.uniform() < 0.2 * config.mimic_fraction)
    distance_mm = float(rng.uniform(1.0, 3.5))
    if not moves:
        return Defects(noise_hu)
    return Defects(noise_hu, (start, start + length), distance_mm)
