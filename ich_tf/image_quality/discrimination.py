"""How well phantoms are told from patients by their patches, on patients that were held out.

A logistic regression on the features and their squares, for a feature may give phantoms away by its
spread alone. An AUC of 0.5 is chance. A single real head, however, is one patient on one scanner,
and told from a crowd as any one of the crowd would be: the same AUC of single phantoms, each told
from the others, is what phantoms like that patient could reach.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ich_tf import metrics

_FOLDS = 4
_RIDGE = 0.02
_NEWTON_STEPS = 25
_TOLERANCE = 1e-6
_CLIP = 4.0
_LEAST_PATCHES = 40
_MOST_PATCHES = 6000
_MOST_SINGLE = 6


@dataclasses.dataclass(frozen=True)
class Giveaway:
    """A feature, and how far it tells phantoms from patients.

    Attributes:
      name: Name of the feature.
      auc: AUC of the feature alone: 0.5 for none, above it phantoms have more of it.
      weight: Weight in the logistic regression, of the feature in its standard deviations.
      phantom: Median among phantoms.
      real: Median among real patches.
    """

    name: str
    auc: float
    weight: float
    phantom: float
    real: float


@dataclasses.dataclass(frozen=True)
class Discrimination:
    """Held-out accuracy of telling phantoms from patients by one kind of patches.

    Attributes:
      kind: Kind of the patches.
      auc: Mean AUC of the folds; NaN if it could not be measured.
      fold_aucs: AUC of each fold.
      single_aucs: AUCs of single phantom patients, each told from the others as the real head is;
        empty where there are enough real patients.
      num_phantom: Number of phantoms' patches.
      num_real: Number of real patches.
      held_out: What was held out, in words; or why nothing could be measured.
      giveaways: Features, the most telling first.
    """

    kind: str
    auc: float
    fold_aucs: tuple[float, ...]
    single_aucs: tuple[float, ...]
    num_phantom: int
    num_real: int
    held_out: str
    giveaways: tuple[Giveaway, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Patches of one series.

    Attributes:
      patient: Patient of the series.
      slices: Index of each patch's slice, int64 [n].
      features: float32 [n, features].
    """

    patient: str
    slices: np.ndarray
    features: np.ndarray


def discriminate(
    kind: str, names: Sequence[str], phantoms: Sequence[Group], real: Sequence[Group]
) -> Discrimination:
    """Tells phantoms from patients by their patches.

    Args:
      kind: Kind of the patches.
      names: Names of the features.
      phantoms: Patches of phantoms by series.
      real: Patches of patients by series.
    """
    num_phantom, num_real = (
        sum(len(group.slices) for group in groups) for groups in (phantoms, real)
    )
    if min(num_phantom, num_real) < _LEAST_PATCHES:
        reason = (
            f"not measurable: {num_phantom} patches of phantoms and {num_real} real ones; "
            f"{_LEAST_PATCHES} of each are needed"
        )
        return Discrimination(kind, float("nan"), (), (), num_phantom, num_real, reason, ())
    features, labels, fold, held_out = _table(phantoms, real)
    aucs = _held_out_aucs(features, labels, fold)
    model = _Model.fit(*(array[_thinned(fold >= 0, labels)] for array in (features, labels)))
    return Discrimination(
        kind,
        float(np.mean(aucs)) if aucs else float("nan"),
        aucs,
        _single_aucs(phantoms) if len(_patients(real)) < _FOLDS else (),
        num_phantom,
        num_real,
        held_out,
        _giveaways(names, features, labels, model),
    )


def _table(
    phantoms: Sequence[Group], real: Sequence[Group]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, str]:
    """Features, labels (1: phantom) and folds of all patches, and what a fold holds out."""
    folds, words = zip(*(_folds(groups) for groups in (phantoms, real)), strict=True)
    features = np.concatenate([group.features for group in (*phantoms, *real)])
    labels = np.repeat([1.0, 0.0], [len(fold) for fold in folds])
    held_out = f"phantoms: {words[0]}; real: {words[1]}"
    return features.astype(np.float64), labels, np.concatenate(folds), held_out


