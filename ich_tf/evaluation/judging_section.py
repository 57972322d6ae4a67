"""Sections of the report on what a model is worth: decision curves, uncertainty, groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from ich_tf.evaluation.agreement import Agreement
from ich_tf.evaluation.decision_curves import DecisionCurve
from ich_tf.evaluation.group_scores import GroupScores
from ich_tf.evaluation.result import Evaluation
from ich_tf.inference.postprocessing.aggregation import LEVELS
from ich_tf.labels import ANY, CLASSES
from ich_tf.runtime.curve_chart import curve_chart
from ich_tf.runtime.scatter_chart import ChartAxis

_ORDER = (CLASSES[ANY], *CLASSES[:ANY])


def judging_section(evaluation: Evaluation) -> dict[str, Any]:
    """Content of the macro `judging` of judging.html."""
    curves = sorted(evaluation.decision_curves, key=lambda curve: _ORDER.index(curve.name))
    return {
        "level": LEVELS[curves[0].level] if curves else "",
        "curves": [{"curve": curve, "chart": _decision_chart(curve)} for curve in curves],
        "groups": _group_tables(evaluation.groups),
        "abstention": _abstention(evaluation),
        "agreement": evaluation.agreement,
        "levels": LEVELS,
        "risk_chart": None if evaluation.agreement is None else _risk_chart(evaluation.agreement),
    }


def _decision_chart(curve: DecisionCurve) -> dict[str, Any]:
    """The model beside acting on all and on nobody, up to the share of positives."""
    highest = max(curve.positives / curve.number, 0.01)
    style = {"x": curve.thresholds, "name": curve.name}
    model = {
        **style,
        "y": _numbers(curve.net_benefit),
        "low": _numbers(curve.low),
        "high": _numbers(curve.high),
        "colour": "accent",
        "name": "the model",
    }
    of_all = {**style, "y": curve.of_all, "colour": "warm", "name": "all"}
    nobody = {
        **style,
        "y": [0.0] * len(curve.thresholds),
        "colour": "quiet",
        "name": "nobody",
        "dashed": True,
    }
    return curve_chart(
        [of_all, nobody, model],
        ChartAxis("probability from which one acts", 0, 1),
        # Acting on all falls without end; what is worse than this is no choice.
        ChartAxis("net benefit", -0.15 * highest, 1.05 * highest),
    )


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _risk_chart(agreement: Agreement) -> dict[str, Any]:
    """Wrong decisions among the exams that are kept, by each uncertainty and without one."""
    overall = agreement.errors / agreement.number
    lines: list[dict[str, Any]] = [
        {
            "name": "no uncertainty",
            "colour": "quiet",
            "dashed": True,
            "x": [0.0, 1.0],
            "y": [overall, overall],
        }
    ]
    lines += [
        {
            "name": curve.uncertainty,
            "colour": colour,
            "x": [0.0, *curve.coverage],
            "y": [curve.risk[0], *curve.risk],
        }
        for curve, colour in zip(agreement.curves, ("warm", "accent"), strict=False)
    ]
    highest = max([0.01, *(max(line["y"]) for line in lines)])
    return curve_chart(
        lines,
        ChartAxis("share of the exams that are kept", 0, 1),
        ChartAxis("share of wrong decisions", 0, 1.05 * highest),
    )


def _abstention(evaluation: Evaluation) -> dict[str, Any] | None:
    """Promise and counts of abstention, a table for each level; None without it."""
    if evaluation.abstention_target is None:
        return None
    levels = dict.fromkeys(scores.level for scores in evaluation.abstention)
    rows = sorted(evaluation.abstention, key=lambda scores: _ORDER.index(scores.name))
    return {
        "promise": evaluation.abstention_target.describe(),
        "tables": [
            {"title": LEVELS[level], "rows": [scores for scores in rows if scores.level == level]}
            for level in levels
        ],
    }


def _group_tables(groups: list[GroupScores]) -> list[dict[str, Any]]:
    """A table for each level, with the groups of each column together."""
    tables: dict[str, dict[str, list[GroupScores]]] = {}
    for group in groups:
        tables.setdefault(group.level, {}).setdefault(group.column, []).append(group)
    return [
        {
            "title": LEVELS[level],
            "columns": [{"name": name, "groups": rows} for name, rows in columns.items()],
        }
        for level, columns in tables.items()
    ]
