"""Choice of series: which of a study's series are taken, and why the others are not.

`best` takes one series of each study (`best_series`), `all` every series, and an expression those
that fulfil all of its conditions.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ich_tf.dicom.best_series import why_not_best
from ich_tf.dicom.description import CONTENTS, CONTRASTS, ORIGINS
from ich_tf.dicom.kernels import KERNELS
from ich_tf.dicom.series_description import SeriesDescription
from ich_tf.errors import ConfigError


@dataclass(frozen=True)
class SeriesChoice:
    """Rule by which series are chosen: the value of a flag `--series`.

    Attributes:
      text: The value as it was given: `best`, `all` or an expression.
    """

    text: str
    _conditions: tuple[_Condition, ...] = field(default=(), repr=False)

    @classmethod
    def parse(cls, text: str) -> SeriesChoice:
        """Reads the value of the flag.

        Raises:
          ConfigError: If it is neither `best` nor `all` nor conditions; the message has the names.

        Examples:
          >>> SeriesChoice.parse("kernel=soft|unknown,thickness<=6,contrast!=yes").text
          'kernel=soft|unknown,thickness<=6,contrast!=yes'
        """
        if text in ("best", "all"):
            return cls(text)
        return cls(text, tuple(_condition(text, part) for part in text.split(",")))

    def why_not(self, study: Sequence[SeriesDescription]) -> list[str]:
        """Why each series of a study is left out.

        Args:
          study: All series of one study.

        Returns:
          For each series an empty text if it is chosen, else what counts against it, to follow
          "its series".
        """
        if self.text == "best":
            return why_not_best(study)
        return [
            next((f"does not fulfil {c.text}" for c in self._conditions if not c.holds(series)), "")
            for series in study
        ]


ALL_SERIES = SeriesChoice("all")


def not_chosen_message(series: SeriesDescription, why_not: str) -> str:
    """Message of a file that is left out with its series."""
    return f"{series.text()}: its series {why_not}. --series=all takes it."


@dataclass(frozen=True)
class _Condition:
    """One condition of an expression, such as `thickness<=6`."""

    text: str
    holds: Callable[[SeriesDescription], bool] = field(repr=False, compare=False)


_TERMS = {"kernel": KERNELS, "contrast": CONTRASTS, "origin": ORIGINS, "content": CONTENTS}
_NUMBERS: dict[str, Callable[[SeriesDescription], float]] = {
    "thickness": lambda series: series.slice_mm,
    "spacing": lambda series: series.spacing_mm,
    "coverage": lambda series: series.coverage_mm,
    "slices": lambda series: series.num_slices,
    "number": lambda series: series.series_number,
    "acquisition": lambda series: series.acquisition,
    "pass": lambda series: series.number_of_pass,
}
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "=": operator.eq, "<": operator.lt,
    ">": operator.gt,
}  # fmt: skip
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*")


def _condition(whole: str, text: str) -> _Condition:
    """Reads a condition of an expression.

    Raises:
      ConfigError: If it is none.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise _not_a_choice(whole, f"{text.strip()!r} is no condition")
    name, sign, value = match.groups()
    if name in _TERMS:
        wanted = value.split("|")
        unknown = [term for term in wanted if term not in _TERMS[name]]
        if sign not in ("=", "!=") or unknown:
            raise _not_a_choice(
                whole, f"{name} is compared by = or != with {', '.join(_TERMS[name])}"
            )
        return _Condition(
            text.strip(), lambda series: (getattr(series, name) in wanted) == (sign == "=")
        )
    if name not in _NUMBERS:
        raise _not_a_choice(whole, f"{name!r} is no name")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _not_a_choice(whole, f"{name} is compared with a number")
    read, compare, least = _NUMBERS[name], _OPERATORS[sign], 0 if name in _COUNTS else 1e-9

    def holds(series: SeriesDescription) -> bool:
        stored = read(series)
        # What is unknown is neither below nor above a number, nor equal to it.
        return compare(stored, number) if stored >= least else sign == "!="

    return _Condition(text.strip(), holds)


# Zero is a value of these, and stands for an unknown length in the others.
_COUNTS = ("slices", "number", "acquisition", "pass")


def _not_a_choice(text: str, problem: str) -> ConfigError:
    terms = "; ".join(f"{name} ({', '.join(values)})" for name, values in _TERMS.items())
    return ConfigError(
        f"series is {text!r}; it must be best, all, or conditions separated by commas, such as "
        f"kernel=soft,thickness<=6: {problem}. Names are {terms}; and with numbers "
        f"{', '.join(_NUMBERS)} (thickness, spacing and coverage in mm)."
    )
