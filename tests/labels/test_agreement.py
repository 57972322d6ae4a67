"""Agreement of readers, against worked examples."""

import numpy as np
import pytest

from ich_tf.labels import CLASSES
from ich_tf.labels.agreement import ReaderAgreement, reader_agreement

NAN = float("nan")


def agreement(rows: list[list[float]]) -> ReaderAgreement:
    """Of votes on `any` alone."""
    votes = np.full((len(rows), len(rows[0]), len(CLASSES)), NAN)
    votes[..., 5] = rows
    return reader_agreement(votes, tuple(f"R{k + 1}" for k in range(len(rows[0]))))


def test_a_worked_example_of_fleiss_kappa() -> None:
    # Agreement of the exams 1, 1/3, 1/3, 1: mean 2/3. Seven of twelve say yes: by chance 37/72.
    found = agreement([[1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0]])
    assert found.kappa[5] == pytest.approx((2 / 3 - 37 / 72) / (1 - 37 / 72))
    assert found.unanimous[5] == 0.5
    assert found.exams == (0, 0, 0, 0, 0, 4)
    assert np.isnan(found.kappa[0])


def test_exams_of_one_reader_tell_nothing_of_agreement() -> None:
    few = agreement([[1, 1, 1], [1, 1, 0], [0, 0, 0]])
    more = agreement([[1, 1, 1], [1, 1, 0], [0, 0, 0], [1, NAN, NAN], [NAN] * 3])
    assert more.text() == few.text()
    assert more.kappa[5] == few.kappa[5]


def test_one_reader_agrees_with_nobody() -> None:
    assert agreement([[1], [0]]).text() == (
        "1 reader (R1):\n  no exam has labels of two readers, whose agreement could be told"
    )


def test_readers_may_leave_exams_out() -> None:
    # Pairs that agree: 1 of 1, 1 of 3; five votes, three of them yes.
    found = agreement([[1, 1, NAN], [0, 1, 0]])
    chance = 0.6**2 + 0.4**2
    assert found.kappa[5] == pytest.approx((2 / 3 - chance) / (1 - chance))


def test_kappa_is_undefined_where_all_votes_are_the_same() -> None:
    found = agreement([[0, 0], [0, 0]])
    assert np.isnan(found.kappa[5])
    assert found.text() == (
        "2 readers (R1, R2):\n  any: all agree on 100.0% of 2 exams, Fleiss' kappa undefined"
    )
    assert found.as_dict() == {
        "readers": ["R1", "R2"],
        "classes": {"any": {"exams": 2, "unanimous": 1.0, "fleiss_kappa": None}},
    }
