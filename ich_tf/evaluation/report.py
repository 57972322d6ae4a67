"""An evaluation as one HTML page: curves, reliability, tables, and the worst slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ich_tf import metrics
from ich_tf.evaluation.exams import exam_lines
from ich_tf.evaluation.heat_map_scores import Picture
from ich_tf.evaluation.judging_section import judging_section
from ich_tf.evaluation.masks.evaluate_masks import MaskResults
from ich_tf.evaluation.masks.mask_section import mask_section, percent
from ich_tf.evaluation.result import Evaluation
from ich_tf.evaluation.scores import ClassScores
from ich_tf.inference.explainer import overlay
from ich_tf.inference.postprocessing.aggregation import LEVELS, SERIES_MODEL, SLICE, Scored
from ich_tf.inference.postprocessing.postprocessing import DEFAULT_POINT
from ich_tf.labels import ANY, CLASSES
from ich_tf.labels.classes import POSITIVE_SHARE
from ich_tf.runtime import html
from ich_tf.runtime.files import write_text

_PICTURE_PX = 112
_HISTOGRAM_BINS = 20
_RELIABILITY_BINS = 10
_RULES = {
    "youden": "Youden",
    "sensitivity_95": "sensitivity 0.95",
    "specificity_95": "specificity 0.95",
}
# `any` first: most readers look for it first.
_ORDER = (CLASSES[ANY], *CLASSES[:ANY])


def write_report(
    path: Path,
    evaluation: Evaluation,
    scored: dict[str, Scored],
    before: Scored,
    pictures: Sequence[Picture],
    masks: MaskResults | None = None,
) -> None:
    """Writes the report as one HTML file.

    Args:
      path: File to write.
      evaluation: Scores.
      scored: Level -> labels and probabilities, as `aggregation.at_levels` returns them.
      before: Labels and probabilities of the main level without any postprocessing.
      pictures: Slices to show, with heat maps.
      masks: Scores of the masks of each series, and series to show; None without masks.
    """
    content = _content(evaluation, scored, before, pictures)
    content["masks"] = None
    if masks is not None:
        content["masks"] = mask_section(evaluation.masks, masks.scored, masks.pictures)
        content["headline"] += content["masks"]["headline"][:1]
    write_text(path, html.render("ich_tf.evaluation", "evaluation.html", content))


def _content(
    evaluation: Evaluation,
    scored: dict[str, Scored],
    before: Scored,
    pictures: Sequence[Picture],
) -> dict[str, Any]:
    main = evaluation.level
    slices = evaluation.levels[main]
    bleed = slices.classes[CLASSES[ANY]]
    point = bleed.points.get(DEFAULT_POINT)
    headline = [
        ("weighted log loss", slices.weighted_log_loss.text(4)),
        ("constant predictor", f"{evaluation.constant_loss:.4f}"),
        ("of the constant's", f"{evaluation.loss / evaluation.constant_loss:.2f}"),
        ("AUC, any", bleed.roc_auc.text()),
        ("sensitivity, any (Youden)", point.sensitivity.text() if point else "undefined"),
        ("specificity, any (Youden)", point.specificity.text() if point else "undefined"),
        ("calibration error, any", bleed.calibration_error.text()),
        ("without calibration", evaluation.calibration_error_before[CLASSES[ANY]].text()),
    ]
    return {
        "evaluation": evaluation,
        "classes": _ORDER,
        "headline": headline,
        "losses": _loss_bars(slices.classes),
        "curves": [
            _curves(level, scored[level])
            for level in (SLICE, SERIES_MODEL, "series_max")
            if level in scored
        ],
        "colours": [{"name": name, "colour": _colour(name)} for name in _ORDER],
        "reliability": [_reliability(scored[main], before, name) for name in _ORDER],
        "histograms": [_histogram(scored[main], name) for name in _ORDER],
        "noun": evaluation.noun,
        "exams": exam_lines(evaluation.exams, evaluation.noun) if evaluation.exams else [],
        "levels": [(scores, LEVELS[scores.level]) for scores in evaluation.levels.values()],
        "points": [
            _points(level, evaluation)
            for level in evaluation.levels
            if not level.endswith("noisy_or")
        ],
        "families": _families(evaluation),
        "localization": _localization(evaluation),
        "pictures": [_picture_rows(name, pictures) for name in _ORDER],
        "judging": judging_section(evaluation),
        "percent": percent,
    }


def _colour(name: str) -> str:
    return f"c{CLASSES.index(name)}"


def _loss_bars(classes: dict[str, ClassScores]) -> dict[str, Any]:
    """Places of bars with whiskers, a row for each class, and of the constant predictor's ticks."""
    highest = max(
        max(scores.log_loss.high or scores.log_loss.value or 0, scores.constant_log_loss or 0)
        for scores in classes.values()
    )
    left, width, row = 120.0, 560.0, 30.0

    def at(value: float | None) -> float | None:
        return None if value is None else round(left + width * value / (1.05 * highest), 1)

    rows = []
    for number, name in enumerate(_ORDER):
        scores = classes[name]
        rows.append(
            {
                "name": name,
                "y": number * row + 4,
                "end": at(scores.log_loss.value),
                "low": at(scores.log_loss.low),
                "high": at(scores.log_loss.high),
                "constant": at(scores.constant_log_loss),
                "text": scores.log_loss.text(),
            }
        )
    return {"rows": rows, "left": left, "height": row * len(rows) + 8}


