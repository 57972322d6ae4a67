"""The scores of one split by level, class and subgroup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ich_tf.evaluation.abstention_scores import AbstentionScores
from ich_tf.evaluation.decision_curves import DecisionCurve
from ich_tf.evaluation.group_scores import GroupScores
from ich_tf.evaluation.localization import Localization
from ich_tf.evaluation.masks.mask_evaluation import MaskClassScores
from ich_tf.evaluation.scores import IntervalEstimate, LevelScores, score_level
from ich_tf.evaluation.subgroups import Subgroup, score_subgroups
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.abstention import AbstentionTarget
from ich_tf.inference.postprocessing.aggregation import SLICE, Scored
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, Postprocessing
from ich_tf.inference.postprocessing.prevalence import shift_prevalence
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import sigmoid


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of one split, as metrics.json holds them.

    Attributes:
      split: Name of the split.
      num_slices, num_series, num_patients: Numbers of slices, series and patients in the split.
      loss: Weighted multi-label log loss of the slices.
      constant_loss: Loss of a predictor that gives every slice the model's training prior.
      class_losses: Class -> log loss of the slices.
      constant_class_losses: Class -> log loss of the training prior.
      positives: Class -> number of slices that show it.
      model: Description of the model: `work_dir`, `sha256`, `postprocessing`, `seen`, the text of
        `leakage.seen_before`, `started_from`, what its weights
        come from, and `precision` of its arithmetic.
      loss_before: Loss of the network's own logits, without smoothing and calibration.
      calibration_error_before: Class -> expected calibration error of the same.
      levels: Level -> scores.
      subgroups: Scores of groups of slices.
      localization: Scores of heat maps; empty without masks.
      masks: Class -> scores of the model's masks; empty if it gives none, or the records hold none.
      decision_curves: Net benefit of acting on the exams' probabilities, by class.
      groups: Scores of the groups of --groups_csv; empty without it.
      abstention: Decisions with abstention, by level and class; empty without it.
      abstention_target: What abstention promises; None without it.
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
    loss_before: IntervalEstimate
    calibration_error_before: dict[str, IntervalEstimate]
    levels: dict[str, LevelScores]
    subgroups: list[Subgroup]
    localization: list[Localization]
    masks: dict[str, MaskClassScores] = dataclasses.field(default_factory=dict)
    decision_curves: list[DecisionCurve] = dataclasses.field(default_factory=list)
    groups: list[GroupScores] = dataclasses.field(default_factory=list)
    abstention: list[AbstentionScores] = dataclasses.field(default_factory=list)
    abstention_target: AbstentionTarget | None = None

    def report(self) -> str:
        """Writes the main scores as a table of text."""
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
            f"heat maps of {result.name}, {result.method}: pointing {result.pointing:.2f}, IoU "
            f"{result.iou:.2f}, {result.num_slices} slices"
            for result in self.localization
            if result.name == CLASSES[ANY]
        ]
        lines += [f"masks of {name}: {masks.text()}" for name, masks in self.masks.items()]
        return "\n".join(lines)


def score(
    split: str,
    predictions: SlicePredictions,
    levels: Mapping[str, Scored],
    postprocessing: Postprocessing,
    *,
    prior: np.ndarray,
    model: Mapping[str, str],
    prevalence: float = 0.0,
    num_resamples: int = 0,
    areas_mm2: Mapping[str, float] | None = None,
) -> Evaluation:
    """Scores a split's predictions.

    Args:
      split: Name of the split.
      predictions: Predictions for all labelled records of the split.
      levels: Level -> labels and probabilities, as `aggregation.at_levels` returns them.
      postprocessing: Postprocessing that made the probabilities, for its thresholds.
      prior: Share of positives of each class in the training data, float [6].
      model: Description of the model, for the result.
      prevalence: Share of slices, series or patients with a bleed that predictive values are
        computed for, in [0, 1); 0 for the share in the split.
      num_resamples: Number of bootstrap resamples; 0 leaves the intervals undefined.
      areas_mm2: Image id -> area of the slice's bleeds, mm2; None without masks.
    """
    scores = {}
    for level, scored in levels.items():
        shares = scored.labels.mean(axis=0)
        scores[level] = score_level(
            level,
            scored,
            # The training data's share of series and patients is not known. A constant predictor
            # that knows the evaluated ones' share is the harder one to beat.
            constant=prior if level == SLICE else shares,
            thresholds=postprocessing.thresholds.get(level, {}),
            prevalence=_shifted(shares, prevalence),
            num_resamples=num_resamples,
        )
    slices, before = scores[SLICE], _score_logits(predictions, prior, num_resamples)
    return Evaluation(
        split=split,
        num_slices=len(predictions),
        num_series=len(set(predictions.series_key)),
        num_patients=len(set(predictions.patient_key)),
        loss=_value(slices.weighted_log_loss),
        constant_loss=slices.constant_loss,
        class_losses={name: _value(scored.log_loss) for name, scored in slices.classes.items()},
        constant_class_losses={
            name: scored.constant_log_loss for name, scored in slices.classes.items()
        },
        positives={name: scored.positives for name, scored in slices.classes.items()},
        model=dict(model),
        loss_before=before.weighted_log_loss,
        calibration_error_before={
            name: scored.calibration_error for name, scored in before.classes.items()
        },
        levels=scores,
        subgroups=score_subgroups(
            predictions,
            levels[SLICE].probabilities,
            postprocessing.threshold(SLICE, CLASSES[ANY], DEFAULT_POINT),
            num_resamples,
            areas_mm2,
        ),
        localization=[],
    )


def _score_logits(
    predictions: SlicePredictions, prior: np.ndarray, num_resamples: int
) -> LevelScores:
    """Scores of the slices without any postprocessing."""
    patients = np.asarray(predictions.patient_key)
    return score_level(
        SLICE,
        Scored(predictions.labels, sigmoid(predictions.logits), patients),
        constant=prior,
        thresholds={},
        prevalence=predictions.labels.mean(axis=0),
        num_resamples=num_resamples,
    )


def predictions_table(predictions: SlicePredictions, probabilities: np.ndarray) -> pd.DataFrame:
    """Makes a table with a row for each slice.

    Columns are ids, labels (`label_any`, ...), probabilities (`any`, ...) and the network's own
    logits (`logit_any`, ...), before any postprocessing.

    Args:
      predictions: Predictions for n slices.
      probabilities: Probabilities of the slices, [n, 6].
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


def _shifted(shares: np.ndarray, prevalence: float) -> np.ndarray:
    """Shares of the classes, float [6], moved to another prevalence of any bleed; 0 moves none."""
    if not prevalence or not 0 < shares[ANY] < 1:
        return shares
    return np.asarray(shift_prevalence(shares[None], float(shares[ANY]), prevalence)[0])


def _value(loss: IntervalEstimate) -> float:
    assert loss.value is not None, "a loss is always defined"
    return loss.value
