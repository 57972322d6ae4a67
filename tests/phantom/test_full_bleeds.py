"""Bleeds in a head of plain shapes, whose volumes and distances are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ich_tf.labels import SUBTYPES
from ich_tf.phantom.full.bleeds import Bleeds, draw_bleeds, draw_volume
from ich_tf.phantom.full.bleeds.ages import Patient, draw_blood, draw_patient
from ich_tf.phantom.full.bleeds.blood import Blood
from ich_tf.phantom.full.bleeds.mass_effect import push
from ich_tf.phantom.full.bleeds.noise import draw_noise
from ich_tf.phantom.full.voxels import Voxels
from ich_tf.phantom.shapes import ellipsoid, share

STEP_MM = 5.0
VOXEL_ML = STEP_MM**3 / 1000
EPIDURAL, INTRAPARENCHYMAL, INTRAVENTRICULAR, SUBARACHNOID, SUBDURAL = range(5)


def plain_head(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Voxels:
    """An ellipsoid of brain with a rim of fluid, two round ventricles and a flat tentorium."""
    depth = ellipsoid(x, y, z, 67.0, 84.0, 72.0)
    ventricle = share(13.0 - np.hypot(np.hypot(np.abs(x) - 14, 0.5 * y), z - 8))
    stripes = share(np.sin(0.4 * y + 0.3 * z) - 0.6, 0.4) * share(12.0 - depth)
    fluid = share(depth) * np.maximum(share(3.0 - depth), stripes)
    brain = share(depth) * (1 - fluid) * (1 - ventricle)
    bone = 1000.0 * share(depth + 8.0)
    hu = bone - share(depth) * (1000.0 - 6.0) + 26.0 * brain
    return Voxels(x, y, z, depth, x, z + 25.0, np.zeros_like(x), hu, brain, fluid, ventricle)


@pytest.fixture(scope="module")
def head() -> Voxels:
    """The plain head on a coarse grid."""
    axes = (np.arange(-n, n + 1, STEP_MM, dtype=np.float32) for n in (76, 72, 88))
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return plain_head(x, z * 0 + y, z)


def drawn(head: Voxels, leading: int, seed: int = 3, volume_ml: float = 20.0) -> Bleeds:
    """Bleeds of a seed."""
    return draw_bleeds(np.random.default_rng(seed), head, VOXEL_ML, leading, volume_ml)


@pytest.mark.parametrize("leading", range(5))
def test_bleeds_have_the_asked_volume_and_lie_in_the_cavity(head: Voxels, leading: int) -> None:
    for seed in range(2):
        bleeds = drawn(head, leading, seed, 8.0)
        hu, shares = bleeds.paint(head)
        assert hu.dtype == shares.dtype == np.float32 and shares.shape == (5, *head.x.shape)
        first = next(t for t in bleeds.truth.bleeds if t.subtype == SUBTYPES[leading])
        assert first.ml == pytest.approx(8.0, rel=0.1)
        painted = {t.subtype: 0.0 for t in bleeds.truth.bleeds}
        for bleed in bleeds.truth.bleeds:
            painted[bleed.subtype] += bleed.ml
        for index, name in enumerate(SUBTYPES):
            volume = shares[index].sum() * VOXEL_ML
            assert volume == pytest.approx(painted.get(name, 0.0), rel=1e-3, abs=1e-3)
        blood = shares.sum(axis=0)
        assert blood.max() <= 1 + 1e-5 and blood[head.depth < -1].max() == 0
        # Nothing but the cavity is changed.
        np.testing.assert_array_equal(hu[head.depth < -1], head.hu[head.depth < -1])


def test_the_same_generator_draws_the_same_bleeds_and_one_number(head: Voxels) -> None:
    results, after = [], []
    for leading in (SUBDURAL, SUBDURAL, EPIDURAL):
        rng = np.random.default_rng(5)
        results.append(draw_bleeds(rng, head, VOXEL_ML, leading, 12.0).paint(head)[0].tobytes())
        after.append(rng.uniform())
    assert results[0] == results[1] != results[2]
    assert after[0] == after[1] == after[2]


def test_fractures_cross_the_bone_beside_an_epidural_bleed_where_they_are_asked_for(
    head: Voxels,
) -> None:
    cracked = 0
    for seed in range(2):
        rng = np.random.default_rng(seed)
        bleeds = draw_bleeds(rng, head, VOXEL_ML, EPIDURAL, 20.0, fractures=True)
        hu, shares = bleeds.paint(head)
        changed = (hu < head.hu - 100) & (head.depth < -1)
        cracked += changed.sum()
        middle = np.array([a[shares[EPIDURAL] > 0.5].mean() for a in (head.x, head.y, head.z)])
        place = np.array([head.x[changed], head.y[changed], head.z[changed]]).T
        assert (np.linalg.norm(place - middle, axis=1) < 70).all()
    assert 0 < cracked < 2000


def test_density_inside_is_as_in_the_truth(head: Voxels) -> None:
    bleeds = drawn(head, INTRAPARENCHYMAL, 1, 30.0)
    leading = bleeds.truth.bleeds[0]
    hu, shares = bleeds.paint(head)
    inside = shares[INTRAPARENCHYMAL] > 0.99
    assert inside.sum() > 100
    assert hu[inside].mean() == pytest.approx(leading.mean_hu, abs=2.5)


def test_each_subtype_lies_where_it_belongs(head: Voxels) -> None:
    for seed in range(2):
        epidural = drawn(head, EPIDURAL, seed, 15.0).paint(head)[1][EPIDURAL] > 0.5
        assert head.depth[epidural].max() < 30
        subdural = drawn(head, SUBDURAL, seed, 15.0).paint(head)[1][SUBDURAL] > 0.5
        assert (head.tent[subdural] > -1).all()
        ventricular = drawn(head, INTRAVENTRICULAR, seed, 5.0).paint(head)[1][INTRAVENTRICULAR]
        assert ventricular[head.ventricle < 0.01].max() == 0
        subarachnoid = drawn(head, SUBARACHNOID, seed, 5.0).paint(head)[1][SUBARACHNOID]
        assert subarachnoid[head.fluid < 0.01].max() == 0


def test_a_bleed_pushes_the_midline_away_and_leaves_the_skull(head: Voxels) -> None:
    interior = head.take(head.depth > -1.5)
    pushed = share(8.0 - interior.depth) * share(interior.x - 20.0)
    effect = push(interior, pushed, 120.0)
    assert effect.shift_mm < -1.0, "a bleed on the left pushes to the right"
    moved = -np.stack(effect.displacement(interior.x, interior.y, interior.z))
    # Towards the bone, where there is no bleed, nothing moves.
    normal = np.stack([interior.x / 67**2, interior.y / 84**2, interior.z / 72**2])
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-6)
    outward = (moved * normal).sum(axis=0)
    far = (interior.depth < 3) & (interior.x < -30)
    assert np.abs(outward[far]).mean() < 0.2 * np.abs(effect.shift_mm), outward[far].mean()
    # Below the bleed the brain moves inwards by about its thickness.
    below = (interior.x > 45) & (interior.depth > 9) & (interior.depth < 14)
    assert outward[below].mean() == pytest.approx(-8.0, abs=3.0)
    assert effect.effacement(interior.x, interior.y, interior.z)[below].mean() > 0.1
    mirrored = push(dataclasses.replace(interior, falx=-interior.falx), pushed, 120.0)
    assert mirrored.shift_mm == pytest.approx(effect.shift_mm, rel=0.2)


def test_the_skull_stays_and_blood_replaces_what_would_have_come_from_it(head: Voxels) -> None:
    bleeds = drawn(head, SUBDURAL, 2, 60.0)
    voxels = bleeds.pushed(plain_head, head.x, head.y, head.z)
    np.testing.assert_array_equal(voxels.depth, head.depth)
    outside = head.depth < 0
    np.testing.assert_array_equal(voxels.hu[outside], head.hu[outside])
    assert voxels.hu[head.depth > 1].max() < 100, "no bone in the cavity"
    assert np.abs(voxels.brain - head.brain).max() > 0.5, "brain has moved"
    hu, shares = bleeds.paint(voxels)
    filled = (shares[SUBDURAL] > 0.99) & (head.depth > 1.5)
    assert hu[filled].mean() == pytest.approx(bleeds.truth.bleeds[0].mean_hu, abs=3.0)
    np.testing.assert_array_equal(Bleeds().pushed(plain_head, head.x, head.y, head.z).hu, head.hu)


def test_blocked_ventricles_grow(head: Voxels) -> None:
    interior = head.take(head.depth > -1.5)
    effect = push(interior, np.zeros_like(interior.x), 120.0, widened=0.4)
    dx, _, _ = effect.displacement(interior.x, interior.y, interior.z)
    wall = (interior.x > 22) & (interior.x < 34) & (np.abs(interior.y) < 8)
    wall &= (interior.z > 2) & (interior.z < 14)
    assert dx[wall].mean() < -1.0, "the wall's tissue came from nearer to the midline"


def test_displacements_on_planes_are_those_of_single_points(head: Voxels) -> None:
    interior = head.take(head.depth > -1.5)
    effect = push(interior, 0.15 * share(interior.x - 40.0), 120.0)
    row, column = np.meshgrid(*(np.arange(-60, 60, 0.9, dtype=np.float32),) * 2, indexing="ij")
    plane = [v[None] for v in (column + 0.1 * row, row - 0.1 * column, 0.2 * row + 9)]
    for whole, single in zip(
        effect.displacement(*plane),
        effect.displacement(*(v.reshape(-1) for v in plane)),
        strict=True,
    ):
        assert whole.shape == plane[0].shape
        assert np.abs(whole.reshape(-1) - single).mean() < 0.05 * np.abs(single).mean()
    uneven = [v**3 / 3600 for v in plane]
    single = effect.displacement(*(v.reshape(-1) for v in uneven))[0]
    np.testing.assert_allclose(effect.displacement(*uneven)[0].reshape(-1), single, atol=1e-4)


def test_blood_gains_density_within_hours_and_loses_it_within_weeks() -> None:
    noise = draw_noise(np.random.default_rng(0), 2.5, 1.6)

    def clot_hu(days: float, haematocrit: float = 0.45) -> float:
        return Blood(days, haematocrit, 1.4, 1.4, 0.0, noise).clot_hu

    assert clot_hu(0.02) < 62 < clot_hu(0.5) < 80
    assert clot_hu(1.0) - clot_hu(13.0) == pytest.approx(14.0, abs=0.1)
    assert 15 < clot_hu(90.0) < 25
    assert clot_hu(1.0, 0.22) < 45, "blood of anaemia is hard to tell from brain"


def test_unclotted_blood_settles_behind_serum() -> None:
    rng = np.random.default_rng(1)
    noise = draw_noise(rng, 2.5, 1.6)
    blood = Blood(0.5, 0.45, 1.4, 1.4, 0.0, noise, settled=0.5)
    y = np.linspace(-20, 20, 81, dtype=np.float32)
    flat = np.zeros_like(y)
    part = Voxels(flat, y, flat, flat, flat, flat, flat, flat, flat, flat, flat)
    hu = blood.levelled(y).hu(part, flat)
    assert hu[y < -3].max() < 35 and hu[y > 3].min() > 60
    assert blood.hu(part, flat).min() > 60, "no level before it is placed"


def test_old_blood_is_subdural_alone() -> None:
    rng = np.random.default_rng(2)
    days = {kind: [draw_patient(rng, kind).days for _ in range(200)] for kind in ("clot", "fluid")}
    old = [draw_patient(rng, "subdural").days for _ in range(200)]
    assert max(days["clot"]) < 21 and max(days["fluid"]) < 3 and max(old) > 21
    noise = draw_noise(rng, 2.5, 1.6)
    kinds = [draw_blood(rng, Patient(40.0, 0.45, True), noise, "subdural") for _ in range(60)]
    assert any(blood.mixture for blood in kinds) and any(blood.membranes for blood in kinds)
    assert not any(blood.swirl for blood in kinds)


def test_volumes_have_their_median_and_stay_in_the_range() -> None:
    rng = np.random.default_rng(0)
    volumes = np.array([draw_volume(rng, INTRAPARENCHYMAL, 0.1, 200.0) for _ in range(2000)])
    assert np.median(volumes) == pytest.approx(11.0, rel=0.1)
    few = [draw_volume(rng, SUBDURAL, 2.0, 3.0) for _ in range(100)]
    assert min(few) >= 2.0 and max(few) <= 3.0
    assert draw_volume(rng, SUBDURAL, 1e-9, 1e-8) <= 1e-8


def test_noise_is_standard_and_repeats_nowhere_near() -> None:
    noise = draw_noise(np.random.default_rng(0), 6.0, 2.4)
    x, y, z = np.random.default_rng(1).uniform(-90, 90, (3, 20000)).astype(np.float32)
    values = noise.at(x, y, z)
    assert abs(values.mean()) < 0.15 and values.std() == pytest.approx(1.0, abs=0.15)
    assert np.abs(noise.at(x + 0.3, y, z) - values).mean() < 0.2
    assert abs(np.corrcoef(noise.at(x + 40.0, y, z), values)[0, 1]) < 0.3


def test_bleeds_grow_paler_with_the_days_where_they_are(head: Voxels) -> None:
    fresh = drawn(head, INTRAPARENCHYMAL)
    later = fresh.later(6.0)
    (hu, shares), (later_hu, later_shares) = fresh.paint(head), later.paint(head)
    np.testing.assert_array_equal(shares, later_shares)
    inside = shares[INTRAPARENCHYMAL] > 0.9
    fall = fresh.truth.bleeds[0].mean_hu - later.truth.bleeds[0].mean_hu
    assert later.truth.bleeds[0].days == fresh.truth.bleeds[0].days + 6.0
    assert (hu - later_hu)[inside].mean() == pytest.approx(fall, abs=3.0) and fall > 1.0
