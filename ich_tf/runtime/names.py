"""Names of files, and values that files hold, in texts: logs, CSV and JSON files, reports."""

from __future__ import annotations

import re
from typing import Any

# Of terminals, of lines, and those that turn the direction of writing (Unicode's bidi controls).
_NOT_SHOWN = r"\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
# A password may hold anything but white space and, unquoted, no slash.
_CREDENTIALS = re.compile(r"://[^\s/?#]*@")
_CONTROL = re.compile(rf"[\x00-\x1f{_NOT_SHOWN}]")
_CONTROL_IN_LINES = re.compile(rf"[\x00-\x08\x0b-\x1f{_NOT_SHOWN}]")
# File systems take 255; a class and an extension follow, and 38 of a file that is being written.
_MAX_BYTES = 170
# Parts of a path, and what Windows allows in no name.
_UNSAFE = re.compile(r'[/\\:*?"<>|]')
# Devices of Windows, whatever ending they have.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def printable(name: str) -> str:
    r"""A file's name as a line of text, with backslashes for what no text holds.

    Args:
      name: Name in which bytes that are not UTF-8 are surrogates, as `os.fsdecode` makes them.

    Examples:
      >>> print(printable("p\udce9re.dcm"), printable("two\nlines"), printable("père"))
      p\xe9re.dcm two\nlines père
    """
    return _printable(name, _CONTROL)


def printable_lines(text: str) -> str:
    r"""A text of several lines without control characters but tabs and the ends of lines.

    Examples:
      >>> print(printable_lines("a\x1b[2J\nb"))
      a\x1b[2J
      b
    """
    return _printable(text, _CONTROL_IN_LINES)


def shortened(text: str, most: int = 80) -> str:
    """A value that somebody gave, for a message: its beginning, if it is long.

    Examples:
      >>> shortened("abcdef", 3), shortened("abc", 3)
      ('abc...', 'abc')
    """
    return text if len(text) <= most else f"{text[:most]}..."


def shown_value(value: Any, most: int = 200) -> str:
    """A value of any type for a message, as Python writes it.

    Examples:
      >>> shown_value("a"), shown_value(10**5000)
      ("'a'", 'a number of very many digits')
    """
    try:
        return shortened(repr(value), most)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of very many digits"
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def without_credentials(text: str) -> str:
    """A text in which addresses have no user and password, such as errors of a tracker hold them.

    Examples:
      >>> without_credentials("401 of https://ada:pa55@host/x?a=b@c")
      '401 of https://…@host/x?a=b@c'
    """
    return _CREDENTIALS.sub("://…@", text)


def _printable(text: str, control: re.Pattern[str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # surrogates that stand for no byte of a name
        text = text.encode("utf-8", "backslashreplace").decode()
    return control.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def file_name(text: str) -> str:
    """An id, which is a stranger's text, as the beginning of a file's name.

    It stays in its folder, is no hidden file, no flag of a shell and no device of Windows.

    Args:
      text: The id.

    Examples:
      >>> file_name("1.2.840.3"), file_name("a/b"), file_name("../x"), file_name("-rf")
      ('1.2.840.3', 'a_b', '_.._x', '_-rf')
    """
    name = _UNSAFE.sub("_", printable(text)).encode()[:_MAX_BYTES].decode("utf-8", "ignore") or "_"
    return f"_{name}" if name[0] in "-." or _DEVICE.match(name) else name
