"""Tracebacks without values: where an error was raised, and what of its text stands in the code.

An error's text quotes what it met: pydicom the value of an element, Python the text that is no
number, the operating system a path. A text is shown as far as it is made of literals of the code
that raised it, with … for everything else: what a file holds can then be in a traceback only
where the code says the same. Frames are shown with lines of the code and without variables.
"""

from __future__ import annotations

import errno
import re
import traceback
from types import TracebackType

# Errors whose text names modules and variables of the code alone.
_OF_CODE = (ImportError, NameError)
# Errors of these libraries tell of shapes, devices and operations, and meet images alone.
_OF_NETWORKS = ("tensorflow", "keras", "tf_keras")
_LEAST_LITERAL = 4
_PLACEHOLDER = re.compile(r"%\(\w+\)[#0\- +]*[\d.*]*[a-zA-Z]|%[#0\- +]*[\d.*]*[a-zA-Z]|\{[^{}]*\}")
_LETTERS = re.compile(r"[A-Za-z]{2}")
_MOST_ERRORS = 16


def scrubbed_traceback(error: BaseException) -> str:
    """Traceback of an error and of those that led to it, without values, ending in a new line.

    Examples:
      >>> try:
      ...     int("nhoJ^eoD"[::-1])
      ... except ValueError as error:
      ...     print(scrubbed_traceback(error).splitlines()[-1])
      ValueError: …
    """
    parts: list[str] = []
    seen: set[int] = set()
    _add(error, parts, seen)
    return "".join(parts)


def scrubbed_text(error: BaseException) -> str:
    """Type of an error, and what of its text stands in the code that raised it, in a line."""
    name = type(error).__name__
    if isinstance(error, SystemExit):
        return name
    text = _text(error)
    return f"{name}: {text}" if text else name


def _add(error: BaseException, parts: list[str], seen: set[int]) -> None:
    """Adds the lines of an error, after those of its cause or context."""
    if id(error) in seen or len(seen) >= _MOST_ERRORS:
        return
    seen.add(id(error))
    trace = getattr(error, "trace", None)
    if isinstance(error, RemoteTraceback) and isinstance(trace, str):
        parts.append(trace)
        return
    before, between = error.__cause__, "The above exception was the direct cause of this one:"
    if before is None and not error.__suppress_context__:
        before, between = error.__context__, "During its handling, another exception occurred:"
    if before is not None and id(before) not in seen:
        _add(before, parts, seen)
        parts.append(f"\n{between}\n\n")
    if error.__traceback__ is not None:
        parts.append("Traceback (most recent call last):\n")
        parts += traceback.format_tb(error.__traceback__)
    parts.append(f"{scrubbed_text(error)}\n")
    # Of an ExceptionGroup, as servers raise it.
    for member in getattr(error, "exceptions", ()):
        if isinstance(member, BaseException):
            _add(member, parts, seen)


class RemoteTraceback(Exception):  # noqa: N818 - the cause that a traceback shows
    """Traceback of an error in another process, which has scrubbed it.

    Attributes:
      trace: Lines of the traceback.
    """

    def __init__(self, trace: str) -> None:
        super().__init__(f"\n{trace}")
        self.trace = trace


def _text(error: BaseException) -> str:
    if isinstance(error, OSError):
        # Without the path, which may be a patient's name.
        name = errno.errorcode.get(error.errno or 0, "")
        return f"{name} {error.strerror}" if name and error.strerror else "…"
    try:
        text = str(error)
    # Of another library, with a method of its own.
    except Exception:
        return "…"
    module = type(error).__module__.partition(".")[0]
    if isinstance(error, _OF_CODE) or module in _OF_NETWORKS:
        return text
    return _of_literals(text, _literals(error.__traceback__))


def _literals(trace: TracebackType | None) -> set[str]:
    """Pieces of text in the code of the frames of a traceback."""
    pieces: set[str] = set()
    while trace is not None:
        for constant in trace.tb_frame.f_code.co_consts:
            if isinstance(constant, str):
                pieces.update(_PLACEHOLDER.split(constant))
        trace = trace.tb_next
    return {piece for piece in pieces if len(piece) >= _LEAST_LITERAL and _LETTERS.search(piece)}


def _of_literals(text: str, literals: set[str]) -> str:
    """A text in which … stands for what is no literal."""
    is_shown = [False] * len(text)
    for literal in literals:
        place = text.find(literal)
        while place >= 0:
            is_shown[place : place + len(literal)] = [True] * len(literal)
            place = text.find(literal, place + 1)
    return re.sub(
        "\0+", "…", "".join(c if shown else "\0" for c, shown in zip(text, is_shown, strict=True))
    )
