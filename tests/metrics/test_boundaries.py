"""Metrics at the ends of their ranges, in every type of number, and by hand."""

import numpy as np
import pytest
from scipy.stats import beta

from ich_tf import metrics
from ich_tf.metrics.extents import end_steps_mm, slice_extents_mm
from ich_tf.metrics.known_labels import known_loss_of

NAN = np.nan
CLIP = -np.log(1e-15)


def test_shares_of_readers_are_labels_only_where_asked_for() -> None:
    for metric in (metrics.reliability_curve, metrics.expected_calibration_error):
        with pytest.raises(ValueError, match="other than 0 and 1"):
            metric([0.5], [0.5])
    with pytest.raises(ValueError, match="other than 0 and 1"):
        metrics.net_benefit([0.5], [0.5], 0.2)


def test_calibration_in_one_bin() -> None:
    mean, share, weight = metrics.reliability_curve([0, 1], [0.1, 0.4], num_bins=1)
    assert (mean.tolist(), share.tolist(), weight.tolist()) == ([0.25], [0.5], [2.0])
    assert metrics.expected_calibration_error([0, 1], [0.1, 0.4], num_bins=1) == 0.25
    with pytest.raises(ValueError, match="num_bins is 0"):
        metrics.reliability_curve([0, 1], [0.1, 0.4], num_bins=0)


def test_planes_a_hundredth_of_a_millimetre_apart_are_two() -> None:
    assert slice_extents_mm([0, 0.01]).tolist() == [0.01, 0.01]
    assert np.isnan(slice_extents_mm([0, 0.009])).all()
    assert slice_extents_mm(np.zeros(0, np.int64)).dtype == np.float64


@pytest.mark.parametrize("number", [26, 51])
def test_the_usual_distance_of_half_thin_and_half_thick_slices_is_the_lower(number: int) -> None:
    steps = np.repeat([4.0, 2.0, 4.0], [1, number, number - 1])
    assert end_steps_mm(steps) == (2.0, 2.0)


def test_a_sigmoid_of_small_logits() -> None:
    # By the series of tanh: 1 / (1 + e^-x) = (1 + tanh(x / 2)) / 2.
    logits = np.array([-0.75, -1e-3, 1e-3, 0.5, 1.0])
    np.testing.assert_allclose(metrics.sigmoid(logits), (1 + np.tanh(logits / 2)) / 2, rtol=1e-12)
    assert metrics.logit(np.float32(1)) == metrics.logit(1.0)
    np.testing.assert_allclose(metrics.logit(np.float32([0, 1])), [-CLIP, CLIP], rtol=1e-3)


def test_a_soft_loss_is_clipped_in_float64() -> None:
    """In float32 1 - 1e-15 is 1."""
    loss = metrics.soft_log_loss([0, 1, 1, 0], np.float32([1, 0, 1, 0]))
    np.testing.assert_allclose(loss, [CLIP, CLIP, 0, 0], rtol=1e-3, atol=1e-14)
    label = np.float32([0.1])
    share = float(label[0])
    expected = -(share * np.log(0.25) + (1 - share) * np.log(0.75))
    assert metrics.soft_log_loss(label, [0.25]).item() == pytest.approx(expected, rel=1e-15)


def test_a_loss_by_class_is_the_mean_over_what_is_known() -> None:
    labels = np.array([[1, 0, NAN, NAN, 0.5, 1], [1, NAN, 0, NAN, 0.25, 0]])
    prob = np.full((2, 6), [0.5, 0.25, 0.75, 0.5, 0.5, 0.8])
    expected = [np.log(2), -np.log(0.75), -np.log(0.25), NAN, np.log(2), -np.log(0.16) / 2]
    np.testing.assert_allclose(metrics.known_per_class_log_loss(labels, prob), expected)


def test_hard_labels_are_returned_as_they_are() -> None:
    labels = np.array([0, 1], np.int8)
    assert metrics.hard_labels(labels) is labels
    np.testing.assert_array_equal(metrics.hard_labels([NAN, 0.49, 0.5]), [NAN, 0, 1])


