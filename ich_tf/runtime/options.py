"""Options of a config dataclass: help, choices, and checks of their values."""

from __future__ import annotations

import dataclasses
from typing import Any

from ich_tf.errors import ConfigError


def option(default: Any, help_text: str, choices: tuple[str, ...] | None = None) -> Any:
    """A field of a config dataclass, of which `command.define_flags` makes a flag.

    Args:
      default: Default value.
      help_text: Meaning, unit and range, for `--help`.
      choices: Allowed values; None for any.
    """
    metadata: dict[str, Any] = {"help": help_text}
    if choices is not None:
        metadata["choices"] = choices
    return dataclasses.field(default=default, metadata=metadata)


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
        raise ConfigError(f"{name} is {value!r}; it must be {expected}.")
