"""Reports from templates: Markdown, or self-contained HTML without scripts, all text escaped."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

# Edges of the area of `columns` in charts.html, px; its right edge is the chart's width.
_LEFT, _TOP, _BOTTOM = 50.0, 10.0, 172.0
# Left and top edge, and side, of the area of `square` in charts.html, px.
_SQUARE_LEFT, _SQUARE_TOP, _SQUARE = 42.0, 8.0, 250.0
_MOST_POINTS = 300


def render(package: str, template: str, content: Mapping[str, Any]) -> str:
    """Renders a template.

    Args:
      package: Name of the package whose folder `templates` holds the template, such as
        `ich_tf.serving`.
      template: File name of the template, which may extend or import templates of
        `ich_tf.runtime`.
      content: Values of the template's variables.

    Returns:
      The rendered text. Values are escaped if the template's name ends in `.html`.
    """
    return _environment(package).get_template(template).render(content)


def column_chart(
    counts: Sequence[int],
    names: Sequence[str],
    marks: Mapping[float, str],
    *,
    width: int = 340,
    log: bool = False,
) -> dict[str, Any]:
    """Coordinates of a column chart, for the macro `columns` of charts.html.

    Args:
      counts: Count of each bin, from left to right.
      names: Name of each bin, shown when the pointer is over its column.
      marks: Position on the horizontal axis, in bins -> label.
      width: Width of the chart, px.
      log: Whether the vertical axis is logarithmic.

    Returns:
      The values that the macro reads: `width`, `bars`, `x_marks` and `y_marks`.
    """
    highest = max([*counts, 1])
    step = (width - _LEFT) / max(1, len(counts))

    def height(count: float) -> float:
        part = math.log1p(count) / math.log1p(highest) if log else count / highest
        return part * (_BOTTOM - _TOP)

    bars = [
        {
            "x": round(_LEFT + number * step, 1),
            "y": round(_BOTTOM - height(count), 1),
            "width": round(max(0.5, step - min(2.0, step / 4)), 1),
            "height": round(height(count), 1),
            "text": f"{name}: {count:,}",
        }
        for number, (count, name) in enumerate(zip(counts, names, strict=True))
        if count
    ]
    if log:
        levels = [10**power for power in range(0, int(math.log10(highest)) + 1, 2)]
    else:
        levels = sorted({0, highest // 2, highest})
    return {
        "width": width,
        "bars": bars,
        "x_marks": [
            {"at": round(_LEFT + place * step, 1), "text": text} for place, text in marks.items()
        ],
        "y_marks": [
            {"at": round(_BOTTOM - height(level), 1), "text": _short(level)} for level in levels
        ],
    }


def square_chart(
    lines: Sequence[Mapping[str, Any]], x_name: str, y_name: str, diagonal: bool = False
) -> dict[str, Any]:
    """Coordinates of curves in the unit square, for the macro `square` of charts.html.

    Args:
      lines: Curves, each with `name`, `colour` (a colour variable of page.html), `x` and `y` in
        [0, 1], and optionally `dots`: whether to mark its points.
      x_name: Label of the horizontal axis.
      y_name: Label of the vertical axis.
      diagonal: Whether to draw the diagonal.

    Returns:
      The values that the macro reads: `lines`, `x_name`, `y_name` and `diagonal`.
    """

    def place(x: float, y: float) -> str:
        return f"{_SQUARE_LEFT + x * _SQUARE:.1f},{_SQUARE_TOP + (1 - y) * _SQUARE:.1f}"

    drawn = []
    for line in lines:
        x, y = np.asarray(line["x"], np.float64), np.asarray(line["y"], np.float64)
        keep = np.isfinite(x) & np.isfinite(y)
        x, y = _thinned(x[keep], y[keep])
        points = [place(*point) for point in zip(x.tolist(), y.tolist(), strict=True)]
        dots = [point.split(",") for point in points] if line.get("dots") else []
        drawn.append(
            {
                "name": line["name"],
                "colour": line["colour"],
                "points": " ".join(points),
                "dots": dots,
            }
        )
    return {"lines": drawn, "x_name": x_name, "y_name": y_name, "diagonal": diagonal}


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most about 300 points of a curve, evenly spaced along its length, ends included."""
    if len(x) <= _MOST_POINTS:
        return x, y
    length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    positions = np.linspace(0, length[-1], _MOST_POINTS)
    indices = np.unique(np.append(np.searchsorted(length, positions), len(x) - 1))
    return x[indices], y[indices]


def count_rows(
    counts: Mapping[str, int], meanings: Mapping[str, str] | None = None, most: int = 12
) -> list[dict[str, Any]]:
    """Rows of a table of counts, the largest count first.

    Args:
      counts: Name -> count.
      meanings: Name -> explanation; names without one get an empty text.
      most: Maximum number of rows; the remaining counts are summed in one more row.

    Returns:
      A row each, with `name`, `what` (the explanation), `count` and `share` (per cent).
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ordered[:most]
    if len(ordered) > most:
        shown.append((f"{len(ordered) - most} others", sum(n for _, n in ordered[most:])))
    total = max(1, sum(counts.values()))
    return [
        {
            "name": name,
            "what": (meanings or {}).get(name, ""),
            "count": count,
            "share": round(100 * count / total, 1),
        }
        for name, count in shown
    ]


def png_base64(image: np.ndarray) -> str:
    """An image as base64 of a PNG, for a `data:` URL.

    Args:
      image: uint8 [h, w], or [h, w, 3] in RGB order.
    """
    if image.ndim == 3:
        image = image[..., ::-1]
    is_encoded, data = cv2.imencode(".png", image)
    if not is_encoded:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as PNG.")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _short(count: int) -> str:
    """A count in at most five characters, such as `12k`."""
    for power, letter in ((9, "G"), (6, "M"), (3, "k")):
        if count >= 10**power:
            return f"{count / 10**power:.3g}{letter}"
    return str(count)


@functools.cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("ich_tf.runtime")]),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
