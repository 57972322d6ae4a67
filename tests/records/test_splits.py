import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.records.splits import LeakageError, check_leakage, split_patients


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
