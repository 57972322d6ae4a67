"""Checks of addresses and titles in a gateway's config."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from ich_tf.errors import ConfigError
from ich_tf.runtime.addresses import is_loopback
from ich_tf.runtime.options import require

# A title of DIMSE (PS3.5, table 6.2-1, value representation AE).
_MAX_TITLE = 16
# Names with underscores are no names of the internet, and are common in hospitals and containers.
_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_EXPECTED_URL = "an address such as https://pacs/dicom-web"


def check_host(name: str, host: str) -> None:
    """Checks a name or an address of a machine; a library that is given another raises anything."""
    require(_is_host(host), name, host, "a name or an address of a machine, such as 127.0.0.1")


def check_listening(host: str, *, is_safe: bool) -> None:
    """Checks an address to listen on: others than loopback must be protected."""
    check_host("host", host)
    require(is_safe or is_loopback(host), "host", host, plain_advice(host))


def plain_advice(host: str) -> str:
    """What is expected of an address that is reached without protection."""
    return (
        f"of this machine (127.0.0.1), or protected: {host} is reached over the network, so set "
        "tls = true, or allow_plain = true where the network itself is protected"
    )


def check_title(name: str, title: str) -> None:
    """Checks an AE title; spaces around it have no meaning and are easily overlooked."""
    require(isinstance(title, str), name, title, "a text in quotes")
    is_title = title == title.strip() and 0 < len(title) <= _MAX_TITLE and "\\" not in title
    is_title = is_title and title.isascii() and title.isprintable()
    require(is_title, name, title, f"1 to {_MAX_TITLE} ASCII characters without backslash")


def check_url(name: str, url: str, *, allow_plain: bool, needed_by: str = "") -> None:
    """Checks an address of HTTP: without secrets in it, and not plain over the network.

    Args:
      name: Name of the option.
      url: The address.
      allow_plain: Whether HTTP without TLS may leave this machine.
      needed_by: What else takes an address, where an empty text is none.
    """
    require(bool(url) or not needed_by, name, url, f"{_EXPECTED_URL}, since {needed_by}")
    # Not `require` at first, which would print a password.
    try:
        parts = urlsplit(url)
        is_url = parts.port != 0
    except ValueError as error:  # brackets without an end, or a port that is no number
        raise ConfigError(f"{name} is no address: {_EXPECTED_URL} is expected.") from error
    if parts.username or parts.password:
        raise ConfigError(f"{name} holds a user or password; put a token into token_file.")
    is_url = is_url and url.isascii() and url.isprintable() and " " not in url
    is_url = is_url and parts.scheme in ("http", "https") and _is_host(parts.hostname or "")
    is_url = is_url and not parts.query and not parts.fragment
    require(is_url, name, url, _EXPECTED_URL)
    is_safe = parts.scheme == "https" or allow_plain or is_loopback(parts.hostname or "")
    require(is_safe, name, url, "https, or of this machine, or given with allow_plain = true")


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _NAME.fullmatch(host) is not None
    return True
