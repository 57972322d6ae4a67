"""Options of a config dataclass: help, choices, ranges, and checks of their values."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from typing import Any

from ich_tf.errors import ConfigError
from ich_tf.runtime.names import shown_value

# Of integers, as files and libraries hold them.
_INT64 = 2**63


@dataclasses.dataclass(frozen=True)
class ValueRange:
    """An interval of numbers that an option may take.

    Attributes:
      low: Lower end.
      high: Upper end; infinity for none.
      includes_low: Whether the lower end belongs to the interval.
      includes_high: Whether the upper end belongs to the interval.
    """

    low: float
    high: float
    includes_low: bool
    includes_high: bool

    @classmethod
    def parse(cls, text: str) -> ValueRange:
        """Reads the notation of mathematics, such as `[0, 1)` or `[1, inf)`.

        Examples:
          >>> interval = ValueRange.parse("[0, 1)")
          >>> 0.0 in interval, 1.0 in interval, str(interval)
          (True, False, 'in [0, 1)')
        """
        low, high = text[1:-1].split(",")
        return cls(float(low), float(high), text[0] == "[", text[-1] == "]")

    def __contains__(self, value: float) -> bool:
        above = self.low <= value if self.includes_low else self.low < value
        below = value <= self.high if self.includes_high else value < self.high
        return above and below

    def __str__(self) -> str:
        """Phrase that follows "it must be"."""
        low = f"{self.low:.12g}"
        if self.high == math.inf:
            return f"{low} or more" if self.includes_low else f"above {low}"
        left, right = "[" if self.includes_low else "(", "]" if self.includes_high else ")"
        return f"in {left}{low}, {self.high:.12g}{right}"


def option(
    default: Any,
    help_text: str,
    choices: tuple[str, ...] | None = None,
    *,
    within: str | None = None,
    is_path: bool = False,
    is_secret: bool = False,
) -> Any:
    """A field of a config dataclass, of which `command.define_flags` makes a flag.

    Args:
      default: Default value.
      help_text: Meaning and unit, for `--help`, which adds choices, range and default.
      choices: Allowed values; None for any.
      within: Interval of the allowed values of a number, such as `[0, 1)`, `(0, inf)` or
        `[1, inf)`, which `check_options` enforces; None for any.
      is_path: Whether it is a path, or a tuple of paths, in which the flag expands a leading `~`.
      is_secret: Whether its value is a secret: not part of the config's `repr`, and refused on the
        command line, which all users of a machine can read.
    """
    metadata: dict[str, Any] = {"help": help_text, "is_path": is_path, "is_secret": is_secret}
    if choices is not None:
        metadata["choices"] = choices
    if within is not None:
        metadata["within"] = ValueRange.parse(within)
    return dataclasses.field(default=default, metadata=metadata, repr=not is_secret)


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raises an error where a value is not as expected.

    Args:
      holds: Whether the value is as expected.
      name: Name of the option.
      value: Value that was given.
      expected: Description of the allowed values, to follow "it must be".

    Raises:
      ConfigError: If `holds` is false.
    """
    if not holds:
        raise ConfigError(f"{name} is {shown_value(value)}; it must be {expected}.")


def check_options(config: Any) -> None:
    """Checks type, range and choices of every option: the start of a config's `__post_init__`.

    Integers given for a float become floats, lists given for a tuple become tuples.

    Args:
      config: Instance of a frozen dataclass whose fields were made by `option`. Only the fields
        with a default are checked, and each value must have its default's type.

    Raises:
      ConfigError: If a value has another type, is not finite, is outside its range or is none of
        the choices; the message names the field.

    Examples:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Schedule:
      ...     epochs: int = option(5, "Passes over the training folds.", within="[1, inf)")
      ...
      ...     def __post_init__(self):
      ...         check_options(self)
      >>> Schedule(epochs=0)
      Traceback (most recent call last):
      ich_tf.errors.ConfigError: epochs is 0; it must be 1 or more.
    """
    config_class: Any = type(config)
    types_of = _types_of(config_class)
    for field in dataclasses.fields(config):
        if field.default is dataclasses.MISSING:
            continue
        value = getattr(config, field.name)
        kind = type(field.default)
        is_short = type(value) is not int or -_INT64 <= value < _INT64
        require(is_short, field.name, value, "of 64 bits at most")
        if kind is float and type(value) is int:
            value = float(value)
        elif kind is tuple and isinstance(value, list):
            value = tuple(value)
        # `isinstance` accepts a bool for an int, but `seed=True` is a mistake.
        require(type(value) is kind, field.name, value, f"of type {kind.__name__}")
        if kind is tuple and (of := types_of[field.name]) is not None:
            are_right = all(type(item) is of for item in value)
            require(are_right, field.name, value, f"a list of values of type {of.__name__}")
        object.__setattr__(config, field.name, value)
        if kind is float:
            require(math.isfinite(value), field.name, value, "a finite number")
        value_range, choices = field.metadata.get("within"), field.metadata.get("choices")
        if value_range is not None:
            require(value in value_range, field.name, value, str(value_range))
        if choices is not None:
            require(value in choices, field.name, value, f"one of {', '.join(choices)}")


@functools.cache
def _types_of(config_class: Any) -> dict[str, type[Any] | None]:
    """Type of the values of each field that is a tuple of any length; None for other fields."""
    types: dict[str, type[Any] | None] = {}
    for name, kind in typing.get_type_hints(config_class).items():
        of = typing.get_args(kind)
        is_tuple = typing.get_origin(kind) is tuple and of[1:] == (...,)
        types[name] = of[0] if is_tuple and of[0] in (str, int) else None
    return types
