"""Addresses of machines, and paths of programs on them."""

from __future__ import annotations

import ipaddress
import re

_SUB_PATH = re.compile(r"(/[\w.~-]*[\w~-])+", re.ASCII)


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_sub_path(path: str) -> bool:
    """Whether a proxy can serve a program under a path.

    Examples:
      >>> is_sub_path("/ich"), is_sub_path("/ich/"), is_sub_path("//ich"), is_sub_path("/..")
      (True, False, False, False)
    """
    return _SUB_PATH.fullmatch(path) is not None
