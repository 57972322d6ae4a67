"""Errors that a user can cause, each with the exit code of a command that raises it.

A message is one paragraph: what was given, what was expected, what to do.
"""

from __future__ import annotations

from collections.abc import Mapping


class InputError(ValueError):
    """Input files that cannot be used. Commands exit with 1."""


class NothingToPredictError(InputError):
    """Files of which none is a slice that the model reads, or that is asked for.

    Attributes:
      reasons: Number of files and slices by the code of the reason why they are not.
    """

    def __init__(self, message: str, reasons: Mapping[str, int]) -> None:
        super().__init__(message)
        self.reasons = reasons


class UsageError(ValueError):
    """A request that is wrong, whatever the files hold. Commands exit with 2."""


class ConfigError(UsageError):
    """A config field with a value outside its range; the message names the field."""


class Terminated(Exception):  # noqa: N818 - a request, not an error
    """The process received SIGTERM and saved its progress. Commands exit with 143."""


class DataError(InputError):
    """A file of a conversion or run that is missing, unfinished, damaged or of another version."""
