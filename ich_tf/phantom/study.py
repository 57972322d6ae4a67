"""The patients of a set, and what a study of one of them holds."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.labels import CLASSES
from ich_tf.phantom.config import PhantomConfig
from ich_tf.phantom.geometry import Geometry
from ich_tf.phantom.shares import apportion
from ich_tf.phantom.truth import BleedsTruth


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
      truth: What is known of the bleeds; None where none of it is kept.
    """

    hu: np.ndarray
    masks: np.ndarray
    geometry: Geometry
    encoding: Encoding
    truth: BleedsTruth | None = None

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
        counts = apportion(config.shares, bleeding)
        leading: list[int | None] = [k for k, count in enumerate(counts) for _ in range(count)]
        leading += [None] * (len(indices) - bleeding)
        for index, subtype in zip(indices.tolist(), leading, strict=True):
            plans.append(PatientPlan(index, test, subtype))
    return sorted(plans, key=lambda plan: plan.index)


def draw_encoding(rng: np.random.Generator, config: PhantomConfig) -> Encoding:
    """Draws how the pixels of a study are stored.

    Args:
      rng: Random generator of the study.
      config: Config of the set.
    """
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
