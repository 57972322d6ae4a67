"""A patient of the full realism: one head and its bleeds, scanned once or more."""

from __future__ import annotations

import numpy as np

from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.full.anatomy import Head, draw_head
from ich_tf.phantom.full.bleeds import Bleeds, draw_bleeds, draw_volume
from ich_tf.phantom.full.scanner import draw_protocol, draw_scan, measure_extent, scan
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.study import PatientPlan, PhantomStudy, draw_encoding

# Distance between the voxels on which bleeds are sized.
_COARSE_MM = 3.0
# Third number of a patient's seed: basic patients have two.
_REALISM = 1
# Days from one study of a patient to the next: within the first week, as after an admission.
_DAYS_BETWEEN = (0.25, 7.0)


def make_patient(config: PhantomConfig, plan: PatientPlan) -> list[PhantomStudy]:
    """Makes the studies of one patient, whose bleeds grow older from one to the next.

    Args:
      config: Config of the set.
      plan: Role of the patient.
    """
    # Each part has a generator of its own: what one of them draws moves no other.
    parts = np.random.SeedSequence([config.seed, plan.index, _REALISM]).spawn(3)
    of_head, of_bleeds, of_studies = (np.random.default_rng(part) for part in parts)
    head = draw_head(of_head)
    bleeds = Bleeds()
    if plan.leading is not None:
        volume_ml = draw_volume(of_bleeds, plan.leading, config.min_volume_ml, config.max_volume_ml)
        coarse = _coarse_voxels(head)
        bleeds = draw_bleeds(
            of_bleeds, coarse, _COARSE_MM**3 / 1e3, plan.leading, volume_ml, fractures=True
        )
    count = 1
    if of_studies.uniform() < config.followup_fraction:
        count = 2 if of_studies.uniform() < 0.8 else 3
    studies = []
    for _ in range(count):
        studies.append(make_study(of_studies, config, head, bleeds))
        bleeds = bleeds.later(float(of_studies.uniform(*_DAYS_BETWEEN)))
    return studies


def make_study(
    rng: np.random.Generator, config: PhantomConfig, head: Head, bleeds: Bleeds
) -> PhantomStudy:
    """Scans one head once.

    Args:
      rng: Random generator of the studies, of which one number is drawn.
      config: Config of the set.
      head: Head of the patient.
      bleeds: Bleeds in that head.
    """
    seed = int(rng.integers(1 << 62))
    of_files, of_scan = (
        np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2)
    )
    encoding = draw_encoding(of_files, config)
    protocol = draw_protocol(
        of_scan, config.noise_hu, config.tilt_fraction, 0.2 * config.mimic_fraction
    )

    def paint(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return bleeds.paint(bleeds.pushed(head.voxels, x, y, z))

    extent = measure_extent(paint)
    pose, geometry = draw_scan(of_scan, protocol, extent, config.matrix)
    hu, masks = scan(
        of_scan,
        paint,
        protocol,
        extent,
        pose,
        geometry,
        config.matrix,
        config.min_area_mm2,
        encoding.intercept,
    )
    return PhantomStudy(hu, masks, geometry, encoding, bleeds.truth)


def _coarse_voxels(head: Head) -> Voxels:
    axes = (
        np.arange(low, high, _COARSE_MM, dtype=np.float32)
        for low, high in zip(head.low, head.high, strict=True)
    )
    x, y, z = axes
    shape = (len(z), len(y), len(x))
    return head.voxels(
        np.broadcast_to(x, shape).copy(),
        np.broadcast_to(y[:, None], shape).copy(),
        np.broadcast_to(z[:, None, None], shape).copy(),
    )