@pytest.mark.parametrize("is_soft", [False, True])
def test_a_known_loss_takes_weights_of_many_samples(is_soft: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (30, 6)).astype(float)
    if is_soft:
        labels[::4, 2], labels[5, 1] = NAN, 0.75
    prob, weights = rng.uniform(size=(30, 6)), rng.uniform(size=(3, 30)).astype(np.float32)
    found = metrics.known_log_loss(labels, prob, weights)
    assert isinstance(found, np.ndarray) and found.shape == (3,)
    for each, weight in zip(found.tolist(), weights, strict=True):
        alone = metrics.known_log_loss(labels, prob, weight)
        assert isinstance(alone, float)
        assert alone == pytest.approx(each, rel=1e-14)
        assert alone == metrics.known_log_loss(labels, prob, weight.astype(np.float64))
        if not is_soft:
            assert alone == pytest.approx(metrics.weighted_log_loss(labels, prob, weight))
    np.testing.assert_allclose(known_loss_of(labels, prob)(weights.astype(np.float64)), found)


def test_hard_labels_without_weights_have_the_challenge_s_bits() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels, prob = rng.integers(0, 2, (23, 6)), rng.uniform(size=(23, 6))
        assert metrics.known_log_loss(labels, prob) == metrics.weighted_log_loss(labels, prob)


def test_shares_of_hard_labels() -> None:
    labels = [[0, 1, 0, 0, 0, 1], [0, 1, 1, 0, 0, 1]]
    assert metrics.known_shares(labels).tolist() == [0, 1, 0.5, 0, 0, 1]


def test_lesions_by_size_include_the_lower_end_alone() -> None:
    matches = metrics.LesionMatches(
        np.array([4.0, 2.0, 1.0, 0.5]),
        np.array([True, False, True, False]),
        np.array([4.0, 2.0, 0.5]),
        np.array([True, True, False]),
    )
    some = matches.between(1.0, 4.0)
    assert some.reference_ml.tolist() == [2.0, 1.0] and some.is_found.tolist() == [False, True]
    assert some.predicted_ml.tolist() == [2.0] and some.is_confirmed.tolist() == [True]
    assert len(matches.between().reference_ml) == 4 and len(matches.between(2).predicted_ml) == 2


def test_volumes_at_thresholds_of_whole_numbers() -> None:
    score = np.array([[[0, 1, 2, 3]]], np.uint8)
    assert metrics.volumes_at(score, (1, 10, 100), [0.5, 1.5, 3, 3.5]).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("thresholds", [0.5, [], [[0.25, 0.5]], np.array([3, 1], np.uint8)])
def test_thresholds_are_a_row_of_rising_numbers(thresholds: object) -> None:
    with pytest.raises(ValueError, match="rising numbers"):
        metrics.choose_mask_threshold(thresholds, np.ones((1, 2)), [1])


def test_a_volume_of_whole_millilitres_may_be_none() -> None:
    # As bytes, 1 - 3 would be 254.
    predicted = np.array([[3, 1], [0, 0]], np.uint8)
    assert metrics.choose_mask_threshold([0.2, 0.4], predicted, np.array([1, 0], np.uint8)) == 0.4
    predicted = np.array([[1, 3]], np.uint8)
    assert metrics.choose_mask_threshold([0.2, 0.4], predicted, np.array([2], np.uint8)) == 0.2


def test_net_benefit_of_little_weight_and_in_float32() -> None:
    quarter = [0.25, 0.25]
    assert metrics.net_benefit([0, 1], [0.1, 0.8], 0.5, quarter) == 0.5
    assert metrics.net_benefit_of_all([0, 1], 0.5, quarter) == 0.0
    point = np.float32(0.1)
    assert metrics.net_benefit_of_all([0, 1], point) == metrics.net_benefit_of_all(
        [0, 1], float(point)
    )


def test_targets_and_prevalences_may_be_whole() -> None:
    truth, score = [0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4]
    assert metrics.choose_threshold(truth, score, sensitivity=1) == 0.2
    assert metrics.choose_threshold(truth, score, specificity=1) == 0.4
    for target in ("sensitivity", "specificity"):
        for value in (0, 1.001):
            with pytest.raises(ValueError, match=f"the target is {value}"):
                metrics.choose_threshold(truth, score, **{target: value})
    np.testing.assert_array_equal(metrics.predictive_values(0.5, 0.75, 0), [0, 1])
    np.testing.assert_array_equal(metrics.predictive_values(0.5, 0.75, 1), [1, 0])
    rates = np.float32([0.1, 0.7])
    for single, double in zip(
        metrics.predictive_values(rates, rates, 0.3),
        metrics.predictive_values(rates.astype(float), rates.astype(float), 0.3),
        strict=True,
    ):
        np.testing.assert_array_equal(single, double)


