"""What the gateway's parts ask of each other: an inbox, a destination, a service.

Texts of these errors are logged, shown and sent: they hold no name, id, date or UID of a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

# Source of an image that this gateway fetched; `dimse` and `stow` are those that were sent.
POLL = "poll"
# Reason of a refusal -> whether it is of this machine and moment, so that sending again may help.
REFUSALS = {
    "NOT_DICOM": False,
    "NOT_CT": False,
    "NO_IDS": False,
    "TOO_LARGE": False,
    "TOO_MANY_INSTANCES": False,
    "QUEUE_FULL": True,
    "DISK_FULL": True,
    "STATE": True,
}
# Reasons why results could not be sent.
SEND_FAILURES = (
    "UNREACHABLE",
    "TIMEOUT",
    "TLS",
    "DENIED",
    "REJECTED",
    "SERVER_ERROR",
    "BAD_ANSWER",
)


class Refused(Exception):  # noqa: N818 - an answer, not an error of this program
    """A file, or a study, that the gateway does not take.

    Attributes:
      reason: One of `REFUSALS`.
      text: Reason in words.
    """

    def __init__(self, reason: str, text: str) -> None:
        """Stores the reason.

        Args:
          reason: One of `REFUSALS`.
          text: Reason in words: what was given, what was expected, what to do.
        """
        assert reason in REFUSALS, reason
        super().__init__(text)
        self.reason, self.text = reason, text

    @property
    def may_be_sent_again(self) -> bool:
        """Whether the same file may be taken later."""
        return REFUSALS[self.reason]


class SendFailed(Exception):  # noqa: N818 - an answer, not an error of this program
    """Results that a destination did not take.

    Attributes:
      reason: One of `SEND_FAILURES`.
      text: Reason in words.
      is_final: Whether sending again cannot help.
    """

    def __init__(self, reason: str, text: str, *, is_final: bool) -> None:
        """Stores the reason.

        Args:
          reason: One of `SEND_FAILURES`.
          text: Reason in words.
          is_final: Whether sending again cannot help.
        """
        assert reason in SEND_FAILURES, reason
        super().__init__(text)
        self.reason, self.text, self.is_final = reason, text, is_final


class Inbox(Protocol):
    """Takes the files of studies. Its methods may be called from any thread."""

    @property
    def spool_dir(self) -> Path:
        """Folder in which a file is written before `accept`: on the disk of the studies."""

    def check_room(self) -> None:
        """Checks that another file can be taken, before it is received.

        Raises:
          Refused: If the disk is nearly full, or too many studies wait.
        """

    def accept(self, path: Path, source: str) -> None:
        """Takes a file, which is safe on the disk when this returns.

        A file that is here already, and a result that this gateway sent, are taken and dropped.

        Args:
          path: DICOM file (PS3.10) in `spool_dir`. It is moved from there, or deleted, whatever
            happens.
          source: Way by which it came: `dimse`, `stow` or `poll`.

        Raises:
          Refused: If it is not taken.
        """

    def missing(self, study_uid: str, patient_id: str, sop_uids: Sequence[str]) -> list[str]:
        """Chooses the instances of a study that never came, nor were sent by this gateway.

        Args:
          study_uid: StudyInstanceUID.
          patient_id: PatientID; empty for none.
          sop_uids: SOPInstanceUIDs that an archive holds.
        """


class Destination(Protocol):
    """Takes results: an archive."""

    @property
    def name(self) -> str:
        """Kind and address, for logs and pages, such as `C-STORE ARCHIVE@pacs:104`."""

    def send(self, files: Sequence[Path]) -> None:
        """Sends the results of one study; sending the same files again does no harm.

        Args:
          files: DICOM files (PS3.10).

        Raises:
          SendFailed: If not all of them were taken.
        """


class Service(Protocol):
    """A part that runs in threads of its own: the receiver, the poller, the worker."""

    @property
    def name(self) -> str:
        """Name for logs, health and metrics."""

    @property
    def is_alive(self) -> bool:
        """Whether its threads run; once started, only a restart mends it if they do not."""

    def start(self) -> None:
        """Starts the threads.

        Raises:
          InputError: If it cannot work, such as for a port that is taken.
        """

    def problem(self) -> str:
        """Says why it does not work at present; empty while it does."""

    def close(self) -> None:
        """Ends the threads; what was acknowledged stays safe."""
