"""Values of JSON, as the types of a dataclass have them: files are edited, cut and mixed up."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ich_tf.errors import DataError
from ich_tf.runtime.files import read_json
from ich_tf.runtime.names import shortened

_T = TypeVar("_T")
_INT64 = 2**63


def read_object(path: Path, kind: type[_T], advice: str = "") -> _T:
    """Makes a dataclass of a JSON file, as `read_fields` does.

    Args:
      path: JSON file to read.
      kind: The dataclass.
      advice: Sentence to end an error message with: what the user should do.

    Raises:
      DataError: If the file is missing, not JSON, or without what the dataclass needs.
    """
    content = read_json(path, advice)
    try:
        return read_fields(kind, content)
    except ValueError as error:
        raise DataError(f"{path}: {error}. {advice}".rstrip()) from error


def read_fields(kind: type[_T], content: Any, where: str = "") -> _T:
    """Makes a dataclass of an object of JSON; members that it has no field for are ignored.

    Args:
      kind: The dataclass. Its fields are of `str`, `int`, `float`, `bool`, None, `Any`, tuples,
        lists, frozen sets and mappings of such, dataclasses, and arrays, int64 [n].
      content: Value of JSON.
      where: Place of the value, for the error.

    Raises:
      ValueError: If a field without a default is missing, or a value is of another type; integers
        have 64 bits, and neither `true` nor `1.0` is one.

    Examples:
      >>> @dataclasses.dataclass
      ... class Point:
      ...     x: float
      ...     names: tuple[str, ...] = ()
      >>> read_fields(Point, {"x": 1, "names": ["a"]})
      Point(x=1.0, names=('a',))
      >>> read_fields(Point, {"x": True})
      Traceback (most recent call last):
      ValueError: x is true; expected a number
    """
    if not isinstance(content, dict):
        raise ValueError(_words(where, content, "an object"))
    types_of: dict[str, Any] = _types_of(kind)  # type: ignore[arg-type]
    values = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        place = f"{where}.{field.name}" if where else field.name
        if field.name in content:
            values[field.name] = read_value(types_of[field.name], content[field.name], place)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place} is missing")
    return kind(**values)


def read_value(kind: Any, value: Any, where: str = "") -> Any:
    """A value of JSON as a type has it.

    Args:
      kind: Type of a field of `read_fields`.
      value: Value of JSON.
      where: Place of the value, for the error.

    Raises:
      ValueError: If the value is of another type.

    Examples:
      >>> read_value(dict[str, tuple[int, ...]], {"a": [1, 2]})
      {'a': (1, 2)}
    """
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in of:
            return None
        (kind,) = (one for one in of if one is not type(None))
        return read_value(kind, value, where)
    if kind is np.ndarray:
        return np.array(_read_list(list, (int,), value, where), np.int64)
    if dataclasses.is_dataclass(kind):
        return read_fields(kind, value, where)  # type: ignore[arg-type]
    if origin in (tuple, list):
        return _read_list(origin, of, value, where)
    if origin is frozenset:
        return frozenset(_read_list(list, of, value, where))
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise ValueError(_words(where, value, "an object"))
        return {name: read_value(of[1], item, f"{where}.{name}") for name, item in value.items()}
    if kind is float and type(value) is int and abs(value) < 2.0**1023:
        return float(value)
    if type(value) is not kind or (kind is int and not -_INT64 <= value < _INT64):
        raise ValueError(_words(where, value, _NAMES[kind]))
    return value


def quoted(value: Any) -> str:
    """A value of JSON for a message: its beginning, if it is long."""
    names = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    return shortened(repr(value), 60)


_NAMES = {str: "a text", int: "an integer of 64 bits", float: "a number", bool: "true or false"}


def _words(where: str, value: Any, expected: str) -> str:
    return f"{shortened(where, 100) or 'the content'} is {quoted(value)}; expected {expected}"


def _read_list(origin: Any, of: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(_words(where, value, "a list"))
    if origin is list or of[1:] == (...,):
        return origin(read_value(of[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(value) != len(of):
        raise ValueError(_words(where, value, f"a list of {len(of)}"))
    pairs = zip(of, value, strict=True)
    return tuple(read_value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(pairs))


@functools.cache
def _types_of(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
