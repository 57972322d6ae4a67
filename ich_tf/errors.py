"""The errors a user can cause, and what each command's exit code says of them.

A message is one paragraph: what was given, what was expected, what to do.
"""

from __future__ import annotations


class InputError(ValueError):
    """The files given cannot be worked with. Commands exit with 1."""


class UsageError(ValueError):
    """The request itself is wrong, whatever the files hold. Commands exit with 2."""


class ConfigError(UsageError):
    """A field of a config has a value that it cannot take; the message names the field."""


class Terminated(Exception):  # noqa: N818 - no error: it was asked for
    """The process was told to end, and has saved what it could. Commands exit with 143."""


class DataError(InputError):
    """A file or folder of a conversion or run: missing, unfinished, damaged, another version."""
