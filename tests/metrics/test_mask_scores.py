"""Scores of series and slices, and their summary over patients."""

from typing import Any

import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.metrics.mask_summary import weighted_median

SPACING = ([5.0, 5.0, 2.5, 2.5, 2.5], 0.5, 0.4)


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true, predicted = np.zeros((2, 6, 16, 14), bool)
    true[1:4, 3:9, 2:8] = rng.random((3, 6, 6)) < 0.7
    predicted[1:5, 4:9, 3:9] = rng.random((4, 5, 6)) < 0.7
    return true, predicted


def test_a_series_has_the_scores_of_the_single_functions() -> None:
    true, predicted = random_pair(0)
    scores = metrics.score_series(true, predicted, SPACING, percentile=90)
    assert scores.reference_ml == pytest.approx(metrics.volume_ml(true, SPACING))
    assert scores.predicted_ml == pytest.approx(metrics.volume_ml(predicted, SPACING))
    assert scores.common_ml == pytest.approx(metrics.volume_ml(true & predicted, SPACING))
    assert scores.volume_error_ml == scores.predicted_ml - scores.reference_ml
    assert scores.surface_dice == metrics.surface_dice(true, predicted, SPACING)
    assert scores.hausdorff_mm == metrics.hausdorff_distance(true, predicted, SPACING, 90)
    assert scores.lesions.f1 == metrics.match_lesions(true, predicted, SPACING).f1
    even = metrics.score_series(true, predicted, (5, 0.5, 0.4))
    assert even.dice == pytest.approx(metrics.dice(true, predicted))


def test_slices_have_the_scores_of_their_contours() -> None:
    true, predicted = random_pair(1)
    scores = metrics.score_slices(true, predicted, SPACING)
    series = metrics.score_series(true, predicted, SPACING)
    assert sum(score.common_ml for score in scores) == pytest.approx(series.common_ml)
    for number, score in enumerate(scores):
        flat = (true[number], predicted[number])
        np.testing.assert_equal(score.surface_dice, metrics.surface_dice(*flat, SPACING[1:]))
        np.testing.assert_equal(score.hausdorff_mm, metrics.hausdorff_distance(*flat, SPACING[1:]))
        np.testing.assert_allclose(score.dice, metrics.dice(*flat))
        regions = metrics.match_lesions(*flat, SPACING[1:])
        assert score.lesions.is_found.tolist() == regions.is_found.tolist()
    thick = np.array([5, 5, 3.75, 2.5, 2.5, 2.5])
    expected = true.sum((1, 2)) * thick * 0.2 / 1000
    np.testing.assert_allclose([score.reference_ml for score in scores], expected)


def scores_of(
    true: float, predicted: float, hausdorff: float = 3.0, lesions: Any = None
) -> metrics.MaskScores:
    """Scores with these volumes, of which the smaller lies in the larger."""
    if lesions is None:
        lesions = ([], [])
    found, confirmed = (np.array(matched, bool) for matched in lesions)
    return metrics.MaskScores(
        true,
        predicted,
        min(true, predicted),
        np.nan if not true else 0.5,
        np.nan if not true else hausdorff,
        metrics.LesionMatches(np.ones(len(found)), found, np.ones(len(confirmed)), confirmed),
    )


SCORES = [
    scores_of(10, 30, 2, ([1, 1], [1])),
    scores_of(10, 10, 0, ([1], [1, 0])),
    scores_of(20, 0, np.inf, ([0], [])),
    scores_of(0, 0),
    scores_of(0, 3, lesions=([], [0])),
]
PATIENTS = ["a", "a", "b", "c", "d"]


def test_a_summary_by_series() -> None:
    summary = metrics.summarize_masks(SCORES, PATIENTS, num_resamples=20)
    values = {name: round(estimate.value, 6) for name, estimate in summary.items()}
    assert values == {
        "dice": 0.5,
        "surface_dice": 0.5,
        "hausdorff_mm": 2,
        "missed_share": 0.333333,
        "volume_bias_ml": 0,
        "volume_limit_low_ml": -39.19928,
        "volume_limit_high_ml": 39.19928,
        "volume_error_ml": 13.333333,
        "volume_error_share": 1,
        "lesion_sensitivity": 0.75,
        "lesion_precision": 0.5,
        "lesion_f1": 0.6,
        "false_ml": 1.5,
        "false_positive_share": 0.5,
    }
    assert (summary["dice"].num_scored, summary["dice"].num_patients) == (3, 2)
    assert (summary["false_ml"].num_scored, summary["false_ml"].num_patients) == (2, 2)
    # Lesions are counted, and the patients of series that have any.
    counts = {name: (each.num_scored, each.num_patients) for name, each in summary.items()}
    assert counts["lesion_sensitivity"] == (4, 2)
    assert counts["lesion_precision"] == (4, 2)
    assert counts["lesion_f1"] == (8, 3)


