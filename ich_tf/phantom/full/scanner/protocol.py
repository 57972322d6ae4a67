"""What is drawn for a scan: tube, kernel, dose, slices, and what goes wrong."""

from __future__ import annotations

import dataclasses

import numpy as np

from ich_tf.phantom.full.scanner.kernel import Kernel, draw_kernel

# Thickness of slices at the base, and above it, mm, and their weight. A GE head scan of 28 slices
# has 4 and 7; a Philips one 5. RSNA's set has 5 mm and 2.5 mm most often (Flanders et al.,
# Radiology: Artificial Intelligence 2020, describe slices of 3 to 5 mm as the task's usual input).
_THICKNESS_MM = (
    (5.0, 5.0, 0.52),
    (2.5, 2.5, 0.07),
    (3.0, 3.0, 0.08),
    (4.0, 4.0, 0.06),
    (2.5, 5.0, 0.06),
    (4.0, 7.0, 0.05),
    (5.0, 10.0, 0.06),
    (4.8, 4.8, 0.04),
    (6.0, 6.0, 0.03),
    (1.25, 1.25, 0.02),
    (10.0, 10.0, 0.01),
)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a head is scanned.

    Ranges are chosen around a GE head scan of 28 slices and two Philips scans, unless an attribute
    names a source.

    Attributes:
      kvp: Voltage of the tube, kV: 120 in 80 %, else 100, 130 or 140.
      tube_ma: Current of the tube, mA, 100 to 350: for the header alone.
      kernel: Reconstruction kernel.
      noise_hu: Standard deviation of the noise in the middle of a standard head, in slices of 5 mm
        and pixels of 0.45 mm: its median times 0.6 to 1.7 (lognormal). The GE scan has 4.6 HU at
        4 mm and 3.5 at 7 mm.
      smoothing: Strength of iterative reconstruction, 0 to 0.8; 0 in two thirds of the scans.
      modulation: Share of the attenuation's changes that the tube's current follows, 0 to 0.7.
      electronics: Noise of the detector, as a share of the photons' noise where no tissue is:
        e^-9 to e^-6.5.
      base_mm: Thickness of the slices at the base.
      crown_mm: Thickness of the slices above it.
      profile: Width over which a slice is summed, in thicknesses: 1 step by step; 1.05 to 1.25
        spiral (Kalender and Polacin, "Physical performance characteristics of spiral CT scanning",
        Medical Physics 1991, show wider profiles).
      view_mm: Diameter of the field of view: 230 to 260; in 5 % 190 to 215, which cuts heads off.
      tilt_deg: Tilt of the gantry, -24 to -8 degrees; 0 for none.
      hardening: Share of the beam hardening by bone that the reconstruction leaves: 0.4 to 1.
      scatter: Scattered photons left in each ray, as a share of the photons without tissue: 0 to
        9e-4. Behind a head arrive 1.5 % of the photons, so that is up to 6 % of these.
      water_hu: Error of the calibration, HU of water: normal, 0 +- 1.2. Within 4 HU passes the
        usual test of constancy (IEC 61223-3-5).
      mottle_hu: Unevenness of tissue over about 3 mm, which no dose changes: 0.6 to 2 HU. In a GE
        head scan of 28 slices the noise power of white matter below 0.25 per mm is the same at
        4 and at 7 mm, 2.4 HU in all; some of that is anatomy.
      moving: Whether the patient moves.
    """

    kvp: int
    tube_ma: int
    kernel: Kernel
    noise_hu: float
    smoothing: float
    modulation: float
    electronics: float
    base_mm: float
    crown_mm: float
    profile: float
    view_mm: float
    tilt_deg: float
    hardening: float
    scatter: float
    water_hu: float
    mottle_hu: float
    moving: bool


def draw_protocol(
    rng: np.random.Generator, noise_hu: float, tilt_fraction: float, motion_fraction: float
) -> Protocol:
    """Draws how a head is scanned.

    Args:
      rng: Random generator of the study.
      noise_hu: Median of the noise in the brain, HU.
      tilt_fraction: Share of the scans with a tilted gantry, 0 to 1.
      motion_fraction: Share of the scans during which the patient moves, 0 to 1.
    """
    base, crown, weights = zip(*_THICKNESS_MM, strict=True)
    slices = int(rng.choice(len(weights), p=np.array(weights) / sum(weights)))
    spiral = bool(rng.uniform() < 0.5)
    tilted = bool(rng.uniform() < tilt_fraction)
    small = bool(rng.uniform() < 0.05)
    return Protocol(
        kvp=int(rng.choice([120, 100, 130, 140], p=[0.8, 0.06, 0.06, 0.08])),
        tube_ma=int(rng.integers(20, 71)) * 5,
        kernel=draw_kernel(rng),
        noise_hu=noise_hu * float(np.exp(np.clip(rng.normal(0.0, 0.22), -0.5, 0.53))),
        smoothing=float(max(0.0, rng.uniform(-1.6, 0.8))),
        modulation=float(rng.uniform(0.0, 0.7)),
        electronics=float(np.exp(rng.uniform(-9.0, -6.5))),
        base_mm=base[slices],
        crown_mm=crown[slices],
        profile=float(rng.uniform(1.05, 1.25)) if spiral else 1.0,
        view_mm=float(rng.integers(190, 216) if small else rng.integers(230, 261)),
        tilt_deg=-float(rng.uniform(8.0, 24.0)) if tilted else 0.0,
        hardening=float(rng.uniform(0.4, 1.0)),
        scatter=float(rng.uniform(0.0, 9e-4)),
        water_hu=float(np.clip(rng.normal(0.0, 1.2), -3.5, 3.5)),
        mottle_hu=float(rng.uniform(0.6, 2.0)),
        moving=bool(rng.uniform() < motion_fraction),
    )
