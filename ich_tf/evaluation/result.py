"""The scores of one split: by level, class and subgroup, exact and with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ich_tf.evaluation.localization import Localization
from ich_tf.evaluation.scores import Estimate, LevelScores, score_level
from ich_tf.evaluation.subgroups import Subgroup, score_subgroups
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.aggregation import SLICE, Scored
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, Postprocessing
from ich_tf.inference.postprocessing.prevalence import shift_prevalence
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of one split, as metrics.json holds them.

    Attributes:
      split: Its name.
      num_slices, num_series, num_patients: In it.
      loss: Weighted multi-label log loss, of slices.
      constant_loss: Of a predictor that says the model's training prior for every slice.
      class_losses, constant_class_losses: Class -> log loss, likewise.
      positives: Class -> slices that show it.
      model: What was evaluated: `work_dir`, `sha256`, `postprocessing`, and `seen`,
        what `provenance.seen_before` says of the patients.
      loss_before: The loss of the logits as they are, without smoothing and calibration.
      calibration_error_before: Class -> ECE of these.
      levels: Level -> scores.
      subgroups: Scores of slices by what is known of them.
      localization: Of heat maps, where masks are known.
    """

    split: str
    num_slices: int
    num_series: int
    num_patients: int
    loss: float
    constant_loss: float
    class_losses: dict[str, float]
    constant_class_losses: dict[str, float]
    positives: dict[str, int]
    model: dict[str, str]
    loss_before: Estimate
    calibration_error_before: dict[str, Estimate]
    levels: dict[str, LevelScores]
    subgroups: list[Subgroup]
    localization: list[Localization]

    def report(self) -> str:
        """A table for a person."""
        slices = self.levels[SLICE]
        lines = [
            f"{self.split}: {self.num_slices} slices, {self.num_series} series, "
            f"{self.num_patients} patients ({self.model['seen']}); {self.model['postprocessing']}",
            f"{'':<18}{'positive':>9}{'log loss':>10}{'constant':>10}   AUC [95 % interval]",
        ]
        lines += [
            f"{name:<18}{self.positives[name]:>9}{self.class_losses[name]:>10.4f}"
            f"{self.constant_class_losses[name]:>10.4f}   {slices.classes[name].roc_auc.text()}"
            for name in CLASSES
        ]
        lines += [
            f"{'weighted':<18}{'':>9}{self.loss:>10.4f}{self.constant_loss:>10.4f}",
            f"weighted log loss {slices.weighted_log_loss.text(4)}, "
            f"{self.loss / self.constant_loss:.2f} of the constant predictor's",
        ]
        lines += [
            f"heat maps of {one.name}, {one.method}: pointing {one.pointing:.2f}, IoU "
            f"{one.iou:.2f}, {one.num_slices} slices"
            for one in self.localization
            if one.name == CLASSES[ANY]
        ]
        return "\n".join(lines)


def score(
    split: str,
    predictions: SlicePredictions,
    levels: Mapping[str, Scored],
    after: Postprocessing,
    *,
    prior: np.ndarray,
    model: Mapping[str, str],
    prevalence: float = 0.0,
    num_resamples: int = 0,
    areas_mm2: Mapping[str, float] | None = None,
) -> Evaluation:
    """The scores of a split's predictions.

    Args:
      split: Its name.
      predictions: Of all its records.
      levels: What became of their logits, as of `levels.at_levels`.
      after: What became of them by.
      prior: The training data's share of positives a class, float [6].
      model: For the result.
      prevalence: Of any bleed, that predictive values are for; 0 for the split's own.
      num_resamples: Of the bootstrap.
      areas_mm2: Slice -> area of its bleeds.
    """
    labels = predictions.labels
    patients = np.asarray(predictions.patient_key)
    scores = {}
    for level, scored in levels.items():
        own = scored.labels.mean(axis=0)
        scores[level] = score_level(
            level,
            scored,
            # Of series and patients the training data's share is not known; their own is harder.
            constant=prior if level == SLICE else own,
            thresholds=after.thresholds.get(level, {}),
            prevalence=_shifted(own, prevalence),
            num_resamples=num_resamples,
        )
    slices = scores[SLICE]
    before = score_level(
        SLICE,
        Scored(labels, sigmoid(predictions.logits), patients),
        constant=prior,
        thresholds={},
        prevalence=labels.mean(axis=0),
        num_resamples=num_resamples,
    )
    return Evaluation(
        split=split,
        num_slices=len(predictions),
        num_series=len(set(predictions.series_key)),
        num_patients=len(set(predictions.patient_key)),
        loss=_value(slices.weighted_log_loss),
        constant_loss=slices.constant_loss,
        class_losses={name: _value(one.log_loss) for name, one in slices.classes.items()},
        constant_class_losses={name: one.constant_log_loss for name, one in slices.classes.items()},
        positives={name: one.positives for name, one in slices.classes.items()},
        model=dict(model),
        loss_before=before.weighted_log_loss,
        calibration_error_before={
            name: one.calibration_error for name, one in before.classes.items()
        },
        levels=scores,
        subgroups=score_subgroups(
            predictions,
            levels[SLICE].probabilities,
            after.threshold(SLICE, CLASSES[ANY], DEFAULT_POINT),
            num_resamples,
            areas_mm2,
        ),
        localization=[],
    )


def predictions_table(predictions: SlicePredictions, probabilities: np.ndarray) -> pd.DataFrame:
    """One row a slice: ids, labels (`label_any`, ...), probabilities (`any`, ...), logits.

    `logit_any` and so on are the model's, before any postprocessing.
    """
    columns: dict[str, Any] = {
        "source_id": predictions.source_id,
        "patient_key": predictions.patient_key,
        "series_key": predictions.series_key,
        "slice_index": predictions.slice_index,
        "z_mm": predictions.z_mm,
    }
    for i, name in enumerate(CLASSES):
        columns[f"label_{name}"] = predictions.labels[:, i].astype(np.int64)
    for i, name in enumerate(CLASSES):
        columns[name] = probabilities[:, i]
    for i, name in enumerate(CLASSES):
        columns[f"logit_{name}"] = predictions.logits[:, i]
    return pd.DataFrame(columns)


def _shifted(own: np.ndarray, prevalence: float) -> np.ndarray:
    """The classes' prevalences where any bleed has another one than here."""
    if not prevalence or not 0 < own[ANY] < 1:
        return own
    return np.asarray(shift_prevalence(own[None], float(own[ANY]), prevalence)[0])


def _value(one: Estimate) -> float:
    assert one.value is not None, "a loss is always defined"
    return one.value
