"""TOML, by the parser that Python has brought along since 3.11."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML.

    Raises:
      ValueError: If the text is something else.
      RecursionError: If it is nested too deeply.
    """
    content: dict[str, Any] = tomllib.loads(text)
    return content
