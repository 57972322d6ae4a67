"""The examples in the docstrings of metrics are true."""

import doctest
import importlib
import pkgutil

import pytest

from ich_tf import metrics

MODULES = [
    f"ich_tf.metrics.{module.name}"
    for module in pkgutil.iter_modules(metrics.__path__)
    if not module.name.startswith("keras")  # no environment has both
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
