"""Options of configs: ranges, choices and types are checked, and an error names the field."""

import dataclasses
import doctest
import math

import pytest

from ich_tf.errors import ConfigError
from ich_tf.runtime import options
from ich_tf.runtime.options import ValueRange, check_options, option


@dataclasses.dataclass(frozen=True)
class Config:
    rate: float = option(0.5, "Learning rate.", within="(0, 1]")
    steps: int = option(3, "Steps.", within="[1, inf)")
    name: str = option("adam", "Optimizer.", ("adam", "sgd"))
    windows: tuple[str, ...] = option((), "Windows.")

    def __post_init__(self) -> None:
        check_options(self)


def test_examples_in_docstrings_are_true() -> None:
    outcome = doctest.testmod(options)
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize(
    ("text", "inside", "outside", "phrase"),
    [
        ("[0, 1)", (0, 0.5), (-1, 1), "in [0, 1)"),
        ("(0, 1]", (0.5, 1), (0, 1.5), "in (0, 1]"),
        ("[1, inf)", (1, 10**9), (0,), "1 or more"),
        ("(0, inf)", (1e-9,), (0,), "above 0"),
        ("[0, 65535]", (65535,), (65536,), "in [0, 65535]"),
    ],
)
def test_intervals(
    text: str, inside: tuple[float, ...], outside: tuple[float, ...], phrase: str
) -> None:
    value_range = ValueRange.parse(text)
    assert all(number in value_range for number in inside)
    assert not any(number in value_range for number in outside)
    assert str(value_range) == phrase


def test_integers_become_floats_and_lists_tuples() -> None:
    config = Config(rate=1, windows=["brain"])  # type: ignore[arg-type]
    assert type(config.rate) is float
    assert config.windows == ("brain",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, r"rate is 0.0; it must be in \(0, 1\]"),
        ({"rate": math.nan}, "rate is nan; it must be a finite number"),
        ({"steps": 0}, "steps is 0; it must be 1 or more"),
        ({"steps": True}, "steps is True; it must be of type int"),
        ({"name": "lamb"}, "name is 'lamb'; it must be one of adam, sgd"),
        ({"windows": "brain"}, "windows is 'brain'; it must be of type tuple"),
    ],
)
def test_an_error_names_the_field(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Config(**changes)  # type: ignore[arg-type]
