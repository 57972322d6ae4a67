"""Lock files: the packages that they hold, with versions, hashes and who asks for them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ich_tf.runtime.toml_text import parse_toml

ROOT = Path(__file__).resolve().parents[2]
# From what the wheel requires to what only tests and audits need: lock file -> what it is for.
LOCKS = {
    "requirements.lock": "the commands",
    "requirements-web.lock": "the page",
    "requirements-gateway.lock": "the gateway, and masks",
    "requirements-dev.lock": "tests, and the extras codecs, beam and dask",
    "requirements-docs.lock": "the documentation's site",
    "requirements-audit.lock": "lists of packages, and mutants",
}
PROJECT = "ich-tf"
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"^ +# +(?:via +)?(?!-)([A-Za-z0-9][A-Za-z0-9._-]*)", re.MULTILINE)


@dataclass(frozen=True)
class LockedPackage:
    """A package of a lock file, in one version.

    Attributes:
      name: Normalized name.
      version: Version.
      marker: Environments that it is for, as PEP 508 has them; empty for all.
      hashes: SHA-256 of the files that may be installed, hexadecimal.
      wanted_by: Names of the packages that require it; `ich-tf` is this project.
    """

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    wanted_by: frozenset[str]

    @property
    def purl(self) -> str:
        """Package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(path: Path) -> list[LockedPackage]:
    """Reads what `make lock` wrote.

    Args:
      path: Lock file.

    Raises:
      ValueError: If a package has no version or no hash.
    """
    packages: list[LockedPackage] = []
    text = path.read_text("utf-8").replace("\\\n", " ")
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        line = block.partition("\n")[0]
        if not line[:1].isalnum():
            continue
        requirement = Requirement(line.partition("--hash")[0])
        versions = [each.version for each in requirement.specifier if each.operator == "=="]
        hashes = tuple(_HASH.findall(line))
        if len(versions) != 1 or not hashes:
            raise ValueError(f"{path.name}: {requirement.name} is not locked")
        wanted_by = {canonicalize_name(name) for name in _VIA.findall(block)} - {"via"}
        packages.append(
            LockedPackage(
                canonicalize_name(requirement.name),
                versions[0],
                str(requirement.marker or ""),
                hashes,
                frozenset(wanted_by),
            )
        )
    return packages


def wheel_packages() -> set[str]:
    """Names of the packages that the wheel requires without an extra, directly or not."""
    required = names(project()["dependencies"])
    packages = read_lock(ROOT / "requirements.lock")
    while more := {each.name for each in packages if each.wanted_by & required} - required:
        required |= more
    return required


def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    content: dict[str, Any] = read_toml(ROOT / "pyproject.toml")["project"]
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file."""
    return parse_toml(path.read_text("utf-8"))


def names(requirements: Iterable[str]) -> set[str]:
    """Normalized names of requirements."""
    return {canonicalize_name(Requirement(each).name) for each in requirements}
