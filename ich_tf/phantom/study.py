"""The studies of a patient of the set, with masks."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.head import Head, make_head
from ich_tf.phantom.lesion_sampling import draw_bleeds
from ich_tf.phantom.lesions import Bleeds
from ich_tf.phantom.scanner import Defects, Geometry, place_scan, scan

# Exponent of the uniform variate that chooses a volume between smallest and largest, on a
# logarithmic scale: below 1 favours large ones.
_VOLUME_POWER = 0.5


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Storage of a study's pixels in its files.

    Attributes:
      signed: Whether pixels have 16 bits, signed; else 12 bits, unsigned.
      intercept: Rescale intercept, which is also the lowest HU.
      padded: Whether signed pixels outside the circular field of view are -2000.
      quirk: Whether the 12-bit pixels wrapped around, and the intercept is written as 0.
      implicit: Whether the file is implicit VR little endian; else explicit.
      window_pair: Whether window center and width have two values.
    """

    signed: bool
    intercept: int
    padded: bool
    quirk: bool
    implicit: bool
    window_pair: bool


@dataclasses.dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A synthetic study, of one series.

    Attributes:
      hu: Hounsfield units, int16 [S, H, W], from the base of the skull up.
      masks: Bit masks, uint8 [S, H, W], bit k for class k in the order of `labels.CLASSES`.
      geometry: Position of the slices.
      encoding: Storage of the pixels in the study's files.
    """

    hu: np.ndarray
    masks: np.ndarray
    geometry: Geometry
    encoding: Encoding

    @property
    def labels(self) -> np.ndarray:
        """Classes of which a slice has any voxel, int64 [S, 6], 0 or 1."""
        bits = np.bitwise_or.reduce(self.masks.reshape(len(self.masks), -1), axis=1)
        return np.asarray((bits[:, None].astype(np.int64) >> np.arange(len(CLASSES))) & 1)


@dataclasses.dataclass(frozen=True)
class PatientPlan:
    """Role of one patient in the set.

    Attributes:
      index: Number of the patient, from 0; it and the config's seed determine all that is random.
      test: Whether the patient belongs to the test set.
      leading: Subtype of the leading bleed, an index of `SUBTYPES`; None for no bleed.
    """

    index: int
    test: bool
    leading: int | None


def plan_patients(config: PhantomConfig) -> list[PatientPlan]:
    """Assigns bleeds to patients, in train and test as close to the config's shares as possible.

    Args:
      config: Config of the set.

    Returns:
      A plan for each patient, by index.
    """
    rng = np.random.default_rng([config.seed])
    order = rng.permutation(config.num_patients)
    num_test = config.num_test_patients
    plans = []
    for test, indices in ((True, order[:num_test]), (False, order[num_test:])):
        bleeding = round(config.bleed_fraction * len(indices))
        counts = _apportion(config.shares, bleeding)
        leading: list[int | None] = [k for k, count in enumerate(counts) for _ in range(count)]
        leading += [None] * (len(indices) - bleeding)
        for index, subtype in zip(indices.tolist(), leading, strict=True):
            plans.append(PatientPlan(index, test, subtype))
    return sorted(plans, key=lambda plan: plan.index)


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
    encoding = _draw_encoding(rng, config)
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


def _draw_encoding(rng: np.random.Generator, config: PhantomConfig) -> Encoding:
    chance = rng.uniform(size=5)
    quirk = bool(chance[0] < config.quirk_fraction)
    signed = bool(chance[1] < 0.5) and not quirk
    low = quirk or (not signed and chance[2] < 0.2)
    return Encoding(
        signed=signed,
        intercept=-1000 if low else -1024,
        padded=signed and bool(chance[2] < 0.6),
        quirk=quirk,
        implicit=bool(chance[3] < 0.3),
        window_pair=bool(chance[4] < 0.4),
    )


def _draw_defects(rng: np.random.Generator, config: PhantomConfig, count: int) -> Defects:
    noise_hu = config.noise_hu * float(rng.uniform(0.75, 1.3))
    start, length = int(rng.integers(0, count)), int(rng.integers(2, 6))
    moves = bool(rng.uniform() < 0.2 * config.mimic_fraction)
    distance_mm = float(rng.uniform(1.0, 3.5))
    if not moves:
        return Defects(noise_hu)
    return Defects(noise_hu, (start, start + length), distance_mm)


def _apportion(shares: tuple[float, ...], total: int) -> list[int]:
    """Integers of the sum `total` in proportion to `shares`, by the largest remainders."""
    exact = np.array(shares) * total
    counts = np.floor(exact).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]
