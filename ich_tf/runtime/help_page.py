"""The list of flags that `--help` prints: groups, meanings, choices, ranges and defaults."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 90
_INDENT = " " * 6


@dataclass(frozen=True)
class FlagHelp:
    """A flag as `--help` shows it.

    Attributes:
      name: Name without dashes.
      meaning: Meaning and unit, whole sentences.
      default: Default value: str, bool, int, float or a list of strings.
      choices: Allowed values; empty for any.
      valid_range: Allowed numbers, such as `1 or more`; empty for any.
    """

    name: str
    meaning: str
    default: Any
    choices: Sequence[str] = ()
    valid_range: str = ""


def describe_flags(flags: Sequence[FlagHelp], headings: Mapping[str, str]) -> str:
    """Describes flags in groups, wrapped at 90 columns.

    Args:
      flags: Flags in the order in which they are shown.
      headings: Name of the first flag of a group -> heading of the group.

    Examples:
      >>> size = FlagHelp("image_size", "Rows and columns, px.", 256, valid_range="16 or more")
      >>> flip = FlagHelp("flip", "Mirror half of the slices.", False)
      >>> print(describe_flags([size, flip], {"image_size": "Image"}))
      <BLANKLINE>
       Image
        --image_size=INTEGER
            Rows and columns, px.
            default: 256; range: 16 or more
        --flip, --noflip
            Mirror half of the slices.
            default: --noflip
    """
    lines = []
    for flag in flags:
        if flag.name in headings:
            lines += ["", f" {headings[flag.name]}"]
        lines.append(f"  {_usage(flag)}")
        lines += _wrap(flag.meaning)
        lines += _wrap("; ".join(_facts(flag)))
    return "\n".join(lines)


def _usage(flag: FlagHelp) -> str:
    """The flag as it is typed."""
    if isinstance(flag.default, bool):
        return f"--{flag.name}, --no{flag.name}"
    kind = "NAME" if flag.choices else _PLACEHOLDERS[type(flag.default)]
    return f"--{flag.name}={kind}"


_PLACEHOLDERS = {str: "TEXT", int: "INTEGER", float: "NUMBER", list: "A,B,..."}


def _facts(flag: FlagHelp) -> list[str]:
    facts = [f"default: {_as_typed(flag)}"]
    if flag.choices:
        facts.append(f"choices: {', '.join(flag.choices)}")
    if flag.valid_range:
        facts.append(f"range: {flag.valid_range.removeprefix('in ')}")
    return facts


def _as_typed(flag: FlagHelp) -> str:
    """The default as it is typed on a command line."""
    if isinstance(flag.default, bool):
        return f"--{flag.name}" if flag.default else f"--no{flag.name}"
    if isinstance(flag.default, list):
        return ",".join(flag.default) or "empty"
    return str(flag.default) or "empty"


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
