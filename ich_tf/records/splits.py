"""Splits of patients into folds and a test set: no patient is in two splits.

A split is named `test`, `fold-0` ... `fold-(k-1)`, or `unlabelled`. Folds are stratified by each
patient's label vector (the maximum over the patient's images), with the iterative stratification
of Sechidis et al. 2011.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from ich_tf.errors import InputError
from ich_tf.labels import ANY

_LOG = logging.getLogger(__name__)
TEST = "test"
UNLABELLED = "unlabelled"


def fold_name(fold: int) -> str:
    """Name of the split that holds a fold.

    Examples:
      >>> fold_name(0)
      'fold-0'
    """
    return f"fold-{fold}"


class LeakageError(InputError):
    """A patient is in two splits."""


def split_patients(
    labels: Mapping[str, np.ndarray], num_folds: int, test_fraction: float, seed: int
) -> dict[str, str]:
    """Assigns every patient to a split.

    Args:
      labels: Label vector of each patient, int [6]: 1 if any image of the patient has the class; or
        of more values, of which the first six are these.
      num_folds: Number of folds, 2 or more.
      test_fraction: Share of the patients that go to `test`, in [0, 1).
      seed: Seed of the assignment, which depends on the patients and labels besides.

    Returns:
      Split of each patient.

    Raises:
      InputError: If there are fewer patients than the splits need.
    """
    # Imported here: the workers of a conversion import this module, and do not need scikit-learn,
    # which takes 2 s and 90 MiB.
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold, MultilabelStratifiedShuffleSplit

    patients = sorted(labels)
    num_test = round(test_fraction * len(patients))
    if test_fraction > 0:
        num_test = max(1, num_test)
    if len(patients) - num_test < num_folds:
        raise InputError(
            f"{len(patients)} labelled patients cannot make {num_folds} folds and a test set of "
            f"{num_test}; give more patients, fewer --num_folds or a smaller --test_fraction."
        )
    vectors = np.stack([labels[patient] for patient in patients])
    splits: dict[str, str] = {}
    rest = np.arange(len(patients))
    if num_test:
        chooser = MultilabelStratifiedShuffleSplit(
            n_splits=1, test_size=num_test, random_state=seed
        )
        # The chooser may take some more or fewer: of few patients, none, or too many for the folds.
        rest, test = next(chooser.split(rest, vectors))
        rest, test = fill_both(rest, test, num_folds)
        splits.update((patients[i], TEST) for i in test)
    folds = MultilabelStratifiedKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(folds.split(rest, vectors[rest])):
        splits.update((patients[rest[i]], fold_name(fold)) for i in members)
    return splits


def fill_both(rest: np.ndarray, test: np.ndarray, num_folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Moves the last patients of one set to the other, until both have enough.

    Args:
      rest: Patients of the folds.
      test: Patients of the test set. Both sets have more than `num_folds` patients together.
      num_folds: Number of patients that the folds need; the test set needs one.

    Examples:
      >>> fill_both(np.array([1, 2, 3]), np.array([]), num_folds=2)
      (array([1, 2]), array([3]))
      >>> fill_both(np.array([1]), np.array([7, 8, 9]), num_folds=3)
      (array([1, 8, 9]), array([7]))
    """
    if not len(test):
        rest, test = rest[:-1], rest[-1:]
    kept = min(len(test), len(rest) + len(test) - num_folds)
    return np.append(rest, test[kept:]), test[:kept]


def place_patients(
    labels: Mapping[str, np.ndarray],
    known: Mapping[str, str],
    num_folds: int,
    test_fraction: float,
) -> dict[str, str]:
    """Adds patients to existing splits.

    Each new patient goes to the split that, relative to its share, has the fewest patients of the
    same kind: with a hemorrhage, or without.

    Args:
      labels: Label vector of each patient, old or new, int [6], as for `split_patients`.
      known: Split of each old patient.
      num_folds: Number of folds of the existing splits.
      test_fraction: Share of the patients in `test`, in [0, 1).

    Returns:
      Split of each patient; old patients keep theirs.
    """
    shares = {fold_name(fold): (1 - test_fraction) / num_folds for fold in range(num_folds)}
    if test_fraction > 0:
        shares[TEST] = test_fraction
    splits = {patient: known[patient] for patient in sorted(labels) if patient in known}
    counts: Counter[tuple[str, bool]] = Counter(
        (split, bool(labels[patient][ANY])) for patient, split in splits.items()
    )
    for patient in sorted(set(labels) - set(splits)):
        bleeds = bool(labels[patient][ANY])
        split = min(shares, key=lambda name: (counts[name, bleeds] / shares[name], name))
        splits[patient] = split
        counts[split, bleeds] += 1
    return splits


def join_labels(
    labels: Mapping[str, np.ndarray], groups: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Label vectors of groups of patients, each the maximum over the group.

    Args:
      labels: Label vector of each patient, int [6], as for `split_patients`.
      groups: Group of some patients; any other is one of his own, under his own name.

    Examples:
      >>> joined = join_labels({"a": np.eye(6)[0], "b": np.eye(6)[5]}, {"a": "a", "b": "a"})
      >>> joined["a"].tolist()
      [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    """
    joined: dict[str, np.ndarray] = {}
    for patient, vector in labels.items():
        group = groups.get(patient, patient)
        joined[group] = np.maximum(joined.get(group, vector), vector)
    return joined


def join_splits(known: Mapping[str, str], groups: Mapping[str, str]) -> dict[str, str]:
    """Split of each group of which a patient has one already.

    Args:
      known: Split of each old patient.
      groups: Group of some patients; any other is one of his own, under his own name.

    Returns:
      Split of each group: where its patients stand in several, which is logged, the one with most
      of them.
    """
    counts: dict[str, Counter[str]] = {}
    for patient, split in known.items():
        counts.setdefault(groups.get(patient, patient), Counter())[split] += 1
    num_torn = sum(len(splits) > 1 for splits in counts.values())
    if num_torn:
        _LOG.warning(
            "%d groups of patients who share images stand in several splits since an earlier run, "
            "and stay there. --overwrite, or another --out_dir, deals them anew.",
            num_torn,
        )
    return {
        group: min(splits, key=lambda split: (-splits[split], split))
        for group, splits in counts.items()
    }


def check_leakage(patients_by_split: Mapping[str, Iterable[str]]) -> None:
    """Checks that no patient is in two splits.

    Args:
      patients_by_split: Patients of each split.

    Raises:
      LeakageError: If a patient is in two splits; the message names the patient and both splits.
    """
    seen: dict[str, str] = {}
    for split, patients in sorted(patients_by_split.items()):
        for patient in sorted(set(patients)):
            if patient in seen:
                raise LeakageError(
                    f"patient {patient} is both in {seen[patient]} and in {split}; a model would "
                    "be scored on a patient it has seen. Convert the data again."
                )
            seen[patient] = split
