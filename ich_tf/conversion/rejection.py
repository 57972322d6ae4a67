"""An input that is left out, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rejection:
    """A line of quarantine.jsonl.

    Attributes:
      path: The input's name within the source folder.
      stage: `index`, `plan` or `execute`.
      reason: A stable reason code.
      message: What was found, and what was expected.
      sha256: Of the file, where it was read whole.
    """

    path: str
    stage: str
    reason: str
    message: str
    sha256: str = ""
