"""Leakage: whether a model was trained on the patients that it is scored on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.ensemble import Member, find_members
from ich_tf.models import run_files
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import TEST, fold_name
from ich_tf.training.config import TrainConfig

_LOG = logging.getLogger(__name__)


def same_data(work_dir: str | Path, manifest: Manifest) -> bool:
    """Whether all models of a folder were trained on this conversion, byte for byte.

    Args:
      work_dir: Folder of the models.
      manifest: Manifest of the conversion.
    """
    sha256 = manifest.fingerprint()["sha256"]
    return all(_data_sha256(member) == sha256 for member in find_members(work_dir))


def seen_before(work_dir: str | Path, manifest: Manifest, split: str) -> str:
    """Describes what the models of a folder have seen of a split's patients.

    Logs a warning if a network was trained on them, or if that cannot be known.

    Args:
      work_dir: Folder of the models.
      manifest: Manifest of the conversion.
      split: Split of the conversion.

    Returns:
      The rest of a sentence about the patients, such as "no network was trained on them".

    Raises:
      InputError: If the conversion is another one than the models' and holds patients that a model
        was trained on: its split does not hold them out from the model.
    """
    members = find_members(work_dir)
    if same_data(work_dir, manifest):
        return _within(members, split)
    evaluated = set(manifest.patients.get(split, ()))
    trained_on = [_trained_on(member) for member in members]
    for member, patients in zip(members, trained_on, strict=True):
        common = evaluated & (patients or set())
        if common:
            raise InputError(
                f"{manifest.data_dir}: {len(common)} of {len(evaluated)} patients of {split} are "
                f"among those that {member.work_dir} was trained or chosen on, in "
                f"{_config(member).data_dir}. Evaluate on that folder, or convert with its "
                "--seed, --num_folds and --test_fraction."
            )
    if None in trained_on:
        text = (
            "of other data than the model was trained on; whether it was trained on some of them "
            "is not known"
        )
        _LOG.warning("%s, %s: patients %s", manifest.data_dir, split, text)
        return text
    return "of other data than the model was trained on, which holds none of them, by stored ids"


def _within(members: Sequence[Member], split: str) -> str:
    if split == TEST:
        return "no network was trained on them"
    if all(fold_name(member.validation_fold()) == split for member in members):
        return "no network was trained on them, but epoch and calibration were chosen on them"
    text = "networks were trained on them: these scores do not hold for new patients"
    _LOG.warning("%s: %s", split, text)
    return text


def _data_sha256(member: Member) -> str:
    """Hash of the run's data; empty if the run does not record it."""
    try:
        return member.data_sha256()
    except (InputError, KeyError):
        return ""


def _trained_on(member: Member) -> set[str] | None:
    """Patients of a run's folds; None if its data was deleted or converted anew."""
    try:
        data = Manifest.load(_config(member).data_dir)
        if data.fingerprint()["sha256"] != _data_sha256(member):
            return None
    except (OSError, ConfigError, InputError):
        return None
    return {
        patient
        for split, patients in data.patients.items()
        if split != TEST
        for patient in patients
    }


def _config(member: Member) -> TrainConfig:
    return TrainConfig.from_json((member.work_dir / run_files.CONFIG).read_text("utf-8"))
