import logging
from collections import Counter

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.records.splits import (
    LeakageError,
    check_leakage,
    fill_both,
    join_labels,
    join_splits,
    place_patients,
    split_patients,
)

BLEED, NONE = np.array([0, 1, 0, 0, 0, 1]), np.zeros(6, np.int64)


def make_patients(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.random((count, 6)) < [0.05, 0.2, 0.15, 0.2, 0.25, 0]
    vectors[:, 5] = vectors.any(axis=1)
    return {f"P{i:04}": vector.astype(np.int64) for i, vector in enumerate(vectors)}


def test_every_patient_has_one_split_and_classes_are_spread() -> None:
    patients = make_patients(400)
    splits = split_patients(patients, 5, 0.1, seed=0)
    assert set(splits) == set(patients)
    names = ["test", *(f"fold-{i}" for i in range(5))]
    assert set(splits.values()) == set(names)
    whole = np.mean(list(patients.values()), axis=0)
    for name in names:
        members = [patients[p] for p, split in splits.items() if split == name]
        assert abs(len(members) - (40 if name == "test" else 72)) <= 8
        # Sechidis' algorithm deals the rarest class first and most evenly.
        assert abs(np.sum(members, axis=0)[0] - whole[0] * len(members)) <= 1
        assert np.abs(np.mean(members, axis=0) - whole).max() < 0.1


def test_it_depends_on_seed_and_patients_alone() -> None:
    patients = make_patients(60)
    reordered = {p: patients[p] for p in reversed(patients)}
    assert split_patients(patients, 3, 0.2, 1) == split_patients(reordered, 3, 0.2, 1)
    assert split_patients(patients, 3, 0.2, 1) != split_patients(patients, 3, 0.2, 2)


def test_no_test_set() -> None:
    assert "test" not in split_patients(make_patients(20), 2, 0.0, 0).values()


def test_too_few_patients() -> None:
    with pytest.raises(InputError, match="5 labelled patients cannot make 5 folds"):
        split_patients(make_patients(5), 5, 0.1, 0)


def test_leakage_is_found() -> None:
    check_leakage({"fold-0": ["a", "a"], "fold-1": ["b"]})
    with pytest.raises(LeakageError, match="patient a is both in fold-0 and in test"):
        check_leakage({"fold-0": ["a", "c"], "test": ["a"]})


def test_as_many_patients_as_splits_are_enough() -> None:
    """A test set takes one patient, however small its share."""
    splits = split_patients(make_patients(6), 5, 0.01, 0)
    assert sorted(splits.values()) == ["fold-0", "fold-1", "fold-2", "fold-3", "fold-4", "test"]
    splits = split_patients(make_patients(100), 3, 0.001, 0)
    assert Counter(splits.values())["test"] == 1


def place(
    labels: dict[str, np.ndarray], known: dict[str, str], num_folds: int, test_fraction: float
) -> dict[str, str]:
    """Splits of the new patients; the old ones keep theirs."""
    splits = place_patients(labels, known, num_folds, test_fraction)
    assert {patient: splits[patient] for patient in known if patient in labels} == {
        patient: split for patient, split in known.items() if patient in labels
    }
    return {patient: split for patient, split in splits.items() if patient not in known}


@pytest.mark.parametrize(
    ("num_rest", "num_test", "num_folds", "left"),
    [
        (7, 2, 5, 7),
        (7, 0, 5, 6),
        (6, 0, 5, 5),
        (5, 1, 5, 5),
        (4, 2, 5, 5),
        (0, 4, 2, 2),
        (2, 9, 2, 2),
    ],
)
def test_folds_and_test_set_have_enough(
    num_rest: int, num_test: int, num_folds: int, left: int
) -> None:
    patients = np.arange(num_rest + num_test)
    rest, test = fill_both(patients[:num_rest], patients[num_rest:], num_folds)
    assert len(rest) == left
    assert sorted([*rest, *test]) == patients.tolist()
    # The last of one set are moved, and no other.
    assert [*rest[:num_rest]] == [*range(min(left, num_rest))]


def test_new_patients_fill_the_splits_that_lack_their_kind() -> None:
    known = {"a": "fold-0", "b": "fold-1", "c": "fold-1", "d": "test"}
    labels = dict.fromkeys("abcd", BLEED)
    # With and without a hemorrhage are counted apart: nobody without one has a split yet.
    assert place({**labels, "e": BLEED, "f": NONE}, known, 2, 1 / 3) == {
        "e": "fold-0",
        "f": "fold-0",
    }
    # Each patient who is placed counts for the next one, and ties go by name.
    new = dict.fromkeys("efghi", BLEED)
    assert place({**labels, **new}, known, 2, 1 / 3) == {
        "e": "fold-0",
        "f": "test",
        "g": "fold-0",
        "h": "fold-1",
        "i": "test",
    }


@pytest.mark.parametrize(
    ("test_fraction", "expected"),
    [
        (0.0, {"fold-0": 10, "fold-1": 10, "fold-2": 10}),
        (0.1, {"fold-0": 9, "fold-1": 9, "fold-2": 9, "test": 3}),
        (0.7, {"fold-0": 3, "fold-1": 3, "fold-2": 3, "test": 21}),
    ],
)
def test_splits_grow_to_their_shares(test_fraction: float, expected: dict[str, int]) -> None:
    labels = {f"P{i:02}": BLEED for i in range(30)}
    assert Counter(place(labels, {}, 3, test_fraction).values()) == expected


def test_a_patient_who_is_away_takes_no_place() -> None:
    assert place({"b": BLEED}, {"a": "fold-0"}, 2, 0.0) == {"b": "fold-0"}


def test_a_group_has_the_labels_of_all_its_patients() -> None:
    joined = join_labels(
        {"a": np.array([1, 0, 0]), "b": np.array([0, 0, 1]), "c": np.array([0, 1, 0])},
        {"a": "a", "b": "a"},
    )
    assert {group: vector.tolist() for group, vector in joined.items()} == {
        "a": [1, 0, 1],
        "c": [0, 1, 0],
    }


def test_a_group_goes_where_most_of_it_is(caplog: pytest.LogCaptureFixture) -> None:
    groups = {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}
    known = {"a": "fold-0", "b": "test", "c": "test", "x": "fold-2", "y": "fold-1", "z": "fold-3"}
    with caplog.at_level(logging.WARNING):
        # A tie goes to the first by name.
        assert join_splits(known, groups) == {"a": "test", "x": "fold-1", "z": "fold-3"}
    (message,) = caplog.messages
    assert message.startswith("2 groups of patients") and "--overwrite" in message


def test_a_group_in_one_split_is_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    assert join_splits({"a": "test", "b": "test"}, {"a": "a", "b": "a"}) == {"a": "test"}
    assert caplog.messages == []
