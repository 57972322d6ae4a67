"""A comparison as one HTML page: differences with their intervals, and tables of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ich_tf.comparison.differences import Difference
from ich_tf.comparison.measures import MEASURES, Measure
from ich_tf.comparison.result import Comparison
from ich_tf.runtime import html
from ich_tf.runtime.files import write_text

# Width of a bar of the charts and the half of it, px, with a margin at both ends.
_WIDTH, _EDGE = 260.0, 6.0


def write_page(path: Path, comparison: Comparison) -> None:
    """Writes the page."""
    groups: dict[Measure, list[Difference]] = {}
    for each in comparison.differences:
        groups.setdefault(Measure(each.metric, each.class_name), []).append(each)
    content = {
        "comparison": comparison,
        "others": [each.name for each in comparison.models if each.name != comparison.reference],
        "classes": list(comparison.positives),
        "measures": [
            {
                "title": measure.title,
                "more_is_better": MEASURES[measure.metric],
                "rows": _rows(differences, more_is_better=MEASURES[measure.metric]),
            }
            for measure, differences in groups.items()
        ],
        "has_margin": any(each.margin is not None for each in comparison.differences),
    }
    write_text(path, html.render("ich_tf.comparison", "comparison.html", content))


def _rows(differences: Sequence[Difference], *, more_is_better: bool) -> list[dict[str, Any]]:
    """Rows of one metric's table, whose charts have one axis: the reference in the middle."""
    reach = max(
        abs(value)
        for each in differences
        for value in (each.low, each.high, each.difference, each.margin, 1e-9)
        if value is not None
    )
    sign = 1 if more_is_better else -1

    def place(value: float | None) -> float | None:
        if value is None:
            return None
        return round(_WIDTH / 2 + sign * value / reach * (_WIDTH / 2 - _EDGE), 1)

    return [
        {
            "difference": each,
            "at": place(each.difference),
            "ends": sorted((place(each.low) or 0.0, place(each.high) or 0.0))
            if each.low is not None and each.high is not None
            else None,
            # The margin is a loss: it lies on the reference's worse side.
            "margin": None if each.margin is None else place(-sign * each.margin),
        }
        for each in differences
    ]
