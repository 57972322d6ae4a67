"""Strategies of hypothesis: odd values, damaged bytes, and JSON that differs from a valid one."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from ich_tf.errors import InputError, UsageError

# More than any error needs; what a user gave is quoted, and may be long.
_MOST = 2000
# Texts that programs take for something else, or stumble over.
ODD_TEXTS = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ufeff",
    "\ud800",
    "a\nb",
    "a\rb",
    "\x85",
    "\u2028",
    '"',
    "'",
    "=1+1",
    "..",
    "../x",
    "/",
    "~",
    "~nobody_of_this_name",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "1_000",
    "1e999",
    "0x10",
    "\u0663",
    "\u00b2",
    "9" * 400,
    "True",
    "null",
    "a" * 300,
    "a/" * 3000,
    "{{ 7 * 7 }}",
    "%s%n",
)
ODD_NUMBERS = (
    0,
    -1,
    1,
    -0.0,
    0.5,
    1.5,
    1e308,
    -1e308,
    5e-324,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**30,
)
# Written into JSON as they are: no value of Python says them.
_RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "9" * 5000,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 1500 + "1" + "}" * 1500,
    '"\\ud800"',
    '"\\udcff.dcm"',
    '"\\u0000"',
    "1_0",
    "01",
    "'a'",
    "True",
)
_MARK = "put-raw-text-here"


def odd_texts() -> st.SearchStrategy[str]:
    """Any text, with those that are known to be trouble; surrogates inside."""
    any_text = st.text(st.characters(), max_size=12)
    return st.one_of(st.sampled_from(ODD_TEXTS), any_text)


def file_texts(max_size: int = 200) -> st.SearchStrategy[str]:
    """Any text that a file can hold as UTF-8."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)


def json_values() -> st.SearchStrategy[Any]:
    """Any value of JSON."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(ODD_NUMBERS),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        odd_texts(),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(odd_texts(), inner, max_size=4)
        ),
        max_leaves=8,
    )


@st.composite
def mutated_json(draw: st.DrawFn, valid: Any, most: int = 3) -> str:
    """Text of JSON that differs from a valid value in one place, or some.

    Args:
      draw: Function that draws from a strategy.
      valid: Valid content.
      most: Greatest number of changes.
    """
    content = copy.deepcopy(valid)
    raw = None
    for _ in range(draw(st.integers(1, most))):
        places = [*_places(content)]
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(_CHANGES))
        if change == "raw":
            raw = draw(st.sampled_from(_RAW))
            parent[key] = _MARK
        elif change == "remove":
            del parent[key]
        elif change == "value":
            parent[key] = draw(json_values())
        elif change == "retype":
            parent[key] = draw(st.sampled_from(_retyped(parent[key])))
        elif change == "number":
            parent[key] = draw(st.sampled_from(ODD_NUMBERS))
        elif change == "text":
            parent[key] = draw(odd_texts())
        elif change == "swap":
            other, at = draw(st.sampled_from(places))
            parent[key] = copy.deepcopy(other[at])
        elif isinstance(parent, dict):
            parent[draw(odd_texts())] = copy.deepcopy(parent[key])
        else:
            parent.insert(key, copy.deepcopy(parent[key]))
    text = json.dumps(content, indent=draw(st.sampled_from((None, 1))))
    if raw is not None:
        text = text.replace(json.dumps(_MARK), raw)
    return draw(st.sampled_from(_FORMS))(text)


_CHANGES = ("remove", "value", "retype", "number", "text", "swap", "double", "raw")
_FORMS = (*[str] * 9, lambda text: "\ufeff" + text, lambda text: text[:-3])


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree of JSON: its parent and its key there."""
    keys = range(len(content)) if isinstance(content, list) else ()
    for key in content if isinstance(content, dict) else keys:
        yield content, key
        yield from _places(content[key])


def _retyped(value: Any) -> list[Any]:
    """The same value in other types."""
    values = [None, [value], {"value": value}, str(value), bool(value), [], {}]
    if isinstance(value, (int, float)):
        values += [-value, float(min(abs(value), 1e300)), value + 1]
    if isinstance(value, list):
        values += [value[:-1], value * 2, value[::-1]]
    return values


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that differ from others in flips, cuts, insertions and repetitions.

    Args:
      draw: Function that draws from a strategy.
      data: Bytes to damage.
    """
    bytes_ = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(bytes_)))
        kind = draw(st.sampled_from(("flip", "cut", "insert", "repeat", "lose", "fill")))
        length = draw(st.integers(1, 12))
        if kind == "flip" and at < len(bytes_):
            bytes_[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del bytes_[at:]
        elif kind == "insert":
            bytes_[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif kind == "repeat":
            bytes_[at:at] = bytes_[at : at + length]
        elif kind == "lose":
            del bytes_[at : at + length]
        elif kind == "fill":
            part = bytes_[at : at + length]
            bytes_[at : at + length] = bytes([draw(st.integers(0, 255))]) * len(part)
    return bytes(bytes_)


@contextmanager
def refused_in_a_paragraph(*names: object) -> Iterator[None]:
    """Context that may end in an error which a user can cause, and in no other.

    Args:
      *names: Texts of which the message must hold one: the file, the flag.
    """
    try:
        yield
    except (InputError, UsageError) as error:
        text = str(error)
        assert any(str(name) in text for name in names) or not names, text
        assert len(text) <= _MOST, f"{len(text)} characters: {text[:400]}"
        assert not any(line.strip() == "" for line in text.split("\n")), f"paragraphs: {text!r}"
        assert "Traceback" not in text
