"""Heads of the full realism: the same by seed, and of human size, density and order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ich_tf.phantom.full.anatomy import Head, draw_head
from ich_tf.phantom.full.anatomy.ground import Terrain
from ich_tf.phantom.full.anatomy.infarcts import Infarct, draw_infarcts
from ich_tf.phantom.full.anatomy.lattice import Lattice
from ich_tf.phantom.full.anatomy.noise import Noise
from ich_tf.phantom.full.anatomy.surgery import Opening, Rod, Surgery, draw_surgery
from ich_tf.phantom.full.anatomy.traits import draw_traits
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


def test_lattice_interpolates_between_its_points() -> None:
    # A linear function is its own interpolation; slabs come one after another.
    z, y, x = np.indices((7, 9, 11), np.float32)
    linear, other = x + 10 * y + 100 * z, x - y
    lattice = Lattice.pack(
        (5.0, -2.0, 1.0),
        2.0,
        linear.shape,
        ([linear[a:b], other[a:b]] for a, b in ((0, 4), (4, 7))),
    )
    rng = np.random.default_rng(0)
    u, v, w = (rng.uniform(0, size - 1.01, (3, 20, 10)) for size in (11, 9, 7))
    points = [(2 * axis + first).astype(np.float32) for axis, first in ((u, 5), (v, -2), (w, 1))]
    sampled = lattice.sample(*points)
    # cv2.remap rounds positions in a plane to 1/32 of the step.
    np.testing.assert_allclose(sampled[0], u + 10 * v + 100 * w, atol=0.2)
    np.testing.assert_allclose(sampled[1], u - v, atol=0.05)
    outside = [np.full((1, 1, 1), value, np.float32) for value in (-50, 100, 300)]
    assert lattice.sample(*outside)[0].item() == pytest.approx(0 + 10 * 8 + 100 * 6, abs=0.2)


@pytest.mark.parametrize("band", [False, True])
def test_noise_is_standardized_and_smooth(band: bool) -> None:
    low, high = (-40.0, -40.0, -40.0), (40.0, 40.0, 40.0)
    noise = Noise(np.random.default_rng(1), 4.0, low, high, band)
    z, y, x = np.meshgrid(*[np.arange(-38, 38, 1, np.float32)] * 3, indexing="ij")
    values = noise((x, y, z))
    assert abs(values.mean()) < 0.1
    assert 0.7 < values.std() < 1.05
    crossings = (values[:, :, 1:] > 0) != (values[:, :, :-1] > 0)
    assert 6 < 1 / crossings.mean() < 22


def test_infarcts_darken_and_surgery_opens_bone() -> None:
    traits = draw_traits(np.random.default_rng(0))
    ground = Terrain(np.random.default_rng(0), traits, 4.0).ground(slice(20, 50))
    hu = np.full_like(ground.x, 35.0)
    Infarct((40.0, 0.0, 15.0), (12.0, 12.0, 12.0), 15.0).add(ground, hu)
    near = np.sqrt((ground.x - 40) ** 2 + ground.y**2 + (ground.z - 15) ** 2)
    assert hu[near < 5] == pytest.approx(15.0)
    assert (hu[near > 25] == 35.0).all()

    outer = np.full_like(ground.x, 3.0)
    dense = np.zeros_like(outer)
    hole = Opening((1.0, 0.0, 0.0), 8.0, 0.0, ())
    clip = Rod((-20.0, 0.0, 10.0), (-20.0, 8.0, 10.0), 3.0, 3000.0)
    surgery = Surgery((hole,), (clip,))
    surgery.open_bone(ground, outer)
    surgery.add_hardware(ground, np.zeros_like(outer), dense)
    line = np.hypot(ground.y - 5, ground.z - 10)
    assert outer[(line < 5) & (ground.x > 55)].max() < 0
    assert (outer[(ground.x < 0) | (line > 14)] == 3.0).all()
    assert dense.max() > 1000
    assert (dense[ground.x > -10] == 0).all()


def test_most_heads_have_had_no_surgery() -> None:
    surgeries = [draw_surgery(np.random.default_rng(seed)) for seed in range(600)]
    share = np.mean([bool(surgery.openings or surgery.rods) for surgery in surgeries])
    assert 0.03 < share < 0.09
    old = [draw_traits(np.random.default_rng(seed)) for seed in range(300)]
    ages = np.array([traits.age for traits in old])
    infarcts = np.array([len(draw_infarcts(np.random.default_rng(7), item)) for item in old])
    atrophy = np.array([traits.atrophy for traits in old])
    assert infarcts[ages > 80].mean() > infarcts[ages < 50].mean()
    assert atrophy[ages > 80].mean() > atrophy[ages < 50].mean() + 0.2


def test_hair_ends_within_the_lattice(head: Head) -> None:
    traits = dataclasses.replace(head.traits, hair_mm=80.0, hair_hu=-850.0)
    hairy = dataclasses.replace(head, traits=traits)
    y, z = np.meshgrid(*[np.arange(-40.0, 60.0, 8.0, dtype=np.float32)] * 2)
    inside, beyond = (
        hairy.voxels(np.full_like(y[None], x), y[None], z[None]).hu
        for x in (head.high[0] - 12.0, head.high[0] + 15.0)
    )
    assert ((inside > -900.0) & (inside < -800.0)).any()
    assert (beyond == -1000.0).all()
