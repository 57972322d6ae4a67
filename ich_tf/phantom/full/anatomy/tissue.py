"""Hounsfield units of the brain: grey and white matter, and what age does to it."""

from __future__ import annotations

import numpy as np

from ich_tf.phantom.full.anatomy.cortex import Cortex
from ich_tf.phantom.full.anatomy.ground import Ground
from ich_tf.phantom.full.anatomy.hindbrain import Hindbrain
from ich_tf.phantom.shapes import capsule, ellipsoid, largest, share


def brain_hu(
    ground: Ground,
    hind: Hindbrain,
    cortex: Cortex,
    tent: np.ndarray,
    outer: np.ndarray,
    inner: np.ndarray,
) -> np.ndarray:
    """Hounsfield units of brain at each point, float32 [z, y, x].

    Args:
      ground: The points.
      hind: Brain stem and cerebellum.
      cortex: The folds.
      tent: Height above the tentorium, mm.
      outer: Distance from the surface of the fluid around the brain, mm, positive in the fluid.
      inner: Distance from the ventricles' wall, mm, positive in the ventricles.
    """
    traits = ground.traits
    above = tent > 0
    folds = np.where(cortex.reach > -3.0, np.maximum(cortex.width, 0.0) - cortex.sulcus, -9.0)
    surface = np.maximum(folds, -cortex.surface)
    grey = share(3.3 + np.maximum(surface, outer), 1.8)
    leaf = share(hind.cerebellum - 1.0, 2.0) * (0.85 + 0.1 * ground.fine)
    core = share(hind.cerebellum - 12.0 - 2.0 * ground.fine, 6.0)
    grey = np.where(above, grey, 0.15 + 0.6 * leaf * (1.0 - 0.7 * core))
    np.maximum(grey, _nuclei(ground), out=grey)
    white = np.float32(traits.white_hu)
    hu = white + (np.float32(traits.grey_hu) - white) * grey
    # Leukoaraiosis: caps and rims of the ventricles, and patches farther out.
    disease = np.float32(traits.white_disease)
    near = share(inner + 5.0 + 6.0 * disease + 2.0 * ground.relief, 9.0)
    patches = share(ground.relief - 2.2 + 1.6 * disease, 1.5) * disease
    hu -= 9.0 * np.maximum(disease * near, patches) * (1.0 - grey) * above
    # The leaves of the cerebellum, around its middle.
    hu += 4.5 * np.sin(np.float32(2.0 * np.pi / 6.0) * hind.turn) * leaf * (1.0 - core) * ~above
    return np.asarray(hu + 0.6 * ground.relief + 0.4 * ground.fine, np.float32)


def _nuclei(ground: Ground) -> np.ndarray:
    """Share of grey matter in the depth: caudate, lentiform nucleus, thalamus, insula."""
    x, y, z = ground.points
    side = np.abs(x)
    spread = 2.5 * ground.traits.ventricle - 1.5
    wide = 0.8 * ground.fine
    caudate = largest(
        ellipsoid(side - 12.0 - spread, y + 24.0, z - 8.0, 6.0, 11.0, 11.0),
        capsule(
            side, y, z, (13.0 + spread, -16.0, 16.0, 4.0), (19.0 + spread, 22.0, 20.0, 2.0), 1.0
        ),
    )
    lentiform = ellipsoid(side - 25.0 - 0.18 * (y + 3.0), y + 3.0, z - 3.0, 7.5, 20.0, 13.0)
    thalamus = ellipsoid(side - 11.0 - 0.3 * (y - 12.0), y - 13.0, z - 6.0, 9.0, 15.0, 11.0)
    grey = share(caudate + wide, 2.5)
    np.maximum(grey, share(lentiform + wide, 2.0), out=grey)
    np.maximum(grey, 0.85 * share(thalamus + wide, 2.5), out=grey)
    return grey
