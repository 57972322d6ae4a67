"""Statistics of a head whose numbers are known, and what tells two kinds of patches apart."""

import cv2
import numpy as np
import pytest

from ich_tf.image_quality.anatomy import anatomy_statistics
from ich_tf.image_quality.comparison import compare
from ich_tf.image_quality.discrimination import Group, discriminate
from ich_tf.image_quality.measurement import FAMILIES, Measurement, measure
from ich_tf.image_quality.patches import KINDS, feature_names
from ich_tf.image_quality.regions import find_regions
from ich_tf.image_quality.series import Series
from tests.support.ring_head import INNER_MM, OUTER_MM, PIXEL_MM, SKIN_MM, ring_head


def measured(hu: np.ndarray, patient: str = "p", pixel_mm: float = PIXEL_MM) -> Measurement | None:
    places = 5.0 * np.arange(len(hu))
    return measure(
        Series(patient, patient, "soft", hu, (pixel_mm, pixel_mm), places, np.full(len(hu), 5.0))
    )


def of_head(**noise: float) -> Measurement:
    measurement = measured(ring_head(**noise))
    assert measurement is not None
    return measurement


@pytest.fixture(scope="module")
def head() -> Measurement:
    return of_head(noise_hu=4.0)


def test_tissues_and_sizes_are_those_that_were_drawn(head: Measurement) -> None:
    expected = {
        "white_hu": (30.0, 1.0),
        "grey_hu": (38.0, 1.0),
        "fluid_hu": (5.0, 1.5),
        "bone_hu": (900.0, 20.0),
        "noise_hu": (4.0, 0.4),
        "head_length_mm": (2 * SKIN_MM, 1.5),
        "head_width_mm": (2 * SKIN_MM, 1.5),
        "aspect": (1.0, 0.01),
        "skull_mm": (OUTER_MM - INNER_MM, 1.0),
        "scalp_mm": (SKIN_MM - OUTER_MM, 1.0),
        "diploe": (1.0, 0.05),
        "asymmetry": (0.0, 0.01),
        "roughness": (1.0, 0.01),
        "view_mm": (160.0, 0.1),
        "margin_mm": (80.0 - SKIN_MM, 1.0),
        "outside_dense_cm2": (0.0, 0.1),
    }
    for name, (value, tolerance) in expected.items():
        assert head.median(name) == pytest.approx(value, abs=tolerance), name


def test_every_statistic_is_declared_once(head: Measurement) -> None:
    declared = [statistic.name for family in FAMILIES.values() for statistic in family]
    assert len(set(declared)) == len(declared)
    assert set(head.statistics) == set(declared)
    for kind in KINDS:
        assert head.patches[kind].features.shape[1] == len(feature_names(kind))
        assert len(head.patches[kind].slices) > 10
        assert np.isfinite(head.patches[kind].features).all()


@pytest.mark.parametrize("degrees", [-25.0, 0.0, 20.0])
def test_a_turned_oval_head_has_its_angle_and_axes(degrees: float) -> None:
    round_ = ring_head(slices=1)[0]
    side = len(round_)
    middle = (side - 1) / 2
    turn = cv2.getRotationMatrix2D((middle, middle), degrees, 1.0)
    # To 0.8 of its width, then turned; both about the middle.
    turn[:, 0] *= 0.8
    turn[:, 2] = middle - turn[:, :2] @ [middle, middle]
    oval = cv2.warpAffine(round_, turn, (side, side), borderValue=(-1000.0,))[None]
    found = anatomy_statistics(oval, find_regions(oval, PIXEL_MM), PIXEL_MM)
    assert found["rotation_deg"][0] == pytest.approx(abs(degrees), abs=1.0)
    assert found["aspect"][0] == pytest.approx(0.8, abs=0.01)
    assert found["head_length_mm"][0] == pytest.approx(2 * SKIN_MM, abs=2.0)
    assert found["head_width_mm"][0] == pytest.approx(1.6 * SKIN_MM, abs=2.0)
    assert found["asymmetry"][0] < 0.02


