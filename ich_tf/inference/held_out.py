"""Held-out patients of a run: whether its validation fold is new to all that its weights saw."""

from __future__ import annotations

import logging

from ich_tf.errors import InputError
from ich_tf.inference.ensemble import Member
from ich_tf.models.origins import patient_ids
from ich_tf.records.manifest import Manifest
from ich_tf.records.splits import fold_name

_LOG = logging.getLogger(__name__)


def check_held_out(member: Member, manifest: Manifest) -> None:
    """Checks that the patients whom a run was validated on are new to its weights' ancestors.

    Logs a warning where that is not known.

    Args:
      member: Model of the run.
      manifest: Manifest of the data that it was trained on.

    Raises:
      InputError: If weights that the run started from were trained on them.
    """
    split = fold_name(member.validation_fold())
    patients = patient_ids(manifest.patients.get(split, ()))
    origin = member.origin()
    exposure = origin.inherited_exposure(patients, split, manifest.patient_keys)
    start = "; ".join(origin.started_from())
    if exposure.trained:
        raise InputError(
            f"{member.work_dir}: started from {start}, among them {len(exposure.trained)} of the "
            f"{len(patients)} patients of {split}, whom it was validated on. What is fitted to its "
            "predictions of them does not hold for new patients. Train it again from other weights."
        )
    if not exposure.is_known:
        _LOG.warning(
            "%s: started from %s; the patients of %s may be among them",
            *(member.work_dir, start, split),
        )
