"""What is published against packages of the lock files, and whether it reaches this project."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from tools.supply.locks import LockedPackage, read_toml

FILE = Path(__file__).with_name("advisories.toml")
STATES = {
    "not_affected": "no",
    "exploitable": "yes",
    "resolved": "no longer",
    "in_triage": "not known yet",
}


@dataclass(frozen=True)
class Advisory:
    """Advisories of one cause.

    Attributes:
      ids: Their numbers.
      package: Package that has the fault, or contains what has it.
      versions: Versions that have it, as PEP 440 has them.
      what: What the fault is.
      state: One of `STATES`, terms of CycloneDX.
      why: Why it does or does not reach this project.
      justification: The same in a term of CycloneDX; empty where it is reached.
    """

    ids: tuple[str, ...]
    package: str
    versions: str
    what: str
    state: str
    why: str
    justification: str = ""

    def covers(self, package: LockedPackage) -> bool:
        """Whether a version of a package has the fault."""
        return package.name == self.package and package.version in SpecifierSet(self.versions)


def read_advisories() -> tuple[list[Advisory], datetime.date]:
    """Reads the advisories, and the day on which the published lists were read."""
    content = read_toml(FILE)
    advisories = [Advisory(**{**each, "ids": tuple(each["ids"])}) for each in content["advisory"]]
    return advisories, content["read_on"]


def table(advisories: list[Advisory]) -> str:
    """The advisories as a Markdown table."""
    lines = ["| advisory | in | what | does it reach us? |", "| --- | --- | --- | --- |"]
    for each in advisories:
        ids = ", ".join(each.ids)
        reach = f"{STATES[each.state].capitalize()}. {each.why}"
        lines.append(f"| {ids} | {each.package} {each.versions} | {each.what} | {reach} |")
    return "\n".join(lines) + "\n"
