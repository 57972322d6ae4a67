"""Windows and metrics: what must not change them, and what must."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.labels.classes import CLASSES
from ich_tf.labels.unknown import complete, contradictions
from ich_tf.metrics import (
    average_precision,
    brier_score,
    expected_calibration_error,
    roc_auc,
    weighted_log_loss,
)
from ich_tf.windows import HU_RANGE, Window, apply_windows, quantize_hu, stored_to_hu

windows = st.builds(Window, st.floats(-2000, 4000), st.floats(1, 6000))
seeds = st.integers(0, 2**32 - 1)


@given(windows)
@example(Window(40, 80))
@example(Window(0, 1.0))
def test_a_window_is_monotonic_and_reaches_its_ends(window: Window) -> None:
    stored = np.arange(65_521, dtype=np.uint16).reshape(1, -1)
    grey = apply_windows(stored, [window])[0, :, 0].astype(int)
    assert (np.diff(grey) >= 0).all()
    hu = stored_to_hu(stored[0].astype(float))  # type: ignore[arg-type]
    assert (grey[hu <= window.center - window.width / 2 - 1] == 0).all()
    assert (grey[hu >= window.center + window.width / 2 + 1] == 255).all()


@given(st.lists(st.floats(*HU_RANGE, width=32), min_size=1, max_size=9))
def test_stored_values_are_within_half_a_step(values: list[float]) -> None:
    hu = np.array(values, np.float32)
    back = stored_to_hu(quantize_hu(hu).astype(float))  # type: ignore[arg-type]
    assert np.abs(back - hu).max() <= (0.5 + 1 / 64) / 16 + 1e-3


def drawn(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of both kinds, scores with ties in [0, 1], and weights."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], rng.integers(0, 2, count - 2)])
    return labels, rng.integers(0, 9, count) / 8, rng.integers(1, 5, count).astype(float)


@given(seeds, st.floats(1e-200, 1e200))
def test_areas_know_order_and_shares_alone(seed: int, factor: float) -> None:
    labels, scores, weight = drawn(seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    for area in (roc_auc, average_precision):
        value = area(labels, scores, weight)
        assert area(labels[order], scores[order], weight[order]) == pytest.approx(value)
        assert area(labels, np.exp(3 * scores) - 7, weight) == pytest.approx(value)
        assert area(labels, scores, weight * factor) == pytest.approx(value)
        repeats = weight.astype(int)
        repeated = area(np.repeat(labels, repeats), np.repeat(scores, repeats))
        assert repeated == pytest.approx(value)
    mirrored = roc_auc(1 - labels, -scores, weight)
    assert mirrored == pytest.approx(roc_auc(labels, scores, weight))


@given(seeds, st.floats(1e-200, 1e200))
def test_losses_know_shares_of_weights_alone(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (7, len(CLASSES)))
    probabilities = rng.random((7, len(CLASSES)))
    weight = rng.integers(1, 5, 7).astype(float)
    value = weighted_log_loss(labels, probabilities, weight)
    assert weighted_log_loss(labels, probabilities, weight * factor) == pytest.approx(value)
    order = rng.permutation(7)
    again = weighted_log_loss(labels[order], probabilities[order], weight[order])
    assert again == pytest.approx(value)
    for score in (brier_score, expected_calibration_error):
        one = score(labels[:, 0], probabilities[:, 0], sample_weight=weight)
        scaled = score(labels[:, 0], probabilities[:, 0], sample_weight=weight * factor)
        assert scaled == pytest.approx(one)


def test_weights_whose_sum_is_no_number_are_refused() -> None:
    labels, probabilities = np.zeros((2, 6), int), np.full((2, 6), 0.5)
    with pytest.raises(ValueError, match="sample_weight"):
        weighted_log_loss(labels, probabilities, [1e308, 1e308])


labels_of_exams = st.lists(
    st.lists(st.sampled_from((0.0, 0.3, 0.5, 1.0, np.nan)), min_size=6, max_size=6), max_size=6
)


@given(labels_of_exams, st.booleans())
def test_completed_labels_stay_as_told(rows: list[list[float]], is_any_told: bool) -> None:
    labels = np.array(rows).reshape(-1, 6)
    completed = complete(labels, is_any_told=is_any_told)
    told = ~np.isnan(labels)
    assert (completed[told] == labels[told]).all(), "nothing that was told changes"
    assert np.array_equal(
        complete(completed, is_any_told=is_any_told), completed, equal_nan=True
    ), "once is enough"
    assert set(contradictions(completed)) >= set(contradictions(labels))
