"""The examples in the docstrings of scores and charts are true."""

import doctest
import importlib

import pytest

MODULES = (
    "evaluation.scores",
    "evaluation.masks.mask_estimate",
    "evaluation.masks.mask_section",
    "evaluation.masks.original_size",
    "evaluation.masks.outlines",
    "runtime.curve_chart",
    "runtime.scatter_chart",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(f"ich_tf.{name}")
    results = doctest.testmod(module, extraglobs={"np": importlib.import_module("numpy")})
    assert results.attempted and not results.failed
