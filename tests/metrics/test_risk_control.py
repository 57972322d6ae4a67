"""Controlled error rates: numbers of patients, ties, and what new patients meet (simulated)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ich_tf.metrics import (
    allowed_errors,
    control_false_alarms,
    control_misses,
    least_patients,
)

SETS, RATE = 400, 0.05


def draw(rng: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exams of patients, one to four each: how plain a patient's bleed is shifts all scores."""
    keys = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    bleeds = rng.uniform(size=patients) < 0.4
    truth = bleeds[keys] & (rng.uniform(size=len(keys)) < 0.8)
    plain = rng.normal(0, 1.5, patients)[keys]
    logit = np.where(truth, 2.0, -2.0) + plain + rng.normal(0, 1, len(keys))
    return truth.astype(int), 1 / (1 + np.exp(-logit)), keys


def missed(
    truth: np.ndarray, score: np.ndarray, keys: np.ndarray, threshold: float
) -> tuple[int, int]:
    """Patients with a positive exam below the threshold, and those with a positive one, by sets."""
    positive = set(keys[truth == 1].tolist())
    return len(set(keys[(truth == 1) & (score < threshold)].tolist())), len(positive)


def rates_met(confidence: float, rate: float = RATE) -> np.ndarray:
    """True miss rates, among 40,000 new patients, of thresholds from 400 sets of 300 patients."""
    rng = np.random.default_rng(7)
    truth, score, keys = draw(rng, 40_000)
    least = np.full(40_000, np.inf)
    np.minimum.at(least, keys[truth == 1], score[truth == 1])
    new = np.sort(least[np.isfinite(least)])
    met = []
    for _ in range(SETS):
        chosen = control_misses(*draw(rng, 300), rate=rate, confidence=confidence)
        met.append(np.searchsorted(new, chosen.threshold, side="left") / len(new))
    return np.array(met)


def test_the_rate_holds_for_95_of_100_sets_with_confidence() -> None:
    met = rates_met(confidence=0.95)
    holds = float((met <= RATE).mean())
    print(f"of {SETS} thresholds {holds:.1%} miss at most 5 %; the mean is {met.mean():.2%}")
    assert holds >= 0.93
    assert met.mean() > 0.01  # not by deciding against nobody


def test_the_mean_rate_holds_without_confidence() -> None:
    met = rates_met(confidence=0.0)
    print(f"mean {met.mean():.2%}; {(met <= RATE).mean():.1%} of the thresholds hold it")
    assert 0.8 * RATE < met.mean() <= RATE + 2 * met.std() / math.sqrt(SETS)


def test_new_patients_are_counted_as_the_simulation_counts_them() -> None:
    truth, score, keys = draw(np.random.default_rng(0), 200)
    chosen = control_misses(truth, score, keys, rate=0.1)
    wrong, number = missed(truth, score, keys, chosen.threshold)
    assert number == chosen.num_patients
    assert wrong == chosen.num_errors == math.floor(0.1 * (number + 1)) - 1


@pytest.mark.parametrize("number", [1, 20, 59, 60, 137])
def test_the_confident_number_is_that_of_the_binomial_tail(number: int) -> None:
    tail = [
        sum(math.comb(number, i) * RATE**i * (1 - RATE) ** (number - i) for i in range(k + 1))
        for k in range(number)
    ]
    expected = sum(value <= 0.05 for value in tail) - 1
    assert allowed_errors(number, rate=RATE, confidence=0.95) == expected


def test_of_many_patients_nearly_the_whole_rate_is_used() -> None:
    assert allowed_errors(100_000, rate=RATE, confidence=0.95) == pytest.approx(5000, rel=0.03)


def test_too_few_patients_promise_nothing() -> None:
    number = least_patients(rate=RATE) - 1
    chosen = control_misses([1] * number, [0.5] * number, range(number), rate=RATE)
    assert (chosen.threshold, chosen.num_errors) == (-math.inf, -1)
    none = control_misses([0, 0], [0.1, 0.2], [1, 2], rate=RATE)
    assert (none.threshold, none.num_patients) == (-math.inf, 0)


def test_equal_scores_are_not_missed_beyond_the_allowed_number() -> None:
    score = np.repeat([0.1, 0.3], [30, 70])
    chosen = control_misses(np.ones(100, int), score, range(100), rate=0.2)
    # 20 could be missed, but of 30 equal ones either all are or none.
    assert chosen.threshold == 0.1 and (score < chosen.threshold).sum() == 0


def test_false_alarms_are_misses_the_other_way_round() -> None:
    truth, score, keys = draw(np.random.default_rng(4), 300)
    chosen = control_false_alarms(truth, score, keys, rate=0.1)
    alarmed = set(keys[(truth == 0) & (score >= chosen.threshold)].tolist())
    assert len(alarmed) == chosen.num_errors
    assert chosen.num_patients == len(set(keys[truth == 0].tolist()))
    nobody = control_false_alarms([0, 1], [0.1, 0.9], [1, 2], rate=0.1)
    assert nobody.threshold == math.inf


def test_a_monotone_calibration_chooses_the_same_patients() -> None:
    truth, score, keys = draw(np.random.default_rng(5), 300)
    before = control_misses(truth, score, keys, rate=RATE, confidence=0.9)
    after = control_misses(truth, score**3, keys, rate=RATE, confidence=0.9)
    assert (score < before.threshold).tolist() == (score**3 < after.threshold).tolist()


@pytest.mark.parametrize(("rate", "confidence"), [(0.0, 0.0), (1.0, 0.0), (0.05, 1.0)])
def test_shares_out_of_range_are_refused(rate: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="must be in"):
        allowed_errors(10, rate=rate, confidence=confidence)


def test_a_patient_who_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="^patients lacks 1 of 2"):
        control_misses([0, 1], [0.1, 0.2], [1, None], rate=RATE)
    with pytest.raises(ValueError, match="^y_score has 1 NaN values"):
        control_misses([0, 1], [0.1, float("nan")], [1, 2], rate=RATE)
