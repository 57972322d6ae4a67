"""Overlap, volumes, lesions and thresholds of masks."""

import itertools
from typing import Any

import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.metrics.extents import slice_extents_mm


def test_dice_and_iou_by_slice_and_of_all() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.random((2, 5, 7, 6)) < 0.4
    true[2] = False
    common, sizes = (true & predicted).sum((1, 2)), true.sum((1, 2)) + predicted.sum((1, 2))
    expected = np.where(true.any((1, 2)), 2 * common / sizes, np.nan)
    np.testing.assert_allclose(metrics.dice(true, predicted, axis=(1, 2)), expected)
    np.testing.assert_allclose(
        metrics.iou(true, predicted, axis=(1, 2)), expected / (2 - expected), rtol=1e-12
    )
    assert metrics.dice(true.astype(int), predicted) == 2 * common.sum() / sizes.sum()


def test_an_empty_reference_has_no_overlap_and_a_miss_has_none_left() -> None:
    nothing, some = np.zeros((3, 3)), np.eye(3)
    for metric in (metrics.dice, metrics.iou):
        assert np.isnan(metric(nothing, nothing)) and np.isnan(metric(nothing, some))
        assert metric(some, nothing) == 0 and metric(some, some) == 1
        with pytest.raises(ValueError, match="values other than 0 and 1"):
            metric(some * 2, some)


def test_a_volume_is_the_sum_of_areas_between_planes() -> None:
    mask = np.zeros((4, 10, 10), bool)
    mask[1, :4, :5] = mask[3, :2, :5] = True
    assert metrics.volume_ml(mask, (5, 0.5, 2)) == pytest.approx((20 + 10) * 5 / 1000)
    # Slice 1 stands for half of 5 and half of 10 mm, slice 3 for 2.5 mm.
    assert metrics.volume_ml(mask, ([5, 10, 2.5], 0.5, 2)) == pytest.approx(
        (20 * 7.5 + 10 * 2.5) / 1000
    )


def test_lengths_that_slices_stand_for() -> None:
    def extents(*places: float, thickness: float = 0.0) -> list[float]:
        return slice_extents_mm(places, thickness).tolist()

    assert extents(0, 5, 10) == [5, 5, 5]
    assert extents(0, 2.5, 5, thickness=5) == [2.5, 2.5, 2.5]  # overlapping slices
    assert extents(10, 0, 5, thickness=1) == [5, 5, 5]  # in any order
    # Beyond an end that follows a gap there is no more tissue than elsewhere.
    assert extents(0, 15, 20, 25) == [10, 10, 5, 5]
    assert extents(0, 5, 20) == [5, 10, 10]
    assert extents(0, 0, 5, 10) == [2.5, 2.5, 5, 5]
    assert extents(7, thickness=4) == [4] and extents(7, 7, thickness=4) == [2, 2]
    assert np.isnan(extents(7)[0]) and extents() == []


def test_a_volume_is_that_of_the_lengths_of_slices() -> None:
    rng = np.random.default_rng(0)
    for number in range(2, 12):
        places = np.cumsum(rng.uniform(1, 20, number))
        mask = rng.random((number, 3, 4)) < 0.5
        found = metrics.volume_ml(mask, (np.diff(places), 0.5, 2))
        assert found == pytest.approx(slice_extents_mm(places) @ mask.sum(axis=(1, 2)) / 1000)


def test_bland_altman_of_weights_is_that_of_repeated_pairs() -> None:
    rng = np.random.default_rng(1)
    true, predicted = rng.uniform(0, 80, (2, 12))
    weights = rng.integers(0, 4, (3, 12))
    found = metrics.bland_altman(true, predicted, weights)
    for row, weight in enumerate(weights):
        difference = np.repeat(predicted - true, weight)
        assert found.bias_ml[row] == pytest.approx(difference.mean())
        assert found.sd_ml[row] == pytest.approx(difference.std(ddof=1))
        assert found.high_ml[row] == pytest.approx(
            difference.mean() + 1.959964 * difference.std(ddof=1)
        )
    assert np.isnan(metrics.bland_altman([3], [4]).sd_ml)
    assert np.isnan(metrics.bland_altman([], []).bias_ml)


