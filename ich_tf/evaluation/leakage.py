"""What a model has seen of the patients it is scored on."""

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
    """Whether all models of a folder were trained on this conversion, byte for byte."""
    sha256 = manifest.fingerprint()["sha256"]
    return all(_data_sha256(one) == sha256 for one in find_members(work_dir))


def seen_before(work_dir: str | Path, manifest: Manifest, split: str) -> str:
    """Says what the models of a folder know of a split's patients; warns if it is too much.

    Args:
      work_dir: Of the models.
      manifest: Of the conversion.
      split: Of it.

    Returns:
      Half a sentence: "no network was trained on them".

    Raises:
      InputError: If it is another conversion of patients that a model was trained on: which of
        them are held out there says nothing of the model.
    """
    members = find_members(work_dir)
    if same_data(work_dir, manifest):
        return _within(members, split)
    others = set(manifest.patients.get(split, ()))
    known = [_trained_on(one) for one in members]
    for member, patients in zip(members, known, strict=True):
        common = others & (patients or set())
        if common:
            raise InputError(
                f"{manifest.data_dir}: {len(common)} of {len(others)} patients of {split} are "
                f"among those that {member.work_dir} was trained or chosen on, in "
                f"{_config(member).data_dir}. Evaluate on that folder, or convert with its "
                "--seed, --num_folds and --test_fraction."
            )
    if None in known:
        said = (
            "of other data than the model was trained on; whether it was trained on some of them "
            "is not known"
        )
        _LOG.warning("%s, %s: patients %s", manifest.data_dir, split, said)
        return said
    return "of other data than the model was trained on, which holds none of them, by stored ids"


def _within(members: Sequence[Member], split: str) -> str:
    if split == TEST:
        return "no network was trained on them"
    if all(fold_name(one.validation_fold()) == split for one in members):
        return "no network was trained on them, but epoch and calibration were chosen on them"
    said = "networks were trained on them: these scores say nothing of new patients"
    _LOG.warning("%s: %s", split, said)
    return said


def _data_sha256(member: Member) -> str:
    """Of the run's data; empty where the run does not say."""
    try:
        return member.data_sha256()
    except (InputError, KeyError):
        return ""


def _trained_on(member: Member) -> set[str] | None:
    """The patients of a run's folds; None if its data is not there any more, or is other data."""
    try:
        data = Manifest.load(_config(member).data_dir)
        if data.fingerprint()["sha256"] != _data_sha256(member):
            return None
    except (OSError, ConfigError, InputError):
        return None
    return {one for split, patients in data.patients.items() if split != TEST for one in patients}


def _config(member: Member) -> TrainConfig:
    return TrainConfig.from_json((member.work_dir / run_files.CONFIG).read_text("utf-8"))
