"""Coordinates of curves with bands on two axes, for the macro `curves` of charts.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ich_tf.runtime.scatter_chart import ChartAxis

# Left and top edge, width and height of the area of `curves` in charts.html, px.
_LEFT, _TOP, _WIDTH, _HEIGHT = 52.0, 8.0, 370.0, 220.0


def curve_chart(
    lines: Sequence[Mapping[str, Any]], x_axis: ChartAxis, y_axis: ChartAxis
) -> dict[str, Any]:
    """Coordinates of curves; what lies beyond the vertical axis is not drawn.

    Args:
      lines: Curves, each with `name`, `colour` (a colour variable of page.html), `x` and `y`
        (sequences of values, NaN where there is none), and optionally `low` and `high`, the ends of
        a band around it, and `dashed`.
      x_axis: Horizontal axis, which holds all of `x`.
      y_axis: Vertical axis.

    Returns:
      The values that the macro reads: `lines`, `bands`, `x_marks`, `y_marks`, `x_name`, `y_name`.

    Examples:
      >>> axes = ChartAxis("threshold", 0, 1), ChartAxis("benefit", 0, 1)
      >>> line = {"name": "a", "colour": "c0", "x": [0, 1], "y": [0.5, 1]}
      >>> curve_chart([line], *axes)["lines"][0]["pieces"]
      ['52.0,118.0 422.0,8.0']
    """

    def place(x: float, y: float) -> str:
        left, top = _LEFT + x_axis.part(x) * _WIDTH, _TOP + (1 - y_axis.part(y)) * _HEIGHT
        return f"{left:.1f},{top:.1f}"

    drawn, bands = [], []
    for line in lines:
        x, y = (np.asarray(line[name], np.float64) for name in ("x", "y"))
        pieces = [
            " ".join(
                place(*point) for point in zip(x[rows].tolist(), y[rows].tolist(), strict=True)
            )
            for rows in _pieces((y >= y_axis.low) & (y <= y_axis.high))
        ]
        style = {"name": line["name"], "colour": line["colour"]}
        drawn.append({**style, "pieces": pieces, "dashed": bool(line.get("dashed"))})
        if "low" not in line:
            continue
        # An end beyond the axis is drawn at it, so that the band goes on.
        low, high = (np.asarray(line[name], np.float64) for name in ("low", "high"))
        is_seen = (high >= y_axis.low) & (low <= y_axis.high)
        for rows in _pieces(is_seen):
            upper = [place(*pair) for pair in zip(x[rows], high[rows], strict=True)]
            lower = [place(*pair) for pair in zip(x[rows], low[rows], strict=True)]
            bands.append({**style, "points": " ".join([*upper, *reversed(lower)])})
    return {
        "lines": drawn,
        "bands": bands,
        "x_marks": [
            (place(value, y_axis.low).split(",")[0], f"{value:g}") for value in x_axis.marks()
        ],
        "y_marks": [
            (float(place(x_axis.low, value).split(",")[1]), f"{value:g}")
            for value in y_axis.marks()
        ],
        "x_name": x_axis.name,
        "y_name": y_axis.name,
    }


def _pieces(is_drawn: np.ndarray) -> list[np.ndarray]:
    """Indices of the runs of at least two points that are drawn; NaN compares as not drawn."""
    (rows,) = np.nonzero(is_drawn)
    runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return [run for run in runs if len(run) > 1]
