"""Mutants that no test noticed, and those of them that tests/mutants.md explains."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_MODULE = re.compile(r"## `(?P<module>\S+\.py)`")
_FUNCTION = re.compile(r"`(?P<function>[^`]+)`:")


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test noticed.

    Attributes:
      module: Path of the module from the root of the checkout.
      function: Name of the function or method.
      change: Lines that the mutant takes away (`- ...`) and puts there (`+ ...`), without their
        indentation.
    """

    module: str
    function: str
    change: tuple[str, ...]

    @classmethod
    def of_diff(cls, module: str, function: str, diff: str) -> Survivor:
        """The mutant of a unified diff of its function."""
        lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
        return cls(module, function, _changes(lines))

    def replaces(self, old: str, new: str) -> bool:
        """Whether the mutant is one line with `new` in the place of one `old`."""
        if [line[:1] for line in self.change] != ["-", "+"]:
            return False
        before, after = (line[2:] for line in self.change)
        return any(
            before[: at.start()] + new + before[at.end() :] == after
            for at in re.finditer(re.escape(old), before)
        )

    def text(self) -> str:
        """The mutant as it is explained in tests/mutants.md."""
        return "\n".join([f"{self.module}: `{self.function}`", "```diff", *self.change, "```"])


@dataclass(frozen=True)
class Explained:
    """Mutants that a page explains.

    Attributes:
      mutants: Mutants by module, function and change.
      everywhere: Pieces of a line, and what a mutant may put in their place wherever they are.
    """

    mutants: frozenset[Survivor]
    everywhere: tuple[tuple[str, str], ...]

    def __contains__(self, survivor: Survivor) -> bool:
        return survivor in self.mutants or any(
            survivor.replaces(old, new) for old, new in self.everywhere
        )


def read_explained(path: Path) -> Explained:
    """Mutants that a page explains.

    Below a heading that names a module, each block of a diff shows one mutant or, with an empty
    line between them, several. A line before the block begins with their function, in
    backticks and with a colon. What
    stands above the first module holds everywhere.
    """
    explained: set[Survivor] = set()
    module = function = ""
    block: list[str] | None = None
    for line in path.read_text("utf-8").splitlines():
        heading = _MODULE.fullmatch(line)
        if heading:
            module = heading["module"]
        elif line == "```diff":
            block = []
        elif line == "```" and block is not None:
            for text in "\n".join(block).split("\n\n"):
                explained.add(Survivor(module, function, _changes(text.splitlines())))
            block = None
        elif block is not None:
            block.append(line)
        elif named := _FUNCTION.match(line):
            function = named["function"]
    everywhere = sorted(
        (mutant.change[0][2:], mutant.change[1][2:]) for mutant in explained if not mutant.module
    )
    return Explained(frozenset(one for one in explained if one.module), tuple(everywhere))


def _changes(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        f"{line[0]} {line[1:].strip()}" for line in lines if line[:1] in "+-" and line[1:].strip()
    )