def test_overlap_of_a_single_voxel() -> None:
    assert metrics.dice([[0, 1]], [[0, 1]]) == metrics.iou([[0, 1]], [[0, 1]]) == 1.0


def test_false_alarms_are_limited_with_confidence() -> None:
    truth, score = np.zeros(100, int), np.arange(100) / 100
    mean = metrics.control_false_alarms(truth, score, range(100), rate=0.1)
    sure = metrics.control_false_alarms(truth, score, range(100), rate=0.1, confidence=0.95)
    assert (mean.num_errors, sure.num_errors) == (9, 4)
    assert (score >= mean.threshold).sum() == 9 and (score >= sure.threshold).sum() == 4


@pytest.mark.parametrize(("errors", "number"), [(0, 1), (0, 59), (3, 59), (58, 59), (59, 59)])
def test_the_highest_rate_is_that_of_clopper_and_pearson(errors: int, number: int) -> None:
    for confidence in (0.5, 0.95):
        expected = 1.0 if errors == number else beta.ppf(confidence, errors + 1, number - errors)
        found = metrics.highest_rate(errors, number, confidence)
        assert found == pytest.approx(expected, rel=1e-9)
    assert metrics.highest_rate(errors, number) == metrics.highest_rate(errors, number, 0.95)
    assert np.isnan(metrics.highest_rate(0, 0))


def test_the_least_number_of_patients_of_large_rates() -> None:
    assert [metrics.least_patients(rate=rate) for rate in (0.5, 0.34, 0.25)] == [1, 2, 3]
    assert metrics.least_patients(rate=0.5, confidence=0.5) == 1


def test_the_least_score_is_the_threshold_where_no_error_is_allowed() -> None:
    chosen = metrics.control_misses([1] * 19, np.arange(19) + 0.5, range(19), rate=0.05)
    assert (chosen.threshold, chosen.num_errors) == (0.5, 0)


def test_precision_of_little_weight_and_without_positives() -> None:
    precision, recall, _ = metrics.precision_recall_curve([0, 1], [0.1, 0.8], [0.25, 0.25])
    assert (precision.tolist(), recall.tolist()) == ([1, 1, 0.5], [0, 1, 1])
    precision, recall, _ = metrics.precision_recall_curve([0, 0], [0.1, 0.8])
    assert np.isnan(precision).all() and np.isnan(recall).all()


def test_tolerances_and_percentiles_at_their_ends() -> None:
    square = np.pad(np.ones((3, 3), bool), 2)
    distances = metrics.surface_distances(square, square, (1, 1))
    assert distances.dice(0) == 1 and distances.hausdorff(0.5) == distances.hausdorff(100) == 0
    with pytest.raises(ValueError, match="percentile is 100.5"):
        distances.hausdorff(100.5)
    # Half of the area is reached by the second of four equal elements, at the last bit.
    four = metrics.SurfaceDistances(*[np.arange(1.0, 5), np.full(4, 0.1)] * 2)
    assert [four.hausdorff(share) for share in (25, 50, 75, 76, 100)] == [1, 2, 3, 4, 4]
    nothing = metrics.surface_distances(square & False, square & False, (1, 1))
    assert [len(values) for values in vars(nothing).values()] == [0, 0, 0, 0]


def test_lesions_that_nothing_finds_score_zero() -> None:
    mask, nothing = [[0, 1, 1, 0]], [[0, 0, 0, 0]]
    assert metrics.match_lesions(mask, nothing, (1, 1)).f1 == 0
    assert metrics.match_lesions(mask, [[1, 0, 0, 0]], (1, 1)).f1 == 0
    assert metrics.match_lesions(mask, mask, (1, 1), min_overlap=1).f1 == 1


def test_losses_of_little_weight_and_in_float32() -> None:
    labels = np.ones((2, 6))
    loss = metrics.weighted_log_loss(labels, np.full((2, 6), 0.5), [0.25, 0.25])
    assert loss == pytest.approx(np.log(2))
    assert metrics.weighted_log_loss(labels * 0, np.float32(labels)) == pytest.approx(
        CLIP, rel=1e-3
    )
    assert metrics.brier_score([0.0, 0.5], [0.0, 0.5], soft=True) == 0
