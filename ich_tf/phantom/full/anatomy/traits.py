"""What differs from patient to patient, drawn at random."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Traits:
    """One patient's traits. Hounsfield units are those of scans at 120 kV.

    Attributes:
      age: Years, 18 to 95; chosen: old people are scanned more often than young ones.
      length_mm: Cranial cavity from front to back, 152 to 180: outer lengths of adult heads
        (about 180 to 200 mm, anthropometric surveys) less bone and scalp.
      index: Cavity's width over its length, 0.74 to 0.95 (cephalic index of adults: dolicho-
        cephalic below 0.75, brachycephalic above 0.80, Retzius's classes).
      height: Cavity's height relative to the standard head, 0.87 to 1.00; chosen:
        cavities then hold about 1,350 to 1,850 ml.
      skew: Shear of the head in the axial plane (plagiocephaly), chosen: up to 0.05.
      atrophy: Width of sulci and ventricles, 0 to 1; rises with age.
      skull_mm: Mean thickness of the vault, 4.3 to 8.0 mm (about 6 to 7 mm in adults: Lynnerup,
        Forensic Sci Int 2001).
      scalp_mm: Thickness of the scalp at the vault, 4 to 11 mm (textbooks: 3 to 8; measured
        on a GE head scan of 28 slices: 9).
      skin_mm: Thickness of its skin, 2.0 to 3.6 mm; chosen: the scalp's is thicker than most.
      galea_mm: Thickness of what lies on the bone under the fat, 1.4 to 3.4 mm: galea, loose tissue
        and pericranium (the layers of textbooks); chosen so that half of the scalp is not fat, as
        on the same scan (median -6 HU, a quarter above 40).
      bone_hu: Compact bone, 1,350 to 1,950. Measured on a GE head scan of 28 slices: 1,300 to 1,600
        after its blur.
      diploe: Marrow of the vault relative to compact bone, 0.3 to 0.85; measured on the same scan:
        the middle third of the vault is nearly as dense as its tables.
      grey_hu: Grey matter, 34.5 to 41.5 (textbooks: 32 to 42; measured on that scan, where slices
        mix it with fluid: 34 to 36).
      white_hu: White matter, 7 to 12 below grey, most in the old (textbooks: 25 to 32; measured on
        that scan: 9 below).
      fluid_hu: Cerebrospinal fluid, 5 to 15 (textbooks: 0 to 15).
      hematocrit: Share of cells in blood, 0.27 to 0.50; normal 0.36 to 0.50, less in anaemia.
      ventricle: Width of the ventricles relative to the standard head.
      ventricle_skew: Excess of the left ventricle's width over the right one's, relative;
        asymmetry is common (5 to 12 % of people).
      white_disease: Leukoaraiosis, 0 to 1; rises with age.
      pneumatization: Air in mastoids and sinuses, 0.05 to 0.9; chosen.
      hair_mm: Thickness of the hair on the scalp, 0 to 14; chosen.
      hair_hu: Hair and the air in it, -970 to -850; chosen.
      contrast_hu: Enhancement of blood by contrast agent, 60 to 220 in 4 % of patients (scans of
        the head after other examinations, and venous phases); else 0.
    """

    age: float
    length_mm: float
    index: float
    height: float
    skew: float
    atrophy: float
    skull_mm: float
    scalp_mm: float
    skin_mm: float
    galea_mm: float
    bone_hu: float
    diploe: float
    grey_hu: float
    white_hu: float
    fluid_hu: float
    hematocrit: float
    ventricle: float
    ventricle_skew: float
    white_disease: float
    pneumatization: float
    hair_mm: float
    hair_hu: float
    contrast_hu: float

    @property
    def blood_hu(self) -> float:
        """Flowing blood, HU: linear in the haematocrit (New and Aronow, Radiology 1976)."""
        return 12.0 + 88.0 * self.hematocrit + self.contrast_hu


def draw_traits(rng: np.random.Generator) -> Traits:
    """Draws the traits of a patient."""
    age = float(18.0 + 77.0 * rng.beta(2.2, 1.3))
    old = (age - 18.0) / 77.0
    atrophy = float(np.clip(0.75 * old**1.3 + rng.normal(0.08, 0.14), 0.02, 1.0))
    grey_hu = float(rng.uniform(34.5, 41.5))
    return Traits(
        age=age,
        length_mm=float(np.clip(rng.normal(166.0, 5.5), 152.0, 180.0)),
        index=float(np.clip(rng.normal(0.85, 0.045), 0.74, 0.95)),
        height=float(np.clip(rng.normal(0.935, 0.03), 0.87, 1.0)),
        skew=float(np.clip(rng.normal(0.0, 0.02), -0.05, 0.05)),
        atrophy=atrophy,
        skull_mm=float(np.clip(rng.normal(5.8, 0.8), 4.3, 8.0)),
        scalp_mm=float(rng.uniform(4.0, 11.0)),
        skin_mm=float(rng.uniform(2.0, 3.6)),
        galea_mm=float(rng.uniform(1.4, 3.4)),
        bone_hu=float(rng.uniform(1350.0, 1950.0)),
        diploe=float(rng.uniform(0.3, 0.85)),
        grey_hu=grey_hu,
        white_hu=grey_hu - float(rng.uniform(7.0, 10.5)) - 1.5 * old,
        fluid_hu=float(rng.uniform(5.0, 15.0)),
        hematocrit=float(np.clip(rng.normal(0.41, 0.05), 0.27, 0.50)),
        ventricle=float(0.72 + 1.0 * atrophy + rng.uniform(-0.12, 0.15)),
        ventricle_skew=float(np.clip(rng.normal(0.0, 0.08), -0.25, 0.25)),
        white_disease=float(np.clip(0.9 * old**2.5 + rng.normal(0.0, 0.18), 0.0, 1.0)),
        pneumatization=float(rng.uniform(0.05, 0.9)),
        hair_mm=float(max(0.0, rng.uniform(-6.0, 14.0))),
        hair_hu=float(rng.uniform(-970.0, -850.0)),
        contrast_hu=float(rng.uniform(60.0, 220.0)) if rng.uniform() < 0.04 else 0.0,
    )