def test_a_summary_in_which_each_patient_counts_once() -> None:
    summary = metrics.summarize_masks(SCORES, PATIENTS, by_patient=True, num_resamples=20)
    assert summary["dice"].value == pytest.approx((np.mean([0.5, 1]) + 0) / 2)
    assert summary["volume_bias_ml"].value == pytest.approx((10 - 20) / 2)
    assert summary["lesion_sensitivity"].value == pytest.approx((3 / 2) / (3 / 2 + 1))
    # Half a weight for each of the first patient's: differences of 20, 0 and -20, -5 on average.
    spread = np.sqrt((25**2 / 2 + 5**2 / 2 + 15**2) / (2 - 1))
    assert summary["volume_limit_high_ml"].value == pytest.approx(-5 + 1.959964 * spread)


def test_series_without_a_bleed_take_no_weight_from_those_with_one() -> None:
    summary = metrics.summarize_masks(
        SCORES, ["a", "a", "b", "a", "b"], by_patient=True, num_resamples=20
    )
    assert summary["volume_bias_ml"].value == pytest.approx((10 - 20) / 2)
    spread = np.sqrt((25**2 / 2 + 5**2 / 2 + 15**2) / (2 - 1))
    assert summary["volume_limit_low_ml"].value == pytest.approx(-5 - 1.959964 * spread)
    assert summary["false_ml"].value == pytest.approx((0 + 3) / 2)
    few = [scores_of(0, 0.5), scores_of(0, 0)]
    little = metrics.summarize_masks(few, ["a", "b"], num_resamples=20)
    assert little["false_positive_share"].value == 0.5


def test_intervals_are_those_of_resampled_patients() -> None:
    rng = np.random.default_rng(0)
    scores = [scores_of(true, true * 0.8) for true in rng.uniform(1, 50, 30)]
    patients = np.arange(30) // 2
    summary = metrics.summarize_masks(scores, patients, num_resamples=300, seed=7)
    error = np.array([score.volume_error_ml for score in scores])
    expected = metrics.bootstrap_interval(
        lambda weight: weight @ error / weight.sum(axis=-1), patients, num_resamples=300, seed=7
    )
    found = summary["volume_bias_ml"].interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(summary["false_ml"].interval.low)


def test_a_median_distance_may_be_infinite() -> None:
    scores = [scores_of(5, 5, np.inf if number < 9 else number) for number in range(20)]
    distance = metrics.summarize_masks(scores, range(20))["hausdorff_mm"]
    assert distance.value == np.median([score.hausdorff_mm for score in scores])
    assert np.isfinite(distance.interval.low) and distance.interval.high == np.inf


def test_a_weighted_median_is_that_of_repeated_values() -> None:
    rng = np.random.default_rng(3)
    values, weights = rng.normal(size=11), rng.integers(0, 4, (50, 11)).astype(float)
    expected = [np.median(np.repeat(values, weight.astype(int))) for weight in weights]
    np.testing.assert_allclose(weighted_median(values, weights), expected)
    np.testing.assert_allclose(weighted_median(values, weights / 3), expected)
    assert np.isnan(weighted_median(values, np.zeros((1, 11)))).all()
    assert weighted_median(values, np.full((1, 11), 0.05)) == np.median(values)
    nothing = weighted_median(np.zeros(0), np.zeros((2, 0)))
    assert nothing.shape == (2,) and np.isnan(nothing).all()


def test_nothing_to_sum_up_is_refused() -> None:
    with pytest.raises(ValueError, match="0 scores and 0 patients"):
        metrics.summarize_masks([], [])
    with pytest.raises(ValueError, match="5 scores and 2 patients"):
        metrics.summarize_masks(SCORES, ["a", "b"])
    with pytest.raises(ValueError, match=r"masks have shape \(4, 4\)"):
        metrics.score_slices(np.eye(4), np.eye(4), (1, 1))


@pytest.mark.parametrize("score", [metrics.score_series, metrics.score_slices])
def test_usual_options(score: Any) -> None:
    true, predicted = np.zeros((2, 2, 40, 40), bool)
    true[:, 5:25, 5:25] = True
    # Most of the surface is moved by 2.5 mm, and a corner by more and more.
    predicted[:, 5:25, 10:30] = True
    predicted[:, 25:37, 29] = True

    def scores(**options: float) -> tuple[float, float]:
        found = score(true, predicted, (5, 0.5, 0.5), **options)
        found = found[0] if isinstance(found, list) else found
        return found.surface_dice, found.hausdorff_mm

    usual = scores()
    assert usual == scores(tolerance_mm=2.0, percentile=95.0, min_overlap=0.0)
    assert usual[0] < scores(tolerance_mm=3.0)[0] and usual[1] < scores(percentile=96.0)[1]


def test_usual_options_of_a_summary() -> None:
    scores, patients = [scores_of(0, number) for number in range(20)], range(20)
    usual = metrics.summarize_masks(scores, patients)
    explicit = metrics.summarize_masks(scores, patients, num_resamples=1000, level=0.95, seed=0)
    assert repr(usual) == repr(explicit)  # NaN is not equal to itself
    half = metrics.summarize_masks(scores, patients, level=0.5)["false_ml"].interval
    whole = usual["false_ml"].interval
    assert half.high - half.low < whole.high - whole.low


def test_a_patient_who_is_missing_is_named() -> None:
    patients = [*PATIENTS[:-1], None]
    with pytest.raises(ValueError, match=f"^patients lacks 1 of {len(patients)}"):
        metrics.summarize_masks(SCORES, patients, num_resamples=20)