def connected(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Sets of voxels that touch in a face, an edge or a corner, grown one by one."""
    left = set(zip(*np.nonzero(mask), strict=True))
    lesions = []
    while left:
        grown = [left.pop()]
        lesion = set(grown)
        while grown:
            at = grown.pop()
            for step in itertools.product((-1, 0, 1), repeat=mask.ndim):
                beside = tuple(np.add(at, step))
                if beside in left:
                    left.remove(beside)
                    lesion.add(beside)
                    grown.append(beside)
        lesions.append(lesion)
    return lesions


@pytest.mark.parametrize("shape", [(5, 9, 8), (20, 18)])
@pytest.mark.parametrize("min_overlap", [0.0, 0.5])
def test_lesions_are_those_grown_voxel_by_voxel(shape: Any, min_overlap: float) -> None:
    rng = np.random.default_rng(2)
    true, predicted = rng.random((2, *shape)) < 0.07
    spacing = (5, 0.5, 0.4)[-len(shape) :]
    found = metrics.match_lesions(true, predicted, spacing, min_overlap)
    for mask, other, sizes, matched in (
        (true, predicted, found.reference_ml, found.is_found),
        (predicted, true, found.predicted_ml, found.is_confirmed),
    ):
        lesions = connected(mask)
        shares = [np.mean([other[at] for at in lesion]) for lesion in lesions]
        expected = sorted(
            (len(lesion) * np.prod(spacing) / 1000, share > 0 and share >= min_overlap)
            for lesion, share in zip(lesions, shares, strict=True)
        )
        assert len(expected) > 5 and 0 < sum(matched) < len(matched)
        np.testing.assert_allclose(sizes[::-1], [size for size, _ in expected])
        both = sorted(zip(np.round(sizes, 9), matched, strict=True))
        assert both == [(round(size, 9), is_matched) for size, is_matched in expected]


def test_a_prediction_over_two_lesions_finds_both() -> None:
    true, predicted = np.zeros((2, 3, 6, 12), bool)
    true[1, 2:4, 1:3] = true[1, 2:4, 8:10] = predicted[1, 1:5, 1:10] = True
    matches = metrics.match_lesions(true, predicted, (5, 1, 1))
    assert matches.is_found.tolist() == [True, True] and matches.is_confirmed.tolist() == [True]
    strict = metrics.match_lesions(true, predicted, (5, 1, 1), min_overlap=0.3)
    assert strict.is_found.all() and not strict.is_confirmed.any() and strict.f1 == 0


def test_nothing_has_no_lesions() -> None:
    matches = metrics.match_lesions(np.zeros((3, 4, 5)), np.zeros((3, 4, 5)), (5, 1, 1))
    assert len(matches.is_found) == len(matches.is_confirmed) == 0
    assert matches.reference_ml.dtype == np.float64 and np.isnan(matches.f1)


def test_lesions_of_one_size() -> None:
    matches = metrics.LesionMatches(
        np.array([20.0, 5, 1]), np.array([True, True, False]), np.array([5.0, 2]), np.ones(2, bool)
    )
    small = matches.between(high_ml=5)
    assert (small.sensitivity, small.precision, small.f1) == (0, 1, 0)
    assert matches.between(5).f1 == 1 and matches.f1 == pytest.approx(0.8)
    assert np.isnan([matches.between(30).sensitivity, matches.between(30).f1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_volumes_at_thresholds_are_those_of_the_masks(dtype: Any) -> None:
    rng = np.random.default_rng(3)
    thresholds = np.arange(1, 10) / 10
    # Many lie on a threshold, at which a mask begins.
    probability = np.round(rng.uniform(size=(4, 9, 8)), 1).astype(dtype)
    spacing = ([5, 2.5, 2.5], 0.5, 0.4)
    expected = [metrics.volume_ml(probability >= dtype(at), spacing) for at in thresholds]
    np.testing.assert_allclose(metrics.volumes_at(probability, spacing, thresholds), expected)


def test_the_threshold_of_least_volume_bias() -> None:
    rng = np.random.default_rng(4)
    thresholds = np.linspace(0.05, 0.95, 19)
    predicted = np.sort(rng.uniform(0, 80, (30, 19)), axis=1)[:, ::-1]
    true = rng.uniform(0, 50, 30)
    chosen = metrics.choose_mask_threshold(thresholds, predicted, true)
    bias = [metrics.bland_altman(true, column).bias_ml for column in predicted.T]
    assert chosen == thresholds[np.abs(bias).argmin()]
    # Volumes that do not change over a range of thresholds: the middle of the range.
    assert metrics.choose_mask_threshold([0.2, 0.4, 0.6, 0.8], [[9, 5, 5, 5]], [5]) == 0.6
    assert np.isnan(metrics.choose_mask_threshold([0.5], np.zeros((0, 1)), []))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.volume_ml(np.zeros((3, 3)), (1, 1)), "mask has shape"),
        (lambda: metrics.bland_altman([1, 2], [1]), "predicted_ml has shape"),
        (lambda: metrics.bland_altman([1], [np.nan]), "predicted_ml must be finite"),
        (lambda: metrics.bland_altman([1], [2], [-1]), "sample_weight"),
        (lambda: metrics.match_lesions([[1]], [[1]], (1, 1), 2), "min_overlap is 2"),
        (lambda: metrics.volumes_at(np.full((1, 1, 1), np.nan), (1, 1, 1), [0.5]), "1 NaN"),
        (lambda: metrics.volumes_at(np.zeros((1, 1)), (1, 1), [0.5]), "probability has shape"),
        (lambda: metrics.volumes_at(np.zeros((1, 1, 1)), (1, 1, 1), [0.5, 0.5]), "rising"),
        (lambda: metrics.choose_mask_threshold([0.5], [[1, 2]], [1]), "predicted_ml has shape"),
        (lambda: metrics.choose_mask_threshold([0.5], [[-1]], [1]), "volumes must be finite"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
