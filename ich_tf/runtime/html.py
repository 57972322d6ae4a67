"""Reports: an HTML file each, without scripts, with nothing fetched, all text escaped; Markdown."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape

# The room that `columns` of charts.html draws in; its right edge is the chart's width.
_LEFT, _TOP, _BOTTOM = 50.0, 10.0, 172.0
# And that of `square`.
_SQUARE_LEFT, _SQUARE_TOP, _SQUARE = 42.0, 8.0, 250.0
_MOST_POINTS = 300


def render(package: str, template: str, content: Mapping[str, Any]) -> str:
    """Renders a template.

    Args:
      package: Name of the package whose folder `templates` holds the template, as `ich_tf.serving`.
      template: File name of the template; it may extend or import those of `ich_tf.runtime`.
      content: Values by name.

    Returns:
      The page; in HTML all text is escaped.
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
    """What `columns` of charts.html draws: a column a count.

    Args:
      counts: Of the bins, from left to right.
      names: Of the bins, for those who point at one.
      marks: Place on the axis, in bins -> text below it.
      width: Of the chart, in pixels of a screen that shows it unscaled.
      log: Draw the counts on a logarithmic scale.
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
    """What `square` of charts.html draws: curves in the unit square.

    Args:
      lines: Each with `name`, `colour` (a name of page.html's), `x` and `y` in [0, 1]; `dots` marks
        its points, too.
      x_name: Of the axis.
      y_name: Likewise.
      diagonal: Draw it.
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
    """At most some hundred points of a curve, its corners among them."""
    if len(x) <= _MOST_POINTS:
        return x, y
    length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    wanted = np.linspace(0, length[-1], _MOST_POINTS)
    places = np.unique(np.append(np.searchsorted(length, wanted), len(x) - 1))
    return x[places], y[places]


def count_rows(
    counts: Mapping[str, int], meanings: Mapping[str, str] | None = None, most: int = 12
) -> list[dict[str, Any]]:
    """Rows of a table of counts, the commonest first.

    Args:
      counts: Name -> count.
      meanings: Name -> what it means.
      most: Rows; what is left over is summed in one more.
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
    """A picture for a `data:` address.

    Args:
      image: uint8 [h, w], or [h, w, 3], red first.
    """
    if image.ndim == 3:
        image = image[..., ::-1]
    done, data = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as PNG.")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _short(count: int) -> str:
    """A count in five characters at most."""
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
