"""What other projects import: it says what it offers, and its examples are true."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

PUBLIC = ("metrics", "losses", "windows", "dicom", "labels", "records")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_room_names_what_it_offers(name: str) -> None:
    room = importlib.import_module(f"ich_tf.{name}")
    assert len(set(room.__all__)) == len(room.__all__)
    for each in room.__all__:
        found = getattr(room, each)
        if inspect.isfunction(found) or inspect.isclass(found):
            assert found.__doc__, f"{name}.{each} has no docstring"
    # Nothing public of its own is left out, but for what exported graphs alone use.
    own = {
        each
        for each, found in vars(room).items()
        if not each.startswith("_") and getattr(found, "__module__", "") == room.__name__
        if not each.endswith("_graph")
    }
    assert own <= set(room.__all__) | {"View"}


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_in_docstrings_are_true(name: str) -> None:
    room = importlib.import_module(f"ich_tf.{name}")
    # Each of the last two needs a Keras of its own (.ci/metrics).
    names = {info.name for info in pkgutil.iter_modules(getattr(room, "__path__", []))}
    parts = [f"ich_tf.{name}.{part}" for part in sorted(names - {"keras2", "keras3"})]
    modules = [room, *map(importlib.import_module, parts)]
    results = [doctest.testmod(module) for module in modules]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 0
