"""A plugin of pytest for mutants, which are tested in forks of a process that ran the tests before.

What functools.cache keeps there would be the results of the code without the fault, and a test that
finds another's results would not count among those that reach the function. And a mutated module
holds a copy of each function for each of its mutants, docstring and all: the examples of one are
enough, which calls whatever is under test.
"""

from __future__ import annotations

import doctest
import sys
from typing import Any

_FIND = doctest.DocTestFinder.find


def _find(finder: doctest.DocTestFinder, *args: Any, **kwargs: Any) -> list[doctest.DocTest]:
    found = _FIND(finder, *args, **kwargs)
    return [test for test in found if test.name.partition("__mutmut_")[2] in ("", "orig")]


def pytest_configure() -> None:
    """Leaves the examples of mutants out."""
    doctest.DocTestFinder.find = _find  # type: ignore[method-assign, assignment]


def pytest_runtest_setup() -> None:
    """Empties the caches before each test."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "ich_tf":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
