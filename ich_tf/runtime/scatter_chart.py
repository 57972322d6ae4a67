"""Coordinates of charts of points on two axes, linear or logarithmic, for charts.html."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Left and top edge, and side, of the area of `scatter` in charts.html, px.
_LEFT, _TOP, _SIDE = 46.0, 8.0, 240.0
_MOST_MARKS = 6


@dataclass(frozen=True)
class ChartAxis:
    """An axis of a chart.

    Attributes:
      name: Label of the axis.
      low, high: Its ends; values beyond them are drawn at them.
      log: Whether it is logarithmic; its ends are above 0 then.
    """

    name: str
    low: float
    high: float
    log: bool = False

    def part(self, value: float) -> float:
        """Place of a value, 0 at the low end and 1 at the high end.

        Examples:
          >>> ChartAxis("ml", 1, 100, log=True).part(10), ChartAxis("ml", -4, 4).part(9)
          (0.5, 1.0)
        """
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def marks(self) -> list[float]:
        """At most about six round values along the axis.

        Examples:
          >>> ChartAxis("ml", 1, 100, log=True).marks()
          [1, 2, 5, 10, 20, 50, 100]
          >>> ChartAxis("ml", -12, 12).marks()
          [-10, -5, 0, 5, 10]
        """
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if len(powers) <= 3 else (1,)
            values = [_round(digit, power) for power in powers for digit in digits]
        else:
            step = _step((self.high - self.low) / _MOST_MARKS)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            values = [round(number * step, 10) for number in range(first, last + 1)]
        inside = [value for value in values if self.low <= value <= self.high]
        return [int(value) if value == int(value) else value for value in inside]


def scatter_chart(
    points: Iterable[Mapping[str, Any]],
    x_axis: ChartAxis,
    y_axis: ChartAxis,
    lines: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Coordinates of points and lines, for the macro `scatter` of charts.html.

    Args:
      points: Points with `x`, `y` and `text`, which is shown when the pointer is over it. Those
        beyond the axes are drawn hollow, at their ends.
      x_axis: Horizontal axis.
      y_axis: Vertical axis.
      lines: Lines with `x`, `y` (sequences of values), `kind` (a class of page.html: `diagonal`,
        `trend`) and `text`, which is written at the line's end if it is not empty.

    Returns:
      The values that the macro reads: `points`, `lines`, `x_marks`, `y_marks`, `x_name`, `y_name`.
    """

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(_LEFT + x_axis.part(x) * _SIDE, 1),
            round(_TOP + (1 - y_axis.part(y)) * _SIDE, 1),
        )

    drawn = []
    for point in points:
        x, y = place(point["x"], point["y"])
        is_inside = all(
            axis.low <= value <= axis.high
            for axis, value in ((x_axis, point["x"]), (y_axis, point["y"]))
        )
        drawn.append({"x": x, "y": y, "text": point["text"], "is_inside": is_inside})
    return {
        "points": drawn,
        "lines": [
            {
                "points": [place(x, y) for x, y in zip(line["x"], line["y"], strict=True)],
                "kind": line["kind"],
                "text": line["text"],
            }
            for line in lines
        ],
        "x_marks": [(place(value, y_axis.low)[0], f"{value:g}") for value in x_axis.marks()],
        "y_marks": [(place(x_axis.low, value)[1], f"{value:g}") for value in y_axis.marks()],
        "x_name": x_axis.name,
        "y_name": y_axis.name,
    }


def round_range(low: float, high: float) -> tuple[float, float]:
    """The nearest of 1, 2 and 5 times powers of ten at or around two positive values.

    Examples:
      >>> round_range(0.7, 83)
      (0.5, 100.0)
      >>> round_range(2, 2)
      (2.0, 5.0)
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    values = [_round(digit, power) for power in powers for digit in (1, 2, 5)]
    first = max(value for value in values if value <= low)
    return first, next(value for value in values if value >= high and value > first)


def _round(digit: int, power: int) -> float:
    return float(f"{digit}e{power}")


def _step(least: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below a value."""
    powers = itertools.count(math.floor(math.log10(least)))
    return next(
        _round(digit, power) for power in powers for digit in (1, 2, 5)
        if _round(digit, power) >= least * (1 - 1e-9)
    )  # fmt: skip
