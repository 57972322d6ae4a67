"""How often intervals of differences cover the truth, of simulated pairs of models."""

import numpy as np
import pytest

from ich_tf.comparison.measures import Measure
from tools.simulated_pairs import MEASURED, Scenario, measure_coverage


def test_patients_are_ill_with_all_of_their_slices() -> None:
    paired = Scenario("slice", 40).draw(np.random.default_rng(0))
    assert len(set(paired.patients)) == 40 and len(paired.ids) > 200
    share = [paired.labels[paired.patients == each, 5].mean() for each in set(paired.patients)]
    # Of slices that are ill by themselves the spread would be a third of it.
    assert np.std(share) > 0.2


def test_a_few_intervals_cover_and_do_not_cover_everything() -> None:
    """So short a run tells a broken interval, and no more."""
    (coverage,) = measure_coverage(
        Scenario("exam", 60),
        num_pairs=40,
        num_resamples=100,
        measures=[Measure("log_loss", "any")],
        with_percentiles=False,
    ).values()
    assert coverage.num_pairs == 40
    assert 0.85 <= coverage.shares[0] < 1


@pytest.mark.slow
@pytest.mark.parametrize("level", ["slice", "exam"])
def test_intervals_cover_the_true_difference_in_92_to_98_of_100_pairs(level: str) -> None:
    coverage = measure_coverage(
        Scenario(level, 100), num_pairs=400, num_resamples=400, with_percentiles=False
    )
    shares = {measure.title: each.shares[0] for measure, each in coverage.items()}
    print(shares)
    assert [each.num_pairs for each in coverage.values()] == [400] * len(MEASURED)
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares
