"""Heads of the full realism: the same by seed, and of human size, density and order."""

from __future__ import annotations

import numpy as np
import pytest

from ich_tf.phantom.full.anatomy import Head, draw_head
from ich_tf.phantom.full.voxels import Voxels

_STEP_MM = 4.0
# A lattice this coarse has a head's sizes and densities, but no folds.
_LATTICE_MM = 3.5


@pytest.fixture(scope="module")
def head() -> Head:
    return draw_head(np.random.default_rng(3), _LATTICE_MM)


@pytest.fixture(scope="module")
def voxels(head: Head) -> Voxels:
    """The whole head on a grid of 4 mm."""
    axes = [
        np.arange(low, high, _STEP_MM, dtype=np.float32)
        for low, high in zip(head.low, head.high, strict=True)
    ]
    z, y, x = np.meshgrid(*axes[::-1], indexing="ij")
    return head.voxels(x, y, z)


def test_voxels_do_not_depend_on_the_grid_that_asks(head: Head, voxels: Voxels) -> None:
    part = (slice(20, 30), slice(7, 41, 2), slice(5, 30, 3))
    again = head.voxels(voxels.x[part], voxels.y[part], voxels.z[part])
    for name in ("hu", "depth", "falx", "tent", "relief", "brain", "fluid", "ventricle"):
        # cv2.remap rounds positions to 1/32 of the lattice's step.
        np.testing.assert_allclose(
            getattr(again, name), getattr(voxels, name)[part], rtol=0, atol=1e-3, err_msg=name
        )


def test_shares_are_shares_and_lie_in_the_cavity(voxels: Voxels) -> None:
    total = voxels.brain + voxels.fluid + voxels.ventricle
    assert voxels.hu.dtype == voxels.brain.dtype == np.float32
    assert np.isfinite(voxels.hu).all()
    assert min(voxels.brain.min(), voxels.fluid.min(), voxels.ventricle.min()) >= 0
    assert total.max() <= 1.001
    assert total[voxels.depth < -1].max() == 0


def test_volumes_are_human(voxels: Voxels) -> None:
    voxel_ml = _STEP_MM**3 / 1000
    cavity, brain, ventricle = (
        float(part.sum()) * voxel_ml for part in (voxels.depth > 0, voxels.brain, voxels.ventricle)
    )
    # Adults: cavity 1,100 to 1,800 ml, brain 1,000 to 1,600, ventricles 10 to 80.
    assert 1050 < cavity < 1900
    assert 900 < brain < 1650
    assert 5 < ventricle < 100


def test_densities_are_those_of_tissue(head: Head, voxels: Voxels) -> None:
    brain = voxels.hu[voxels.brain > 0.98]
    assert head.traits.white_hu - 3 < np.median(brain) < head.traits.grey_hu + 1
    bone = voxels.hu[(voxels.depth < -2) & (voxels.depth > -4) & (voxels.z > 20)]
    assert 450 < np.median(bone) < 1900
    corner = voxels.hu[-1, 0]
    assert (corner == -1000).all()


def test_sides_are_those_of_the_patient(voxels: Voxels) -> None:
    assert (voxels.falx[voxels.x > 12] > 0).all()
    # The nose is in front (y is to the back), and the cerebellum below the tentorium behind.
    face = voxels.hu[:20] > -300
    assert voxels.y[:20][face].min() < -95
    below = (voxels.tent < 0) & (voxels.brain > 0.9) & (voxels.z > -70)
    assert voxels.y[below].mean() > 20


def test_heads_differ_and_repeat(head: Head) -> None:
    y, x = (axis[None].astype(np.float32) * 6 - 70 for axis in np.indices((24, 24)))
    z = np.full(x.shape, 15.0, np.float32)
    again, other = (draw_head(np.random.default_rng(seed), _LATTICE_MM) for seed in (3, 4))
    first = head.voxels(x, y, z).hu
    np.testing.assert_array_equal(first, again.voxels(x, y, z).hu)
    assert np.abs(first - other.voxels(x, y, z).hu).mean() > 20
