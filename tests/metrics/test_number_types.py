"""Scores depend on numbers, not on the type that they are stored in."""

import warnings

import numpy as np
import pytest

from ich_tf import metrics
from ich_tf.metrics.bootstrap import bootstrap_values
from ich_tf.metrics.volumes import check_volumes
from ich_tf.metrics.voxel_grid import Axis


def test_weights_in_float32_count_as_in_float64() -> None:
    """Their sum would be rounded: a score would depend on how its weights are stored."""
    rng = np.random.default_rng(0)
    weight, labels = rng.uniform(size=1001).astype(np.float32), rng.integers(0, 2, (1001, 6))
    prob, (true, predicted) = rng.uniform(size=(1001, 6)), rng.uniform(0, 80, (2, 1001))
    for score in (
        lambda weight: metrics.weighted_log_loss(labels, prob, weight),
        lambda weight: metrics.bland_altman(true, predicted, weight).bias_ml,
        lambda weight: metrics.brier_score(labels[:, 0], prob[:, 0], weight),
    ):
        assert score(weight) == score(weight.astype(np.float64))


def test_labels_and_volumes_in_float32_count_as_in_float64() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (1001, 6))
    shares = metrics.constant_predictor(labels.astype(np.float32))
    assert shares.dtype == np.float64 and shares.tolist() == (labels.sum(axis=0) / 1001).tolist()
    volumes = np.float32([0.1, 0.7]), np.float32([16777216, 0.3])
    for given, checked in zip(volumes, check_volumes(*volumes), strict=True):
        assert checked.dtype == np.float64 and checked.tolist() == given.tolist()


def test_scores_in_float32_and_bytes_count_as_in_float64() -> None:
    rng = np.random.default_rng(0)
    labels, prob = rng.integers(0, 2, 1001), rng.uniform(size=1001).astype(np.float32)
    assert metrics.brier_score(labels, prob) == metrics.brier_score(labels, prob.astype(float))
    # As a byte, -0 is the least and not the greatest of all.
    assert metrics.roc_auc([0, 0, 1, 1], np.array([0, 3, 2, 4], np.uint8)) == 0.75


@pytest.mark.parametrize("distances", [2, np.float32(0.1), np.float32([0.1, 0.3])])
def test_a_grid_is_in_float64_whatever_its_distances(distances: object) -> None:
    axis, expected = (
        Axis.of(given, 3, "slices") for given in (distances, np.asarray(distances, np.float64))
    )
    assert axis.edges.dtype == axis.distances.dtype == np.float64
    assert axis.edges.tolist() == expected.edges.tolist()
    assert axis.distances.tolist() == expected.distances.tolist()


def test_resampled_statistics_are_in_float64_whatever_a_statistic_returns() -> None:
    for dtype in (np.uint8, np.float32):
        values, _ = bootstrap_values(
            lambda weight, dtype=dtype: weight[:, 0].astype(dtype), range(9), num_resamples=5
        )
        assert values.dtype == np.float64


def test_weights_of_an_infinite_sum_are_refused_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="of a finite sum"):
            metrics.weighted_log_loss(np.ones((2, 6)), np.full((2, 6), 0.5), [1e308, 1e308])
