"""Marks of parametrized tests."""

from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Parameters of a test that `make test` leaves to `make test-slow`."""
    return pytest.param(*values, marks=pytest.mark.slow)
