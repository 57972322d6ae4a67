"""Tracebacks: of errors that cost a file and not the run, on request; and without what they quote.

The flag --debug reaches every process that a command starts by an environment variable. Set to
`full` by hand, it shows the text of errors as it is: for data that are nobody's secret.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any, TextIO

from ich_tf.runtime.names import printable, printable_lines
from ich_tf.runtime.scrubbing import scrubbed_traceback

VARIABLE = "ICH_TF_DEBUG"
_FULL = "full"
# Libraries whose warnings quote no file.
_OF_NUMBERS = {"keras", "numpy", "scipy", "tensorflow", "tensorflow_addons", "tf_keras"}
_HINT = (
    f"(… stands for what an error quotes, which may be a patient's; {VARIABLE}={_FULL} in the "
    "environment shows it.)\n"
)


def start_debugging() -> None:
    """Has this process, and those that it starts from now on, log tracebacks."""
    if os.environ.get(VARIABLE) != _FULL:
        os.environ[VARIABLE] = "1"


def is_debugging() -> bool:
    """Whether tracebacks are logged."""
    return bool(os.environ.get(VARIABLE))


def log_traceback(error: BaseException) -> None:
    """Logs the traceback of an error, without what it quotes, if that was asked for."""
    if not is_debugging():
        return
    log = logging.getLogger(__name__)
    record = log.makeRecord(
        log.name, logging.ERROR, __file__, 0, "An error that nobody foresaw:", (), None
    )
    # Any formatter puts this after the message, and none makes a traceback of its own.
    record.exc_text = traceback_text(error).rstrip()
    log.handle(record)


def traceback_text(error: BaseException) -> str:
    """Traceback of an error as this process may show it, ending in a new line."""
    if os.environ.get(VARIABLE) == _FULL:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = scrubbed_traceback(error)
    return text + _HINT if "…" in text else text


def print_traceback(error: BaseException) -> None:
    """Prints the traceback of an error on stderr."""
    print(printable_lines(traceback_text(error)), end="", file=sys.stderr)


def scrub_tracebacks() -> None:
    """Has Python itself print tracebacks and warnings of this process without what they quote."""
    sys.excepthook = _print_uncaught
    threading.excepthook = _print_of_thread
    sys.unraisablehook = _print_unraisable
    warnings.showwarning = _show_warning


def _print_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print_traceback(error)


def _print_of_thread(ended: Any) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        name = ended.thread.name if ended.thread else "?"
        print(f"Exception in thread {name}:", file=sys.stderr)
        print_traceback(ended.exc_value)


def _print_unraisable(unraisable: Any) -> None:
    # The object is not named: its `repr` may hold anything.
    if unraisable.exc_value is not None:
        print("Exception ignored:", file=sys.stderr)
        print_traceback(unraisable.exc_value)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning; its text only where it is of a library that meets numbers alone."""
    # Of the library, not of a folder that environments lie in.
    library = filename.rpartition(f"{os.sep}site-packages{os.sep}")[2].partition(os.sep)[0]
    is_shown = os.environ.get(VARIABLE) == _FULL or library in _OF_NUMBERS
    text = printable(str(message)) if is_shown else "…"
    print(f"{filename}:{lineno}: {category.__name__}: {text}", file=file or sys.stderr)