def _held_out_aucs(features: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> tuple[float, ...]:
    """AUC of each fold that has both labels, of a model fitted to the others."""
    aucs = []
    for number in range(_FOLDS):
        train, test = _thinned(fold != number, labels), fold == number
        if len(np.unique(labels[test])) < 2 or len(np.unique(labels[train])) < 2:
            continue
        model = _Model.fit(features[train], labels[train])
        aucs.append(float(metrics.roc_auc(labels[test], model.logits(features[test]))))
    return tuple(aucs)


def _single_aucs(phantoms: Sequence[Group]) -> tuple[float, ...]:
    """Mean held-out AUC of each of a few phantom patients told from the others."""
    patients = _patients(phantoms)
    if len(patients) <= _FOLDS:
        return ()
    means = []
    for patient in patients[:: -(-len(patients) // _MOST_SINGLE)]:
        single = [group for group in phantoms if group.patient == patient]
        others = [group for group in phantoms if group.patient != patient]
        aucs = _held_out_aucs(*_table(others, single)[:3])
        if aucs:
            means.append(float(np.mean(aucs)))
    return tuple(means)


def _patients(groups: Sequence[Group]) -> list[str]:
    return sorted({group.patient for group in groups})


def _folds(groups: Sequence[Group]) -> tuple[np.ndarray, str]:
    """Fold of each patch: by patient, or by blocks of slices where there are fewer than 4."""
    patients = _patients(groups)
    if len(patients) >= _FOLDS:
        number = {patient: i % _FOLDS for i, patient in enumerate(patients)}
        parts = [np.full(len(group.slices), number[group.patient]) for group in groups]
        return np.concatenate(parts), f"a quarter of {len(patients)} patients"
    parts = []
    for group in groups:
        shown = np.unique(group.slices)
        block = np.searchsorted(shown, group.slices) * _FOLDS // max(1, len(shown))
        parts.append(block)
    noun = "head" if len(patients) == 1 else "heads"
    fold = np.concatenate(parts) if parts else np.zeros(0, int)
    return fold, f"a quarter of the slices of {len(patients)} {noun}, one block"


def _thinned(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Indices of a mask, evenly thinned to at most 6,000 of each label."""
    parts = []
    for label in (0.0, 1.0):
        indices = np.flatnonzero(mask & (labels == label))
        parts.append(indices[:: -(-len(indices) // _MOST_PATCHES) or 1])
    return np.concatenate(parts)


def _giveaways(
    names: Sequence[str], features: np.ndarray, labels: np.ndarray, model: _Model
) -> tuple[Giveaway, ...]:
    phantom, real = features[labels == 1], features[labels == 0]
    found = [
        Giveaway(
            name,
            float(metrics.roc_auc(labels, features[:, i])),
            float(model.weights[1 + i]),
            float(np.median(phantom[:, i])),
            float(np.median(real[:, i])),
        )
        for i, name in enumerate(names)
    ]
    return tuple(sorted(found, key=lambda giveaway: -abs(giveaway.auc - 0.5)))


@dataclasses.dataclass(frozen=True, eq=False)
class _Model:
    """Logistic regression on standardised features and their squares.

    Attributes:
      centre: Median of each feature.
      scale: Spread of each feature.
      weights: Intercept, weights of the features, weights of their squares.
    """

    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray) -> _Model:
        """Fits by Newton steps; both labels count alike, weights are held by a ridge."""
        centre = np.median(features, axis=0)
        scale = np.maximum(features.std(axis=0), 1e-6)
        design = _design(features, centre, scale)
        count = np.where(labels > 0, labels.sum(), (1 - labels).sum())
        importance = 0.5 / count
        ridge = np.full(design.shape[1], _RIDGE)
        ridge[0] = 0.0
        weights = np.zeros(design.shape[1])
        for _ in range(_NEWTON_STEPS):
            probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
            gradient = design.T @ (importance * (probability - labels)) + ridge * weights
            curvature = importance * np.maximum(probability * (1 - probability), 1e-6)
            hessian = (design * curvature[:, None]).T @ design + np.diag(ridge + 1e-9)
            step = np.linalg.solve(hessian, gradient)
            weights -= step
            if np.abs(step).max() < _TOLERANCE:
                break
        return cls(centre, scale, weights)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Logits of being a phantom, float64 [n]."""
        return np.asarray(_design(features, self.centre, self.scale) @ self.weights)


def _design(features: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    standard = np.clip((features - centre) / scale, -_CLIP, _CLIP)
    return np.concatenate([np.ones((len(standard), 1)), standard, standard**2], axis=1)
