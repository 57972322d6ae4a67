"""Leakage into a run: whether what it starts from was trained on its validation patients."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ich_tf.errors import InputError
from ich_tf.models.origins import Origin, data_of, origin_of_run, origin_of_weights, patient_ids
from ich_tf.records.splits import TEST, fold_name
from ich_tf.training.config import TrainConfig

if TYPE_CHECKING:
    from ich_tf.training.task import Task

_LOG = logging.getLogger(__name__)


def origin_of(config: TrainConfig, task: Task) -> Origin:
    """Finds what a run starts from: initial weights, and networks whose features it reads."""
    return origin_of_run(
        data_of(task.data),
        int(config.validation_fold),
        task.patients,
        [
            origin_of_weights(config.weights),
            *(replace(network, gave_features=True) for network in task.networks),
        ],
        task.patient_keys,
    )


def check_ancestors(config: TrainConfig, task: Task, origin: Origin) -> None:
    """Checks that a run's validation patients are new to all that it starts from.

    Weights of unknown origin, and some that saw the test patients, are warned of: training does not
    read those, and an evaluation will say so again.

    Args:
      config: Config of the run.
      task: Its data.
      origin: Its origin, as from `origin_of`.

    Raises:
      InputError: If the weights were trained on validation patients.
    """
    refuse_seen(config, task.patients, origin.ancestors, origin.data_sha256)
    keys = task.patient_keys
    split = fold_name(int(config.validation_fold))
    start = "; ".join(origin.started_from())
    if not origin.inherited_exposure((), split, keys).is_known:
        _LOG.warning(
            "starts from %s; the validation patients may be among them, and no score of this run "
            "is known to be of new patients",
            start,
        )
    tested = patient_ids(task.patients.get(TEST, ()))
    seen = origin.inherited_exposure(tested, TEST).trained
    if seen:
        _LOG.warning(
            "starts from %s, among them %d of the %d test patients of %s: its scores on them will "
            "not hold for new patients",
            *(start, len(seen), len(tested), config.data_dir),
        )


def refuse_seen(
    config: TrainConfig,
    patients: Mapping[str, Iterable[str]],
    ancestors: Iterable[Origin],
    data_sha256: str = "",
) -> None:
    """Refuses weights that were trained on a run's validation patients.

    Best epoch, postprocessing and out-of-fold predictions rest on these patients: a run that starts
    from such weights would have no honest number, where a warning would be lost.

    Args:
      config: Config of the run.
      patients: Split -> stored keys of its patients.
      ancestors: What the run starts from.
      data_sha256: Hash of its slices; empty if no network whose features it reads is among the
        ancestors.

    Raises:
      InputError: If the weights were trained on some of them.
    """
    split = fold_name(int(config.validation_fold))
    validated = patient_ids(patients.get(split, ()))
    origin = origin_of_run(data_sha256, int(config.validation_fold), {}, ancestors)
    exposure = origin.inherited_exposure(validated, split)
    if exposure.trained:
        reads_features = any(ancestor.gave_features for ancestor in origin.ancestors)
        given = f"--data_dir={config.data_dir}" if reads_features else f"--weights={config.weights}"
        raise InputError(
            f"{given}: comes from {'; '.join(origin.started_from())}, among them "
            f"{len(exposure.trained)} of the {len(validated)} patients of {split}, on whom this "
            "run would be validated: its best epoch, calibration and scores would be those of "
            "patients that it has seen. Give weights that were not trained on them, such as those "
            "of a run with the same --validation_fold on these data, or another --validation_fold."
        )
