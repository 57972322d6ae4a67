"""Tracebacks of errors that cost a file and not the run, on request: the flag --debug.

The flag reaches every process that a command starts by an environment variable.
"""

from __future__ import annotations

import logging
import os

VARIABLE = "ICH_TF_DEBUG"


def start_debugging() -> None:
    """Has this process, and those that it starts from now on, log tracebacks."""
    os.environ[VARIABLE] = "1"


def is_debugging() -> bool:
    """Whether tracebacks are logged."""
    return bool(os.environ.get(VARIABLE))


def log_traceback(error: BaseException) -> None:
    """Logs the traceback of an error if that was asked for: it may quote what files hold."""
    if is_debugging():
        logging.getLogger(__name__).error("An error that nobody foresaw:", exc_info=error)
