"""The same examples of several models, or a refusal that names what is not the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ich_tf.comparison.sources import Model
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES

_MOST_NAMED = 3
# Labels that a CSV rounds.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Paired:
    """Examples that all models predict.

    Attributes:
      ids: Id of each example, str [n].
      patients: Patient of each, str [n].
      labels: float64 [n, 6], in [0, 1]; NaN where unknown.
      probabilities: Name of a model -> float64 [n, 6].
    """

    ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    probabilities: dict[str, np.ndarray]


def pair(
    models: Sequence[Model],
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    patients: Mapping[str, str] | None = None,
    noun: str = "slices",
) -> Paired:
    """Puts the predictions of all models in the order of the first one's.

    Args:
      models: Models, two or more.
      labels: Id -> labels [6] of --labels_csv, which those of the models must equal; None if the
        models have them.
      patients: Id -> patient of --patients_csv; None if a model has them.
      noun: Word for the examples, in messages.

    Raises:
      InputError: If examples, patients or labels differ, or are not given by any file.
    """
    first, *others = models
    for other in others:
        _check_same_examples(first, other, noun)
    ids = first.table.ids
    truth = _labels(models, labels, noun)
    order = {name: number for number, name in enumerate(ids)}
    probabilities = {}
    for model in models:
        place = [order[name] for name in model.table.ids]
        probabilities[model.name] = np.empty_like(model.table.probabilities)
        probabilities[model.name][place] = model.table.probabilities
    return Paired(
        np.asarray(ids, dtype=str),
        np.asarray(_patients(models, patients, noun), dtype=str),
        truth,
        probabilities,
    )


def _check_same_examples(first: Model, other: Model, noun: str) -> None:
    """Refuses other patients, and other examples of the same patients."""
    sets = [
        ("patients", set(first.table.patients or ()), set(other.table.patients or ())),
        (noun, set(first.table.ids), set(other.table.ids)),
    ]
    for what, ours, theirs in sets:
        if what == "patients" and (first.table.patients is None or other.table.patients is None):
            continue
        if ours != theirs:
            parts = [
                f"{len(more)} only {model.name} has ({_some(more)})"
                for model, more in ((first, ours - theirs), (other, theirs - ours))
                if more
            ]
            raise InputError(
                f"{first.name} and {other.name} have other {what}: {' and '.join(parts)}; "
                f"{len(ours & theirs)} are the same. A comparison needs the same {what}: give "
                f"predictions of one split ({first.path}, {other.path})."
            )


def _labels(
    models: Sequence[Model], given: Mapping[str, np.ndarray] | None, noun: str
) -> np.ndarray:
    """The labels in the order of the first model's ids, which all files must agree on."""
    ids = models[0].table.ids
    tables: list[tuple[str, Mapping[str, np.ndarray]]] = []
    if given is not None:
        lacking = [name for name in ids if name not in given]
        if lacking:
            raise InputError(
                f"--labels_csv lacks {len(lacking)} of the {len(ids)} {noun}, {_some(lacking)}. "
                "Add them, or compare predictions of the labelled ones."
            )
        tables.append(("--labels_csv", given))
    for model in models:
        if model.table.labels is not None:
            own = dict(zip(model.table.ids, model.table.labels, strict=True))
            tables.append((model.name, own))
    if not tables:
        raise InputError(
            "none of the models' files has labels (columns label_any, ...). Give --labels_csv."
        )
    names = dict.fromkeys(CLASSES, "")  # the file that tells of a class
    labels: np.ndarray = np.full((len(ids), len(CLASSES)), np.nan)
    for other, rows in tables:
        theirs = np.stack([rows[each] for each in ids])
        # A file need not tell of every class.
        tells = ~np.isnan(theirs).all(axis=0)
        is_new = tells & np.isnan(labels).all(axis=0)
        labels[:, is_new] = theirs[:, is_new]
        differ = tells & ~np.isclose(labels, theirs, rtol=0, atol=_ROUNDING, equal_nan=True)
        if differ.any():
            rows_differ = np.flatnonzero(differ.any(axis=1))
            row = rows_differ[0]
            number = int(np.argmax(differ[row]))
            raise InputError(
                f"{names[CLASSES[number]]} and {other} have other labels of {len(rows_differ)} "
                f"{noun}, {_some(ids[i] for i in rows_differ)}: {CLASSES[number]} of {ids[row]} is "
                f"{_shown(labels[row, number])} and {_shown(theirs[row, number])}. A comparison "
                "needs the same labels: evaluate all models on one conversion."
            )
        names.update({CLASSES[i]: other for i in np.flatnonzero(is_new)})
    return labels


def _patients(models: Sequence[Model], given: Mapping[str, str] | None, noun: str) -> list[str]:
    ids = models[0].table.ids
    if given is not None:
        lacking = [name for name in ids if name not in given]
        if lacking:
            raise InputError(
                f"--patients_csv lacks {len(lacking)} of the {len(ids)} {noun}, {_some(lacking)}. "
                "Add them."
            )
        return [given[name] for name in ids]
    tables = [
        (model.name, dict(zip(model.table.ids, model.table.patients, strict=True)))
        for model in models
        if model.table.patients is not None
    ]
    if not tables:
        raise InputError(
            "none of the models' files has patients (a column patient_key), and intervals resample "
            "patients. Give --patients_csv, with the columns id and patient."
        )
    (name, reference), *others = tables
    for other, theirs in others:
        differ = [each for each in ids if reference[each] != theirs[each]]
        if differ:
            raise InputError(
                f"{name} and {other} have other patients of {len(differ)} {noun}, {_some(differ)}: "
                f"{reference[differ[0]]} and {theirs[differ[0]]}. Give --patients_csv, or evaluate "
                "all models on one conversion."
            )
    return [reference[each] for each in ids]


def _some(names: Iterable[str]) -> str:
    """The first few of some names, in their order as words."""
    ordered = sorted(names)
    more = ", ..." if len(ordered) > _MOST_NAMED else ""
    return ", ".join(ordered[:_MOST_NAMED]) + more


def _shown(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:g}"
