"""Leakage: whether a model was trained on the patients that it is scored on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path

from ich_tf.errors import ConfigError, InputError
from ich_tf.inference.ensemble import Member, find_members
from ich_tf.models import run_files
from ich_tf.models.origins import UNKNOWN, Exposure, Origin, origin_of_run, patient_ids
from ich_tf.records.manifest import Manifest
from ich_tf.runtime.files import parse_json
from ich_tf.training.config import TrainConfig

_LOG = logging.getLogger(__name__)
_NOT_NEW = "these scores do not hold for new patients"
_UNKNOWN_START = "started from weights of unknown origin, which may have been trained on them"
_LEFT_OUT = (
    "the bundle does not hold the hashes of the patients that the model or its ancestors were "
    "trained on (python -m ich_tf.bundle --patient_hashes keeps them)"
)
_NOT_KNOWN = "whether it was trained on some of them is not known"
_OTHER_KEYS = ", since ids are hashed with another secret, or patients told apart by something else"


def same_data(work_dir: str | Path, manifest: Manifest) -> bool:
    """Whether all models of a folder were trained on this conversion, byte for byte.

    Args:
      work_dir: Folder of the models.
      manifest: Manifest of the conversion.
    """
    sha256 = manifest.fingerprint()["sha256"]
    return all(_origin(member).data_sha256 == sha256 for member in find_members(work_dir))


def seen_before(work_dir: str | Path, manifest: Manifest, split: str) -> str:
    """Describes what the models of a folder have seen of a split's patients.

    All that their weights started from counts. Logs a warning if a network was trained on them, or
    if that cannot be known.

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
        text, is_new = _within([_noted(member, manifest) for member in members], manifest, split)
    else:
        text, is_new = _elsewhere(members, manifest, split)
    if not is_new:
        _LOG.warning("%s, %s: patients %s", manifest.data_dir, split, text)
    return text


def started_from(work_dir: str | Path) -> str:
    """Describes what the models of a folder started from, such as "random weights"."""
    texts = [text for member in find_members(work_dir) for text in _origin(member).started_from()]
    return "; ".join(dict.fromkeys(texts))


def _within(origins: Sequence[Origin], manifest: Manifest, split: str) -> tuple[str, bool]:
    """The text for a split of the models' own data, and whether its patients are new to them."""
    patients, keys = patient_ids(manifest.patients.get(split, ())), manifest.patient_keys
    own = reduce(or_, (origin.own_exposure(patients, keys) for origin in origins))
    before = reduce(or_, (origin.inherited_exposure(patients, split, keys) for origin in origins))
    if own.trained:
        return f"networks were trained on them: {_NOT_NEW}", False
    if before.trained:
        return (
            f"weights that the model started from were trained on {len(before.trained)} of the "
            f"{len(patients)}: {_NOT_NEW}",
            False,
        )
    if not before.is_known:
        start = _LEFT_OUT if _are_left_out(origins) else f"it {_UNKNOWN_START}"
        return f"of whom the model saw none, but {start}", False
    text = "no network was trained on them"
    if own.chosen:
        return f"{text}, but epoch and calibration were chosen on them", True
    if before.chosen:
        return (
            f"{text}, but an epoch of weights that the model started from was chosen on "
            f"{len(before.chosen)} of the {len(patients)}",
            True,
        )
    return text, True


def _elsewhere(members: Sequence[Member], manifest: Manifest, split: str) -> tuple[str, bool]:
    """The text for other data than the models', and whether the patients are new to them."""
    patients, keys = patient_ids(manifest.patients.get(split, ())), manifest.patient_keys
    is_known, started = True, ""
    for member in members:
        origin = _origin(member)
        own = origin.own_exposure(patients, keys)
        before = origin.inherited_exposure(patients, patient_keys=keys)
        _check_new(own, member, manifest, split, inherited=False)
        _check_new(before, member, manifest, split, inherited=True)
        is_known &= own.is_known and before.is_known
        if _are_left_out([origin]):
            started = f": {_LEFT_OUT}"
        elif origin.folds and origin.patient_keys != keys:
            started = _OTHER_KEYS
        elif own.is_known and not before.is_known:
            started = f", since it {_UNKNOWN_START}"
    if not is_known:
        return f"of other data than the model was trained on; {_NOT_KNOWN}{started}", False
    return (
        "of other data than the model was trained on, which holds none of them, by stored ids",
        True,
    )


def _check_new(
    exposure: Exposure, member: Member, manifest: Manifest, split: str, *, inherited: bool
) -> None:
    common = exposure.trained | exposure.chosen
    if not common:
        return
    if inherited:
        raise InputError(
            f"{manifest.data_dir}: {len(common)} of {len(manifest.patients[split])} patients of "
            f"{split} are among those that weights were trained or chosen on from which "
            f"{member.name} started. Evaluate on patients that neither has seen."
        )
    raise InputError(
        f"{manifest.data_dir}: {len(common)} of {len(manifest.patients[split])} patients of "
        f"{split} are among those that {member.name} was trained or chosen on, in "
        f"{_data_dir(member)}. Evaluate on that folder, or convert with its --seed, --num_folds "
        "and --test_fraction."
    )


def _origin(member: Member) -> Origin:
    """Origin of a model; an unknown one if the run does not record it."""
    try:
        return member.origin()
    except (InputError, KeyError):
        return Origin(UNKNOWN)


def _are_left_out(origins: Sequence[Origin]) -> bool:
    return any(origin.left_out for origin in origins)


def _noted(member: Member, manifest: Manifest) -> Origin:
    """Origin of a model on its own data; a run of an earlier version did not note its patients."""
    origin = _origin(member)
    if origin.folds:
        return origin
    again = origin_of_run(
        origin.data_sha256,
        member.validation_fold(),
        manifest.patients,
        origin.ancestors,
        manifest.patient_keys,
    )
    return dataclasses.replace(
        again, weights_sha256=origin.weights_sha256, left_out=origin.left_out
    )


def _data_dir(member: Member) -> str:
    """Folder of the data that a run was trained on, as its config names it."""
    try:
        text = (member.work_dir / run_files.CONFIG).read_text("utf-8")
        config = TrainConfig.from_json(text)
        # A bundle's config names no folder.
        return config.data_dir if "data_dir" in parse_json(text) else "other data"
    except (OSError, ConfigError):
        return "other data"
