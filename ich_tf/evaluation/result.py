"""The scores of one split by level, class and subgroup."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ich_tf.evaluation.abstention_scores import AbstentionScores
from ich_tf.evaluation.agreement import Agreement
from ich_tf.evaluation.decision_curves import DecisionCurve
from ich_tf.evaluation.exams import describe_exams, exam_lines, label_column
from ich_tf.evaluation.group_scores import GroupScores
from ich_tf.evaluation.localization import Localization
from ich_tf.evaluation.main_level import NOUNS, before_postprocessing, main_level
from ich_tf.evaluation.masks.mask_evaluation import MaskClassScores
from ich_tf.evaluation.scores import IntervalEstimate, LevelScores, score_level
from ich_tf.evaluation.subgroups import Subgroup, score_subgroups
from ich_tf.inference.forward import SlicePredictions
from ich_tf.inference.postprocessing.abstention import AbstentionTarget
from ich_tf.inference.postprocessing.aggregation import SLICE, Scored
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT, Postprocessing
from ich_tf.inference.postprocessing.prevalence import shift_prevalence
from ich_tf.labels import ANY, CLASSES
from ich_tf.metrics import known_shares
from ich_tf.runtime.csv_cells import text_cell

# Attributes that metrics.json lacks where there is nothing to tell.
_OPTIONAL = ("groups", "abstention", "abstention_target", "agreement", "exams")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of one split, as metrics.json holds them.

    Attributes:
      split: Name of the split.
      num_slices, num_series, num_patients: Numbers of slices, series and patients in the split.
      loss: Weighted multi-label log loss of the slices; of the exams where no slice is labelled,
        which are then what this and the following scores are of (`level`).
      constant_loss: Loss of a predictor that gives every slice the model's training prior, and
        every exam the evaluated ones' share of positives.
      class_losses: Class -> log loss of the slices; None where nothing is known of the class.
      constant_class_losses: Class -> log loss of the training prior, or of the exams' shares.
      positives: Class -> number of slices that show it.
      model: Description of the model: `work_dir`, `sha256`, `postprocessing`, `seen`, the text of
        `leakage.seen_before`, `started_from`, what its weights
        come from, `precision` of its arithmetic, and `supervision` where no label of a slice taught
        it (`Predictor.supervision`).
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
      agreement: How uncertain decisions of exams are, and how wrong; None without operating points.
      exams: What is known of the exams (`exams.describe_exams`); empty where all slices are
        labelled.
    """

    split: str
    num_slices: int
    num_series: int
    num_patients: int
    loss: float
    constant_loss: float
    class_losses: dict[str, float | None]
    constant_class_losses: dict[str, float | None]
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
    agreement: Agreement | None = None
    exams: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def level(self) -> str:
        """The level that the main scores are of (`main_level.main_level`)."""
        return main_level(self.levels)

    @property
    def noun(self) -> str:
        """What the examples of that level are called."""
        return NOUNS[self.level]

    def content(self) -> dict[str, Any]:
        """The content of metrics.json."""
        content = dataclasses.asdict(self)
        return {name: value for name, value in content.items() if value or name not in _OPTIONAL}

    def report(self) -> str:
        """Writes the main scores as a table of text."""
        slices = self.levels[self.level]
        lines = [
            f"{self.split}: {self.num_slices} slices, {self.num_series} series, "
            f"{self.num_patients} patients ({self.model['seen']}); {self.model['postprocessing']}",
            f"{'':<18}{'positive':>9}{'log loss':>10}{'constant':>10}   AUC [95 % interval]",
        ]
        lines += [
            f"{name:<18}{self.positives[name]:>9}{_number(self.class_losses[name]):>10}"
            f"{_number(self.constant_class_losses[name]):>10}   "
            f"{slices.classes[name].roc_auc.text()}"
            for name in CLASSES
        ]
        if self.exams:
            lines[1:1] = exam_lines(self.exams, self.noun)
        if "supervision" in self.model:
            lines.insert(1, f"weakly supervised: {self.model['supervision']}")
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
        shares = known_shares(scored.labels)
        scores[level] = score_level(
            level,
            scored,
            # The training data's share of series and patients is not known. A constant predictor
            # that knows the evaluated ones' share is the harder one to beat.
            constant=_constant(prior, shares) if level == SLICE else shares,
            thresholds=postprocessing.thresholds.get(level, {}),
            prevalence=_shifted(shares, prevalence),
            num_resamples=num_resamples,
        )
    level = main_level(levels)
    slices, before = scores[level], _score_logits(predictions, level, prior, num_resamples)
    return Evaluation(
        split=split,
        num_slices=len(predictions),
        num_series=len(set(predictions.series_key)),
        num_patients=len(set(predictions.patient_key)),
        loss=_value(slices.weighted_log_loss),
        constant_loss=slices.constant_loss,
        class_losses={name: scored.log_loss.value for name, scored in slices.classes.items()},
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
            levels[level],
            level,
            postprocessing.threshold(level, CLASSES[ANY], DEFAULT_POINT),
            num_resamples,
            areas_mm2,
        ),
        localization=[],
        exams=describe_exams(predictions),
    )


def _score_logits(
    predictions: SlicePredictions, level: str, prior: np.ndarray, num_resamples: int
) -> LevelScores:
    """Scores of the main level without any postprocessing."""
    before = before_postprocessing(predictions, level)
    shares = known_shares(before.labels)
    return score_level(
        level,
        before,
        constant=_constant(prior, shares),
        thresholds={},
        prevalence=shares,
        num_resamples=num_resamples,
    )


def _constant(prior: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The training prior, float [6]; the evaluated share of a class where that is not known."""
    return np.asarray(np.where(np.isnan(prior), shares, prior))


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def predictions_table(predictions: SlicePredictions, probabilities: np.ndarray) -> pd.DataFrame:
    """Makes a table with a row for each slice.

    Columns are ids, labels (`label_any`, ...), empty where unknown, probabilities (`any`, ...) and
    the network's own logits (`logit_any`, ...), before any postprocessing.

    Args:
      predictions: Predictions for n slices.
      probabilities: Probabilities of the slices, [n, 6].
    """
    columns: dict[str, Any] = {
        "source_id": [text_cell(source_id) for source_id in predictions.source_id],
        "patient_key": predictions.patient_key,
        "series_key": predictions.series_key,
        "slice_index": predictions.slice_index,
        "z_mm": predictions.z_mm,
    }
    for i, name in enumerate(CLASSES):
        columns[f"label_{name}"] = label_column(predictions.labels[:, i])
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
