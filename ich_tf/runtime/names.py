"""Names of files in texts: logs, CSV and JSON files, reports."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(name: str) -> str:
    r"""A file's name as a line of text, with backslashes for what no text holds.

    Args:
      name: Name in which bytes that are not UTF-8 are surrogates, as `os.fsdecode` makes them.

    Examples:
      >>> print(printable("p\udce9re.dcm"), printable("two\nlines"), printable("père"))
      p\xe9re.dcm two\nlines père
    """
    if name.isascii() and name.isprintable():
        return name
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