def _curves(level: str, scored: Scored) -> dict[str, Any]:
    roc, precision_recall = [], []
    for name in _ORDER:
        i = CLASSES.index(name)
        share, prob = _known(scored, i)
        if not len(share):
            continue
        truth = metrics.hard_labels(share)
        line = {"name": name, "colour": _colour(name)}
        fpr, tpr, _ = metrics.roc_curve(truth, prob)
        roc.append({**line, "x": fpr, "y": tpr})
        precision, recall, _ = metrics.precision_recall_curve(truth, prob)
        precision_recall.append({**line, "x": recall, "y": precision})
    return {
        "title": LEVELS[level],
        "roc": html.square_chart(roc, "1 - specificity", "sensitivity", diagonal=True),
        "precision_recall": html.square_chart(
            precision_recall, "recall (sensitivity)", "precision"
        ),
    }


def _known(scored: Scored, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of the examples of which a class is known, [k] each."""
    known = ~np.isnan(scored.labels[:, column])
    return scored.labels[known, column], scored.probabilities[known, column]


def _reliability(scored: Scored, before: Scored, name: str) -> dict[str, Any]:
    lines = []
    for title, colour, examples in (
        ("without", "warm", before),
        ("calibrated", "accent", scored),
    ):
        truth, prob = _known(examples, CLASSES.index(name))
        if not len(truth):
            continue
        mean, share, _ = metrics.reliability_curve(
            truth, prob, num_bins=_RELIABILITY_BINS, soft=True
        )
        lines.append({"name": title, "colour": colour, "x": mean, "y": share, "dots": True})
    return {
        "name": name,
        "chart": html.square_chart(lines, "mean probability", "share of positives", diagonal=True),
    }


def _histogram(scored: Scored, name: str) -> dict[str, Any]:
    """Two column charts, each with a scale of its own: slices with the class, and without it."""
    i = CLASSES.index(name)
    labels = metrics.hard_labels(scored.labels[:, i])
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1)
    names = [f"{low:.2f} to {low + 1 / _HISTOGRAM_BINS:.2f}" for low in edges[:-1]]
    # The last one is moved inside the chart's edge, where there is room for it.
    marks = {0.0: "0", _HISTOGRAM_BINS / 2: "0.5", _HISTOGRAM_BINS - 0.3: "1"}
    charts = []
    for truth in (0, 1):
        chosen = scored.probabilities[labels == truth, i]
        counts = np.histogram(chosen, edges)[0].tolist()
        charts.append(html.column_chart(counts, names, marks, log=True))
    return {"name": name, "without": charts[0], "with": charts[1]}


def _points(level: str, evaluation: Evaluation) -> dict[str, Any]:
    rows = []
    for name in _ORDER:
        scores = evaluation.levels[level].classes[name]
        rows += [
            (name, text, scores, scores.points[rule])
            for rule, text in _RULES.items()
            if rule in scores.points
        ]
    return {"title": LEVELS[level], "rows": rows}


def _families(evaluation: Evaluation) -> list[dict[str, Any]]:
    families: dict[str, list[Any]] = {}
    for subgroup in evaluation.subgroups:
        families.setdefault(subgroup.family, []).append(subgroup)
    return [{"name": name, "groups": groups} for name, groups in families.items()]


def _localization(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A row for each class, the methods side by side."""
    methods = list(dict.fromkeys(result.method for result in evaluation.localization))
    rows = []
    for name in _ORDER:
        results = {
            result.method: result for result in evaluation.localization if result.name == name
        }
        if results:
            rows.append({"name": name, "methods": [results[method] for method in methods]})
    return rows


def _picture_rows(name: str, pictures: Sequence[Picture]) -> dict[str, Any]:
    kinds: dict[str, list[dict[str, Any]]] = {"missed": [], "false alarm": []}
    i = CLASSES.index(name)
    for picture in pictures:
        if picture.name != name:
            continue
        grey = cv2.resize(picture.grey, (_PICTURE_PX, _PICTURE_PX), interpolation=cv2.INTER_AREA)
        heat = cv2.resize(picture.heat, (_PICTURE_PX, _PICTURE_PX), interpolation=cv2.INTER_AREA)
        labels = [
            subtype
            for j, subtype in enumerate(CLASSES[:ANY])
            if picture.labels[j] >= POSITIVE_SHARE
        ]
        kinds[picture.kind].append(
            {
                "id": picture.source_id,
                "probability": f"{picture.probabilities[i]:.3f}",
                "labels": _labels_text(labels, picture),
                "caption": picture.caption,
                "plain": html.png_base64(grey),
                "heat": html.png_base64(overlay(grey, heat)),
            }
        )
    return {"name": name, "kinds": kinds}


def _labels_text(subtypes: Sequence[str], picture: Picture) -> str:
    """Labels of a picture's slice; of its exam where the slice has none of its own."""
    text = ", ".join(subtypes) or "no bleed"
    if not picture.of_exam:
        return text
    return (
        f"exam with {', '.join(subtypes) or 'a bleed'}"
        if picture.kind == "missed"
        else (f"exam without {picture.name}")
    )
