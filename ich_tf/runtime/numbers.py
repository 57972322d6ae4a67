"""Numbers in texts, as spreadsheets and other languages than Python write them."""

from __future__ import annotations

import math
import re

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def decimal_number(text: str) -> float:
    """A number in digits 0 to 9; NaN for any other text.

    `float` takes underscores between digits, digits of all scripts, and words, too: `1_0` is rather
    an id in the wrong column than ten.

    Examples:
      >>> decimal_number("0.5"), decimal_number(" 1e-3 "), decimal_number("1_0")
      (0.5, 0.001, nan)
    """
    text = text.strip()
    return float(text) if _DECIMAL.fullmatch(text) else math.nan
