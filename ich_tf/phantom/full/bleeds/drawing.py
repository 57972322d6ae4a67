"""Random bleeds of each kind, before they are sized to a volume."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.full.bleeds.ages import Patient, draw_blood
from ich_tf.phantom.full.bleeds.extra_axial import Epidural, Sheet, Subdural
from ich_tf.phantom.full.bleeds.fluid_blood import Intraventricular, Subarachnoid
from ich_tf.phantom.full.bleeds.noise import Noise, draw_noise
from ich_tf.phantom.full.bleeds.parenchymal import Haematoma
from ich_tf.phantom.full.bleeds.sites import (
    CONTUSION_SITES,
    DEEP_SITES,
    brain_point,
    direction,
    lobar_point,
    surface_point,
)
from ich_tf.phantom.full.voxels import Voxels

EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR, SUBARACHNOID, SUBDURAL = range(len(SUBTYPES))


@dataclasses.dataclass(frozen=True, eq=False)
class Artist:
    """Draws bleeds of one patient.

    Attributes:
      rng: Random generator.
      interior: Voxels of the cranial cavity, one-dimensional.
      patient: The patient's blood.
      fractures: Whether epidural bleeds come with fractures.
      grains: Noise of textures: wavelengths from 2.5 mm.
      lumps: Noise of outlines: wavelengths from 6 mm.
    """

    rng: np.random.Generator
    interior: Voxels
    patient: Patient
    fractures: bool
    grains: Noise
    lumps: Noise

    @classmethod
    def of(
        cls, rng: np.random.Generator, interior: Voxels, patient: Patient, fractures: bool
    ) -> Artist:
        """An artist with noises of its own.

        Args:
          rng: Random generator.
          interior: Voxels of the cranial cavity, one-dimensional.
          patient: The patient's blood.
          fractures: Whether epidural bleeds come with fractures.
        """
        return cls(
            rng, interior, patient, fractures, draw_noise(rng, 2.5, 1.6), draw_noise(rng, 6.0, 2.4)
        )

    def epidural(self, side: int) -> Epidural:
        """A lens below the squamous bone in three of four, else frontal, occipital or below.

        Thickness is 0.5 to 0.75 of the half width (chosen, from pictures in textbooks).
        """
        rng = self.rng
        place = rng.choice(4, p=(0.74, 0.12, 0.08, 0.06))
        azimuth = (rng.uniform(-28, 28), rng.uniform(-72, -50), rng.uniform(55, 75), 55.0)[place]
        elevation = (rng.uniform(-12, 35), rng.uniform(0, 30), rng.uniform(-5, 20), -32.0)[place]
        point, axes = surface_point(self.interior, direction(azimuth, elevation, side))
        # Coronal and lambdoid suture, from the crown forwards and backwards to the sides.
        coronal, lambdoid = (0.0, 0.94, 0.34, -22.0), (0.0, -0.8, 0.6, -47.0)
        sutures = ((coronal, lambdoid), ((0.0, -0.94, -0.34, 22.0),), (), ())[int(place)]
        radius, slim = 24.0, rng.uniform(0.5, 0.75)
        stretch = rng.uniform(0.95, 1.35)
        # Nine of ten lie below a fracture (textbooks), seen or not.
        crack = float(rng.uniform(0, math.pi)) if rng.uniform() < 0.9 else None
        return Epidural(
            EPIDURAL,
            draw_blood(rng, self.patient, self.grains, "clot"),
            pushing=float(rng.uniform(0.9, 1.3)),
            point=point.astype(np.float32),
            axes=axes.astype(np.float32),
            radii=(radius * stretch, radius / stretch),
            height_mm=float(radius * slim),
            sutures=sutures,
            side=side,
            outline=self.lumps.moved(rng),
            crack=crack if self.fractures else None,
        )

    def subdural(self, side: int) -> Subdural:
        """A crescent over the convexity, 5 to 11 mm thick at about 50 ml (chosen)."""
        rng = self.rng
        return Subdural(
            SUBDURAL,
            draw_blood(rng, self.patient, self.grains, "subdural"),
            pushing=float(rng.uniform(0.8, 1.3)),
            side=side,
            azimuth=math.radians(rng.uniform(-25, 30)),
            elevation=math.radians(rng.uniform(8, 45)),
            widths=(float(rng.uniform(1.0, 1.6)), float(rng.uniform(0.6, 1.0))),
            height_mm=float(rng.uniform(5.5, 11.0)),
            power=float(rng.uniform(2.0, 4.5)),
            sag=float(rng.uniform(-0.1, 0.4)),
            outline=self.lumps.moved(rng),
        )

    def sheet(self, side: int) -> Sheet:
        """Blood along the falx in two of three, mostly behind, else upon the tentorium."""
        rng = self.rng
        on_falx = bool(rng.uniform() < 0.65)
        first, second = rng.uniform(size=2)
        middle = (-50.0 + 105.0 * first, 30.0 + 25.0 * second)
        if not on_falx:
            middle = (side * (18.0 + 16.0 * first), 30.0 + 25.0 * second)
        return Sheet(
            SUBDURAL,
            draw_blood(rng, self.patient, self.grains, "subdural"),
            pushing=0.5,
            dura="falx" if on_falx else "tent",
            side=side,
            middle=middle if on_falx else (abs(middle[0]), middle[1]),
            radii=(float(rng.uniform(25, 40)), float(rng.uniform(15, 28))),
            height_mm=float(rng.uniform(3.0, 6.0)),
            outline=self.lumps.moved(rng),
        )

    def haematoma(self, side: int, site: str, volume_ml: float) -> Haematoma:
        """A spontaneous haematoma.

        Args:
          side: -1 right, 1 left.
          site: A site of `DEEP_SITES`, or `lobar`.
          volume_ml: Volume, by which deep ones grow to the side.
        """
        rng = self.rng
        radius = (volume_ml * 1e3 / 4.19) ** (1 / 3)
        if site == "lobar":
            center = lobar_point(rng, self.interior, side, radius)
            ratio, rough = tuple(rng.uniform(0.7, 1.4, 3)), (0.1, 0.35)
        else:
            ((x, y, z), ratio), rough = DEEP_SITES[site], (0.08, 0.25)
            grown = {"putamen": 0.3, "thalamus": 0.25}.get(site, 0.0) * radius
            wanted = np.array([side * (x + grown), y, z]) + rng.normal(0, 2.0, 3)
            center = brain_point(self.interior, wanted, site not in ("cerebellum", "pons"))
        # Half of them are lobed (chosen: about half of all are irregular).
        count = int(rng.choice((1, 2, 3), p=(0.5, 0.3, 0.2)))
        return self._lumps(
            center, ratio, count, 0.75, float(rng.uniform(*rough)), "pool", side, site
        )

    def contusion(self, side: int) -> Haematoma:
        """Lumps in the cortex of a frontal or temporal lobe, torn, with oedema between them."""
        rng = self.rng
        site = str(rng.choice(list(CONTUSION_SITES), p=(0.3, 0.25, 0.25, 0.2)))
        x, y, z = CONTUSION_SITES[site]
        towards = np.array([side * x, y, z]) + rng.normal(0, 0.12, 3)
        point, _axes = surface_point(self.interior, towards, 7.0)
        count = int(rng.integers(3, 9))
        return self._lumps(
            point, (1.0, 1.0, 1.0), count, 1.5, float(rng.uniform(0.25, 0.45)), "torn", side, site
        )

    def _lumps(
        self,
        center: np.ndarray,
        ratio: tuple[float, ...],
        count: int,
        apart: float,
        rough: float,
        kind: str,
        side: int,
        site: str,
    ) -> Haematoma:
        rng = self.rng
        lumps = np.zeros((count, 4), np.float32)
        away = rng.standard_normal((count, 3))
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        lumps[:, :3] = away * rng.uniform(0.6, 1.0, (count, 1)) * apart
        lumps[:, 3] = rng.uniform(0.35, 0.8, count)
        lumps[0] = (0, 0, 0, 1)
        if kind == "torn":
            lumps[0, 3] = 0.6
        axes = np.eye(3)
        if site == "lobar" or kind == "torn":
            axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        blood = draw_blood(rng, self.patient, self.grains, kind)
        # Thin at first, then wider for a week or two, gone after weeks (textbooks).
        days = self.patient.days
        width = float(rng.uniform(1.5, 4.5) + min(1.6 * days, 8.0)) * max(0.0, 1.0 - days / 60.0)
        radius = 13.0
        return Haematoma(
            INTRAPARENCHYMAL,
            blood,
            # With its oedema; some brain is destroyed instead.
            pushing=float(rng.uniform(0.8, 1.6)),
            center=center.astype(np.float32),
            axes=axes.astype(np.float32),
            radii=tuple(radius * float(r) for r in ratio),  # type: ignore[arg-type]
            lumps=lumps,
            rough=rough,
            side=0 if site in ("cerebellum", "pons") else side,
            above=site not in ("cerebellum", "pons"),
            oedema_mm=width * (1.5 if kind == "torn" else 1.0),
            oedema_hu=float(rng.uniform(7.0, 13.0)),
            outline=self.lumps.moved(rng),
        )

    def cisternal(self, side: int, volume_ml: float) -> Subarachnoid:
        """Blood of an aneurysm: basal cisterns, Sylvian fissures, the anterior fissure.

        Args:
          side: Side of the aneurysm, -1 right, 1 left.
          volume_ml: Volume, by which the blood spreads: a little stays where it came from.
        """
        rng = self.rng
        sources = np.array(
            [
                (0, -8, -24, 30, 26, 17),
                (side * 36, -10, -6, 22, 26, 20),
                (0, -52, 4, 8, 32, 26),
                (-side * 36, -10, -6, 22, 26, 20),
                (0, 16, -18, 32, 17, 14),
                (0, -4, -42, 20, 16, 20),
            ],
            np.float32,
        )
        sources[:, :3] += rng.normal(0, 3, (len(sources), 3))
        # Aneurysms of the internal carotid, the middle and the anterior cerebral artery (chosen:
        # about a third each).
        origin = int(rng.choice(3, p=(0.4, 0.3, 0.3)))
        spread = rng.uniform(size=len(sources)) < np.clip(volume_ml / 15.0, 0.15, 0.9)
        spread[origin] = True
        strength = rng.uniform(0.5, 1.0, len(sources))
        strength[origin] = rng.uniform(0.85, 1.0)
        return self._subarachnoid(
            np.column_stack([sources, strength])[spread].astype(np.float32),
            float(rng.uniform(2.0, 5.0)),
        )

    def convexity(self, side: int) -> Subarachnoid:
        """Blood of a blow to the head: a few sulci below one spot of the skull."""
        rng = self.rng
        towards = direction(rng.uniform(-70, 70), rng.uniform(-5, 60), side)
        point, _ = surface_point(self.interior, towards, 8.0)
        strength = float(rng.uniform(0.8, 1.0))
        sources = np.array([(*point, *rng.uniform(14, 24, 3), strength)], np.float32)
        return self._subarachnoid(sources, float(rng.uniform(4.0, 9.0)))

    def _subarachnoid(self, sources: np.ndarray, patches: float) -> Subarachnoid:
        blood = draw_blood(self.rng, self.patient, self.grains, "fluid")
        return Subarachnoid(SUBARACHNOID, blood, 0.0, sources, patches, self.lumps.moved(self.rng))

    def intraventricular(self, side: int) -> Intraventricular:
        """Blood in the ventricles: a level in half of them, else clots up to a cast.

        Args:
          side: -1 right, 1 left, 0 both.
        """
        rng = self.rng
        clotted = bool(rng.uniform() < 0.5)
        rough = rng.uniform(4.0, 16.0)
        return Intraventricular(
            INTRAVENTRICULAR,
            draw_blood(rng, self.patient, self.grains, "fluid"),
            pushing=0.0,
            level_mm=0.0,
            # A head lies turned by up to 25 degrees (measured on a GE head scan).
            slope=math.tan(math.radians(float(rng.normal(0.0, 7.0)))),
            rough_mm=float(rough if clotted else 0.0),
            side=side,
            outline=self.lumps.moved(rng),
        )
