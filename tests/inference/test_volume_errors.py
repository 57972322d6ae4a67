"""Intervals of volumes that hold the model's error."""

import math

import numpy as np
import pytest

from ich_tf.inference.masks.class_volumes import THRESHOLDS, ClassVolumes
from ich_tf.inference.masks.volume_error_fitting import fit_volume_error
from ich_tf.inference.masks.volumes import series_volumes
from ich_tf.inference.postprocessing.volume_error import VolumeError
from tests.support.slices import ellipsoid_bits, made_headers


def made_volumes(number: int, seed: int = 0, per_patient: int = 1) -> ClassVolumes:
    """Series of which a third has no bleed, and errors of 0.5 ml and of 20 %."""
    rng = np.random.default_rng(seed)
    true = np.where(rng.random(number) < 1 / 3, 0.0, rng.uniform(1, 80, number))
    predicted = np.maximum(
        true * np.exp(rng.normal(0, 0.2, number)) + rng.normal(0, 0.5, number), 0
    )
    return ClassVolumes(
        np.repeat(predicted[:, None], len(THRESHOLDS), axis=1),
        true,
        np.ones(number, bool),
        np.array([f"P{i // per_patient}" for i in range(number)]),
    )


def share_within(error: VolumeError, volumes: ClassVolumes) -> float:
    ends = [error.interval(ml) for ml in volumes.predicted[:, 0]]
    within = [low <= ml <= high for (low, high), ml in zip(ends, volumes.true, strict=True)]
    return float(np.mean([ok for ok, (low, _) in zip(within, ends, strict=True) if low >= 0]))


def test_intervals_hold_nine_in_ten_series_of_other_patients() -> None:
    found = [fit_volume_error(made_volumes(60, seed)) for seed in range(20)]
    others = made_volumes(4000, 99)
    shares = [share_within(error, others) for error, _ in found]
    assert 0.87 < np.mean(shares) < 0.95
    # What calibrate prints of the same patients is as much.
    assert np.mean([told["coverage"] for _, told in found]) == pytest.approx(0.9, abs=0.03)
    # Small volumes are off by millilitres, great ones by a share.
    error, told = found[0]
    assert told["offset_ml"] == error.offset_ml
    narrow, wide = (np.diff(error.interval(ml))[0] for ml in (1.0, 60.0))
    assert narrow < 5 and 0.4 < wide / 60 < 1.2


def test_only_whole_masks_and_predicted_bleeds_count() -> None:
    volumes = made_volumes(80)
    error, told = fit_volume_error(volumes)
    at = volumes.predicted[:, 0]
    # A bleed that is missed is no error of a volume, but is told; masks in part are neither.
    more = ClassVolumes(
        np.concatenate([volumes.predicted, np.zeros((3, len(THRESHOLDS))), volumes.predicted * 9]),
        np.concatenate([volumes.true, [4.0, 5.0, 0.0], volumes.true]),
        np.arange(163) < 83,
        np.array([*volumes.patients, "A", "B", "C", *volumes.patients]),
    )
    same, told_more = fit_volume_error(more)
    assert same == error and told_more["num_series"] == told["num_series"]
    assert told["num_series"] == np.count_nonzero(at >= 0.0005)
    assert told_more["num_missed"] == told["num_missed"] + 2
    assert told_more["num_checked"] == told["num_checked"] == told["num_series"]


def test_coverage_names_the_series_that_it_is_of() -> None:
    # Without any one of nine patients, the others are too few for an interval.
    number = 9
    ones = np.ones(number)
    volumes = ClassVolumes(
        np.full((number, len(THRESHOLDS)), 11.0),
        10 * ones,
        ones > 0,
        np.array([f"P{i}" for i in range(number)]),
    )
    error, told = fit_volume_error(volumes)
    assert error is not None and told["num_series"] == number
    assert (told["coverage"], told["num_checked"]) == (None, 0)


def test_few_patients_have_no_interval() -> None:
    # A third of the series have no bleed, and most of these nothing predicted.
    assert fit_volume_error(made_volumes(8))[0] is None
    error, told = fit_volume_error(made_volumes(80, per_patient=10))
    assert error is None and told["num_series"] > 50 and "coverage" not in told
    assert fit_volume_error(made_volumes(0)) == (None, {"num_series": 0, "num_missed": 0})


def test_an_interval_of_nothing_is_unknown_and_none_is_below_nothing() -> None:
    error = VolumeError(3.0, 0.5)
    assert all(map(math.isnan, error.interval(0.0)))
    assert error.interval(0.2)[0] == 0
    low, high = error.interval(30.0)
    assert low == pytest.approx(33 * math.exp(-0.5) - 3)
    assert high == pytest.approx(33 * math.exp(0.5) - 3)
    with pytest.raises(ValueError, match="not finite"):
        VolumeError(1.0, math.nan)


def test_the_volumes_of_a_series_have_intervals_where_errors_are_known() -> None:
    headers = made_headers(np.arange(2.0, 80, 5))
    bits = ellipsoid_bits(headers, (20.0, 15.0, 24.0))
    error = VolumeError(1.0, 0.3)
    volumes = series_volumes(bits, headers, [error, error, None, None, None, error])
    for k in (1, 5):
        found = volumes.likely_low_ml[k], volumes.likely_high_ml[k]
        assert found == error.interval(volumes.ml[k])
    # No pixel is marked, or no error is known.
    assert np.isnan(volumes.likely_low_ml[[0, 2, 3, 4]]).all()
    kinds = series_volumes(bits, headers).by_kind()
    assert set(kinds["likely_low_ml"].values()) == {None}
