"""Splits that a folder's patients were dealt: by splits.json, its plan and its manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ich_tf.conversion.config import ConversionConfig
from ich_tf.conversion.plan import Plan
from ich_tf.errors import DataError, InputError
from ich_tf.records import data_files
from ich_tf.records.dealt_splits import load_splits
from ich_tf.records.splits import TEST, UNLABELLED, fold_name
from ich_tf.runtime import files
from ich_tf.runtime.json_types import read_object

_LOG = logging.getLogger(__name__)


def known_splits(out_dir: Path, config: ConversionConfig, plan: Plan | None) -> dict[str, str]:
    """Split of each patient that a folder ever held.

    Args:
      out_dir: Output folder.
      config: Config of the new conversion.
      plan: Plan that the folder holds; None if it has none, or a damaged one.

    Returns:
      Split of each patient, by key; empty if the patients are to be dealt.

    Raises:
      InputError: If nothing sound says in which splits the patients are, or they are not splits of
        the new conversion.
    """
    if config.overwrite or not config.is_labelled:
        return {}
    splits = _of_patients(plan.patients) if plan is not None else {}
    try:
        stored = load_splits(out_dir)
    except DataError as error:
        stored = {}
        _LOG.warning("%s It is made anew.", error)
        if plan is None:
            splits = _of_manifest(out_dir)
    else:
        if not stored and _had_splits(out_dir):
            if plan is None:
                splits = _of_manifest(out_dir)
            elif not plan.is_former:
                _LOG.warning(
                    "%s: is missing. It is made anew, from %s: patients who are in neither are "
                    "dealt anew if they come back.",
                    *(out_dir / data_files.SPLITS, data_files.PLAN),
                )
    moved = [
        patient for patient in splits if stored.get(patient, splits[patient]) != splits[patient]
    ]
    if moved:
        _LOG.warning(
            "%s: %d patients are in other splits by %s than by %s; they stay where their records "
            "are.",
            *(out_dir, len(moved), data_files.SPLITS, data_files.PLAN),
        )
    splits = {**stored, **splits}
    _check_names(out_dir, config, splits.values())
    return splits


def with_planned(known: Mapping[str, str], plan: Plan) -> dict[str, str]:
    """Splits that are known once a plan is made; none for data without labels.

    Args:
      known: Split of each patient that the folder held before.
      plan: Plan of the conversion.
    """
    if not plan.is_labelled:
        return {}
    return {**known, **_of_patients(plan.patients)}


def _of_patients(patients: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {patient: split for split, keys in patients.items() for patient in keys}


def _had_splits(out_dir: Path) -> bool:
    """Whether patients of a folder were dealt, though it holds no splits.json."""
    return any(out_dir.glob("*-of-*.tfrecord")) or (out_dir / data_files.PLAN).is_file()


@dataclass(frozen=True)
class _StoredPatients:
    """Keys of the patients of each split, as manifest.json has them."""

    patients: dict[str, list[str]]


def _of_manifest(out_dir: Path) -> dict[str, str]:
    """Splits by manifest.json, where `_SUCCESS` vouches for it: it has no hash of its own.

    Raises:
      InputError: If it is damaged as well.
    """
    path = out_dir / data_files.MANIFEST
    try:
        lines = (out_dir / data_files.SUCCESS).read_text("utf-8", "replace").splitlines()
        if f"{files.file_sha256(path)}  {path.name}" in lines:
            patients = read_object(path, _StoredPatients).patients
            return {} if UNLABELLED in patients else _of_patients(patients)
    except (OSError, DataError):
        pass  # as damaged as the others
    raise InputError(
        f"{out_dir}: {data_files.PLAN} and {data_files.SPLITS} are both damaged or missing, so "
        "that nothing says which patients are in which fold. Restore one of them from a copy, give "
        "another --out_dir, or --overwrite to deal the patients anew."
    )


def _check_names(out_dir: Path, config: ConversionConfig, splits: Iterable[str]) -> None:
    names = {TEST, *map(fold_name, range(config.num_folds))}
    others = sorted(set(splits) - names)
    if others:
        raise InputError(
            f"{out_dir}: its patients were dealt to {', '.join(others)}, too, which "
            f"--num_folds={config.num_folds} has not. Give the former --num_folds, another "
            "--out_dir, or --overwrite to deal the patients anew."
        )