def test_of_coarse_pixels_what_cannot_be_measured_is_said(head: Measurement) -> None:
    coarse = measured(ring_head(pixel_mm=3.2), pixel_mm=3.2)
    assert coarse is not None
    assert np.isnan(coarse.median("noise_hu"))
    result = compare([coarse], [head])
    verdicts = {c.statistic.name: c.verdict for group in result.comparisons.values() for c in group}
    assert verdicts["noise_hu"] == "not measurable: no slice of the phantoms has it"
    assert verdicts["view_mm"] == "within the spread"


def test_distances_are_in_spreads_of_the_real_scans(head: Measurement) -> None:
    noisier = of_head(noise_hu=8.0)
    comparisons = compare([noisier], [head]).comparisons["Noise and sharpness"]
    noise = comparisons[0]
    # The slices are alike: the spread is the statistic's own resolution.
    assert noise.spread == noise.statistic.resolution
    assert noise.distance == pytest.approx((noise.phantom - noise.real) / noise.spread)
    assert noise.verdict == "apart"
    assert not noise.is_covered
    same = compare([head], [head])
    assert {c.verdict for group in same.comparisons.values() for c in group} <= {
        "within the spread",
        "not measurable: no slice of the phantoms has it",
    }
    assert set(same.histogram_distances.values()) == {0.0}


def test_patches_that_differ_are_told_apart_and_equal_ones_are_not() -> None:
    rng = np.random.default_rng(0)

    def groups(shift: float, width: float) -> list[Group]:
        return [
            Group(f"{shift}{width}{p}", np.zeros(80, int),
                  np.stack([rng.normal(shift, 1, 80), rng.normal(0, width, 80)], axis=1))
            for p in range(8)
        ]  # fmt: skip

    names = ["moved", "wider"]
    chance = discriminate("brain", names, groups(0, 1), groups(0, 1))
    assert chance.auc == pytest.approx(0.5, abs=0.06)
    moved = discriminate("brain", names, groups(2, 1), groups(0, 1))
    # Of two normal distributions 2 apart: the normal distribution at 2 / sqrt(2).
    assert moved.auc == pytest.approx(0.921, abs=0.02)
    assert moved.giveaways[0].name == "moved"
    assert moved.giveaways[0].weight > 0
    assert moved.held_out == "phantoms: a quarter of 8 patients; real: a quarter of 8 patients"
    assert discriminate("brain", names, groups(0, 4), groups(0, 1)).auc > 0.8
    none = discriminate("brain", names, groups(0, 1), [])
    assert none.held_out.startswith("not measurable: 640 patches of phantoms and 0 real ones")
    assert np.isnan(none.auc)


def test_one_head_among_phantoms_that_differ_is_told_from_them_as_each_of_them_is() -> None:
    rng = np.random.default_rng(2)

    def patient(name: str, place: float) -> Group:
        return Group(name, np.repeat(np.arange(8), 20), rng.normal(place, 0.3, (160, 2)))

    phantoms = [patient(str(p), p - 3.5) for p in range(8)]
    found = discriminate("brain", ["x", "y"], phantoms, [patient("real", 0.0)])
    # No phantom lacks anything, and yet the head is told from them: it is one among many.
    assert found.auc > 0.8
    assert len(found.single_aucs) == 4
    assert min(found.single_aucs) > 0.8


def test_of_one_head_blocks_of_slices_are_held_out() -> None:
    rng = np.random.default_rng(1)
    one = Group("a", np.repeat(np.arange(8), 20), rng.normal(0, 1, (160, 2)))
    many = [Group(str(p), np.zeros(40, int), rng.normal(0, 1, (40, 2))) for p in range(4)]
    found = discriminate("skull", ["x", "y"], many, [one])
    assert len(found.fold_aucs) == 4
    assert found.single_aucs == ()
    assert found.held_out.endswith("a quarter of the slices of 1 head, one block")
