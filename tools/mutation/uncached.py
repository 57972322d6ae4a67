"""A plugin of pytest: functions of the package forget what they have computed before.

A mutant is tested in a fork of a process that has run the tests already; the results that
functools.cache keeps would be those of the code without the fault.
"""

from __future__ import annotations

import sys


def pytest_collection_finish() -> None:
    """Empties the caches before the first test."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "ich_tf":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
