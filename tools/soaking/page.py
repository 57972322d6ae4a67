"""The report of a soak as a page with charts."""

from __future__ import annotations

import math
from typing import Any

from ich_tf.runtime.curve_chart import curve_chart
from ich_tf.runtime.html import render
from ich_tf.runtime.scatter_chart import ChartAxis
from tools.soaking.campaign import SoakResult
from tools.soaking.judging import BOUNDS

_COLOURS = ("c0", "c1")


def page(result: SoakResult, summary: str) -> str:
    """The report as HTML: what was sampled over time, its medians, and the requests.

    Args:
      result: What came of the soak.
      summary: The same in a sentence.
    """
    services = list(zip(result.values, _COLOURS, strict=True))
    names = [name for name in BOUNDS if any(name in each for each in result.values.values())]
    return render(
        "tools.soaking",
        "soak.html",
        {
            "minutes": f"{result.seconds / 60:.0f}",
            "summary": summary,
            "problems": result.problems,
            "services": services,
            "charts": [(name, _chart(result, name)) for name in names],
            "rows": [
                {
                    "service": verdict.service,
                    "value": verdict.value,
                    "unit": verdict.unit,
                    "cells": verdict.cells(),
                    "verdict": verdict.word(),
                }
                for verdict in result.verdicts
            ],
            "counts": [
                (kind, outcome, count)
                for (kind, outcome), count in sorted(result.tally.counts.items())
            ],
        },
    )


def _chart(result: SoakResult, name: str) -> dict[str, Any]:
    minutes = [seconds / 60 for seconds in result.times]
    lines: list[dict[str, Any]] = [
        {"name": service, "colour": colour, "x": minutes, "y": each[name]}
        for (service, each), colour in zip(result.values.items(), _COLOURS, strict=True)
        if name in each
    ]
    highest = max(max(line["y"]) for line in lines)
    unit = BOUNDS[name].unit or "number"
    return curve_chart(
        lines,
        ChartAxis("minutes", 0, math.ceil(10 * max(minutes)) / 10 or 1),
        ChartAxis(unit, 0, 1.1 * highest or 1),
    )
