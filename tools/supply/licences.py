"""Licences of the packages that are installed, and what they ask of who passes them on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from tools.supply.locks import LOCKS, PROJECT, ROOT, read_lock, wheel_packages

PERMISSIVE, BY_FILE, BY_LIBRARY, COPYLEFT, UNKNOWN = (
    "permissive",
    "copyleft of its own files",
    "copyleft of the library",
    "copyleft",
    "unknown",
)
# The first that is found in the licence's name, once alternatives and exceptions are gone.
_KINDS = (
    (COPYLEFT, r"AGPL|(?<!L)GPL|GNU (Affero )?General Public|EUPL|CC-BY-SA|SSPL"),
    (BY_LIBRARY, r"LGPL|GNU (Lesser|Library)"),
    (BY_FILE, r"MPL|Mozilla|EPL|Eclipse|CDDL"),
    (PERMISSIVE, r"MIT|BSD|Apache|ISC|PSF|Python Software|HPND|Zlib|Unlicense|CC0|0BSD|BSL|CNRI"),
)
# Licence files name what was built into a wheel: OpenCV's FFmpeg, NumPy's and SciPy's libgfortran.
_INSIDE = re.compile(r"GNU (?:LESSER |LIBRARY )?GENERAL PUBLIC LICENSE|\bL?GPL", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """Licence of an installed package.

    Attributes:
      name: Normalized name of the package.
      version: Its version.
      text: Name of its licence, as the package says it.
      kind: One of the kinds above.
      lock: First lock file that holds the package.
      is_wheels: Whether the wheel requires it, directly or not.
      names_gpl: Whether its licence files speak of the GPL or LGPL: for what was built into it, or
        as an alternative.
    """

    name: str
    version: str
    text: str
    kind: str
    lock: str
    is_wheels: bool
    names_gpl: bool


def installed_licences() -> list[Licence]:
    """Licences of all packages of the lock files that are installed beside this program."""
    first_lock: dict[str, str] = {}
    for lock in LOCKS:
        for package in read_lock(ROOT / lock):
            first_lock.setdefault(package.name, lock)
    of_wheel = wheel_packages()
    arguments = ["--from=mixed", "--format=json", "--with-system", "--with-license-file"]
    told = subprocess.run(
        [sys.executable, "-m", "piplicenses", *arguments],
        capture_output=True,
        check=True,
    )
    found = []
    for each in json.loads(told.stdout):
        name = canonicalize_name(each["Name"])
        if name == PROJECT or name not in first_lock:
            continue
        found.append(
            Licence(
                name,
                each["Version"],
                each["License"],
                kind_of(each["License"]),
                first_lock[name],
                name in of_wheel,
                bool(_INSIDE.search(each["LicenseText"])),
            )
        )
    return sorted(found, key=lambda licence: (not licence.is_wheels, licence.name))


def kind_of(text: str) -> str:
    """Kind of a licence by its name.

    Examples:
      >>> kind_of("Apache Software License"), kind_of("MPL-2.0 AND MIT"), kind_of("secret")
      ('permissive', 'copyleft of its own files', 'unknown')
      >>> kind_of("GPL-2.0-only OR MIT"), kind_of("LGPLv3+"), kind_of("GPL-3.0 WITH GCC-exception")
      ('permissive', 'copyleft of the library', 'copyleft')
    """
    # A choice is as free as the freest of its parts.
    kinds = [_kind(part) for part in re.split(r"\bOR\b", text)]
    order = (PERMISSIVE, BY_FILE, BY_LIBRARY, COPYLEFT, UNKNOWN)
    return min(kinds, key=order.index)


def _kind(text: str) -> str:
    return next((kind for kind, names in _KINDS if re.search(names, text)), UNKNOWN)


def table(licences: list[Licence]) -> str:
    """The licences as a Markdown table."""
    lines = [
        "| package | version | licence | kind | required by | licence files name the GPL |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in licences:
        wanted = "the wheel" if each.is_wheels else LOCKS[each.lock]
        inside = "yes" if each.names_gpl else ""
        text = each.text.replace("|", "\\|")
        lines.append(
            f"| {each.name} | {each.version} | {text} | {each.kind} | {wanted} | {inside} |"
        )
    return "\n".join(lines) + "\n"
