"""Reading of `calibration.json`: values of their types and ranges, fitted to these weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.inference.postprocessing.abstention import Abstention
from ich_tf.inference.postprocessing.aggregation import LEVELS
from ich_tf.inference.postprocessing.postprocessing import (
    POINTS,
    VERSION,
    Group,
    Postprocessing,
    Thresholds,
)
from ich_tf.labels import CLASSES
from ich_tf.models.bundle import model_folder
from ich_tf.models.run_files import CALIBRATION
from ich_tf.runtime.files import parse_json, read_text
from ich_tf.runtime.json_types import read_fields
from ich_tf.runtime.names import shortened

_CALIBRATORS = ("calibrator", "series_calibrator")
_AS_WRITTEN = ("smoothing_mm", "prevalence", "thresholds")
# Version that single models are still read from.
_ALONE_VERSION = 2
_TOLERANCE = 1e-6
_MOST_BYTES = 64 << 20


def load_postprocessing(
    work_dir: str | Path, model_sha256: str, num_members: int = 1
) -> Postprocessing | None:
    """Reads the `calibration.json` of a work dir.

    Args:
      work_dir: Folder of the model, or its bundle.
      model_sha256: SHA-256 of the model in the folder now (`Predictor.sha256`).
      num_members: Number of its members.

    Returns:
      The postprocessing; None if there is no file.

    Raises:
      InputError: If the file is damaged, or was fitted to other weights.
    """
    path = model_folder(work_dir) / CALIBRATION
    if not path.is_file():
        return None
    remedy = f"Run python -m ich_tf.calibrate --work_dir={work_dir}, or delete the file."
    try:
        content = parse_json(read_text(path, _MOST_BYTES))
        version = content.pop("version")
        if version not in (VERSION, _ALONE_VERSION) or content.pop("classes") != list(CLASSES):
            raise ValueError("another version")
        if version == _ALONE_VERSION:
            # The same for a single model. Ensembles had one calibrator, of their members' logits.
            if num_members > 1:
                raise ValueError("fitted to single members, and applied to their mean")
            group = {name: content.pop(name) for name in _CALIBRATORS}
            content["groups"] = [{**group, "members": [], "share": 1.0}]
        groups = tuple(map(Group.from_json, content.pop("groups")))
        abstention = None
        if "abstention" in content:
            abstention = Abstention.from_json(content.pop("abstention"))
        unknown = content.keys() - {field.name for field in dataclasses.fields(Postprocessing)}
        if unknown:
            raise ValueError(f"{shortened(min(unknown), 60)} is unknown to this version")
        read = read_fields(Postprocessing, content)
        # Numbers stay as they are written, 0 or 0.0: the hash is of their text.
        kept = {name: content[name] for name in content.keys() & _AS_WRITTEN}
        postprocessing = dataclasses.replace(read, **kept, groups=groups, abstention=abstention)
        _check(postprocessing)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not a calibration of this version of ich_tf ({error!r}). {remedy}"
        ) from error
    if postprocessing.model_sha256 != model_sha256:
        raise InputError(f"{path}: was fitted to other weights than those beside it. {remedy}")
    return postprocessing


@dataclasses.dataclass(frozen=True)
class _Fitted:
    """What is read of `Postprocessing.fitted_on`; the rest is shown as it is."""

    splits: tuple[str, ...] = ()
    num_patients: int = 0
    weakly_supervised: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Before:
    """What a model brought along, where a site's calibration followed."""

    thresholds: Thresholds = dataclasses.field(default_factory=dict)
    prevalence: float = 0.5
    fitted_on: _Fitted = _Fitted()


@dataclasses.dataclass(frozen=True)
class _FittedOn(_Fitted):
    before: _Before = _Before()


def _check(read: Postprocessing) -> None:
    """Checks what was read from JSON.

    Raises:
      AttributeError, TypeError, ValueError: If a value is of another type or out of range.
    """
    shares = [group.share for group in read.groups]
    if min(shares, default=0) <= 0 or abs(sum(shares) - 1) > _TOLERANCE:
        raise ValueError("shares that are not above 0, or whose sum is not 1")
    if not (read.smoothing_mm >= 0 and 0 < read.prevalence < 1):
        raise ValueError("a smoothing or prevalence out of range")
    masks = read.mask_thresholds
    if len(masks) not in (0, len(CLASSES)) or not all(0 < value < 1 for value in masks):
        raise ValueError("thresholds of masks that are not one of each class, in (0, 1)")
    if len(read.volume_errors) not in (0, len(CLASSES)):
        raise ValueError("errors of volumes that are not one of each class")
    if not read.fitted_on:
        raise ValueError("no word on what it was fitted on")
    fitted_on = read_fields(_FittedOn, read.fitted_on, "fitted_on")
    if read.site is not None and not {"num_patients", "before"} <= read.fitted_on.keys():
        raise ValueError("a site's calibration that does not say what was before")
    before = read.fitted_on.get("before", {})
    if not before.keys() <= {field.name for field in dataclasses.fields(_Before)} or (
        "before" in before.get("fitted_on", {})
    ):
        raise ValueError("more before a site's calibration than a model's")
    for thresholds in (read.thresholds, fitted_on.before.thresholds):
        _check_thresholds(thresholds)


def _check_thresholds(thresholds: Thresholds) -> None:
    if not thresholds.keys() <= LEVELS.keys():
        raise ValueError(f"thresholds of other levels than {', '.join(LEVELS)}")
    for by_rule in thresholds.values():
        if not by_rule.keys() <= POINTS.keys():
            raise ValueError(f"thresholds by other rules than {', '.join(POINTS)}")
        for by_class in by_rule.values():
            if not by_class.keys() <= set(CLASSES):
                raise ValueError("thresholds of other classes")
            if not all(value is None or 0 <= value <= 1 for value in by_class.values()):
                raise ValueError("thresholds that are no probabilities")
