"""The examples in the docstrings of the inference modules are true."""

import doctest
import importlib

import pytest

MODULES = (
    "postprocessing.abstention",
    "postprocessing.calibrators",
    "postprocessing.prevalence",
    "postprocessing.smoothing",
    "prediction.series_summary",
    "prediction.submission",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    module = importlib.import_module(f"ich_tf.inference.{name}")
    results = doctest.testmod(module, extraglobs={"np": importlib.import_module("numpy")})
    assert results.attempted and not results.failed
