"""The comparison of options: what a row of its tables says."""

import dataclasses

import pytest

from ich_tf.training.config import TrainConfig
from tools.compare_options import FINE_TUNED, FROM_RANDOM, Row

FIRST = Row("none of these", (0.40, 0.44, 0.42))


@pytest.mark.parametrize(
    ("losses", "cells"),
    [
        ((0.30, 0.34, 0.32), "-0.1000 ± 0.0000 | better"),
        ((0.50, 0.54, 0.51), "+0.0967 ± 0.0143 | worse"),  # 4.303 * 0.00577 / sqrt(3)
        ((0.30, 0.50, 0.42), "-0.0133 ± 0.2008 | no clear difference"),
    ],
)
def test_a_difference_is_that_of_runs_of_one_seed(losses: tuple, cells: str) -> None:
    assert Row("--flip", losses).cells(FIRST).endswith(f"| {cells} |")


def test_the_first_row_and_a_single_seed_claim_no_difference() -> None:
    assert FIRST.cells(FIRST) == "| none of these | 0.4200 | 0.4000 to 0.4400 | |  |"
    assert Row("--flip", (0.3,)).cells(Row("none", (0.4,))).endswith("| -0.1000 | one seed |")


def test_every_row_is_a_config() -> None:
    for changes in (*FROM_RANDOM, *FINE_TUNED):
        assert dataclasses.asdict(TrainConfig(**changes)).items() >= changes.items()
