"""Errors that the server answers with."""

from __future__ import annotations

# Code of a full disk, and the reason of a file that it has no room for.
DISK_FULL = "DISK_FULL"


class Refused(Exception):  # noqa: N818 - an answer to a client
    """A request that is answered with an error.

    Attributes:
      status: HTTP status, 400 or more.
      code: Stable code for programs.
      message: Text for people: what was given, what was expected, what to do; never text of a
        file or a client.
      retry_after: Seconds after which to ask again; 0 for never.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def disk_full() -> Refused:
    """Makes the answer to what the server's disk has no room for."""
    return Refused(
        507,
        DISK_FULL,
        "the server's disk is full. Delete studies, or tell the person who runs it to free space.",
    )
