"""Splits: each patient in one, whatever the order, and none moves when others come."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ich_tf.errors import InputError
from ich_tf.records.splits import (
    TEST,
    LeakageError,
    check_leakage,
    fold_name,
    join_labels,
    join_splits,
    place_patients,
    split_patients,
)
from tests.support.strategies import odd_texts

vectors = st.lists(st.sampled_from((0, 1)), min_size=6, max_size=6)
patients = st.dictionaries(odd_texts(), vectors, min_size=1, max_size=14)
folds = st.integers(2, 4)
fractions = st.one_of(st.just(0.0), st.floats(0, 0.9), st.just(0.2))
seeds = st.integers(0, 2**32 - 1)


@given(patients, folds, fractions, seeds, st.randoms(use_true_random=False))
@example({str(i): [0] * 6 for i in range(5)}, 4, 0.0, 0, None)
@example({str(i): [1] * 6 for i in range(9)}, 2, 0.001, 0, None)
@example({"a": [0] * 6, "b": [1] * 6}, 2, 0.0, 2**32 - 1, None)
def test_splits_are_a_partition_in_any_order(
    labels: dict[str, list[int]], num_folds: int, fraction: float, seed: int, random: object
) -> None:
    given_ = {patient: np.array(vector) for patient, vector in labels.items()}
    try:
        splits = split_patients(given_, num_folds, fraction, seed)
    except InputError as error:
        assert "cannot make" in str(error)
        return
    assert set(splits) == set(labels)
    names = {fold_name(fold) for fold in range(num_folds)}
    assert set(splits.values()) == {*names, *([TEST] if fraction else [])}, "none is empty"
    order = list(given_)
    if random is not None:
        random.shuffle(order)  # type: ignore[attr-defined]
    assert split_patients({p: given_[p] for p in order}, num_folds, fraction, seed) == splits


@given(patients, patients, folds, fractions, st.data())
def test_who_was_dealt_stays(
    old: dict[str, list[int]],
    new: dict[str, list[int]],
    num_folds: int,
    fraction: float,
    data: st.DataObject,
) -> None:
    names = [fold_name(fold) for fold in range(num_folds)]
    known = {patient: data.draw(st.sampled_from(names)) for patient in old}
    labels = {patient: np.array(vector) for patient, vector in {**old, **new}.items()}
    splits = place_patients(labels, known, num_folds, fraction)
    assert set(splits) == set(labels)
    assert all(splits[patient] == known[patient] for patient in old)
    assert set(splits.values()) <= {TEST, *names}
    backwards = {patient: labels[patient] for patient in reversed(labels)}
    assert place_patients(backwards, known, num_folds, fraction) == splits
    # Dealt once more with all of them known, nobody moves.
    assert place_patients(labels, splits, num_folds, fraction) == splits


@given(patients, st.data())
def test_groups_keep_all_labels_and_one_split(
    labels: dict[str, list[int]], data: st.DataObject
) -> None:
    groups = {
        patient: data.draw(st.sampled_from(sorted(labels)))
        for patient in data.draw(st.lists(st.sampled_from(sorted(labels)), unique=True))
    }
    joined = join_labels({p: np.array(v) for p, v in labels.items()}, groups)
    for patient, vector in labels.items():
        assert (joined[groups.get(patient, patient)] >= vector).all()
    assert set(joined) == {groups.get(patient, patient) for patient in labels}
    known = {patient: data.draw(st.sampled_from((TEST, "fold-0"))) for patient in labels}
    assert set(join_splits(known, groups)) == set(joined)


@given(st.dictionaries(odd_texts(), st.lists(odd_texts(), max_size=4), max_size=4))
def test_a_patient_in_two_splits_is_always_found(by_split: dict[str, list[str]]) -> None:
    counts = Counter(patient for members in by_split.values() for patient in set(members))
    if any(count > 1 for count in counts.values()):
        with pytest.raises(LeakageError):
            check_leakage(by_split)
    else:
        check_leakage(by_split)


@pytest.mark.parametrize(
    ("count", "num_folds", "fraction"), [(4, 3, 0.2), (5, 4, 0.1), (3, 2, 0.2)]
)
def test_few_patients_fill_all_splits(count: int, num_folds: int, fraction: float) -> None:
    """The stratification took two of three for the test set, or none."""
    rng = np.random.default_rng(0)
    for seed in range(60):
        labels = {str(i): (rng.random(6) < 0.5).astype(int) for i in range(count)}
        splits = split_patients(labels, num_folds, fraction, seed)
        assert len(set(splits.values())) == num_folds + 1
