"""HTML reports: one file each, without scripts, with nothing fetched; all text is escaped."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

# The room that `columns` of charts.html draws in; its right edge is the chart's width.
_LEFT, _TOP, _BOTTOM = 50.0, 10.0, 172.0


def render(template: str, content: Mapping[str, Any]) -> str:
    """The page that a template of `ich_tf/templates` makes of its content."""
    return _environment().get_template(template).render(content)


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
      image: uint8 [h, w].
    """
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
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ich_tf"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
