"""A file that comes over the network, on its way into the inbox."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import BinaryIO

from ich_tf.gateway.config import LimitsSection
from ich_tf.gateway.limits import MIB
from ich_tf.gateway.ports import Inbox, Refused

# Bytes between two looks at the free space of the disk.
_CHECK_BYTES = 64 * MIB
_BUFFER_BYTES = MIB


class SpoolFile:
    """Writes a file to the inbox's disk, or counts its bytes where it cannot be taken.

    A sender that is told of a refusal in the middle of a file would see a broken connection. So the
    rest is read and dropped, and `accept` raises what was wrong.

    Attributes:
      name: Path of the file, as text; `write`, `flush`, `close`, `name` and `file` are what
        pynetdicom needs of an object that it takes for a temporary file.
      refused: Reason why the file is not taken; None so far.
    """

    def __init__(self, inbox: Inbox, limits: LimitsSection, source: str) -> None:
        """Creates the file.

        Args:
          inbox: Inbox that the file is for.
          limits: `[limits]` of the config.
          source: `dimse`, `stow` or `poll`.
        """
        self._inbox, self._limits, self._source = inbox, limits, source
        self._path = inbox.spool_dir / f"{source}-{secrets.token_hex(8)}.dcm"
        self.name = str(self._path)
        self.refused: Refused | None = None
        self._num_bytes = self._checked = 0
        self._out: BinaryIO | None = None
        try:
            inbox.check_room()
            self._out = open(self._path, "xb", buffering=_BUFFER_BYTES)  # noqa: SIM115
        except Refused as error:
            self.refused = error
        except OSError as error:
            self._fail(error)

    @property
    def file(self) -> SpoolFile:
        """The file itself."""
        return self

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self._path

    def write(self, data: bytes) -> int:
        """Writes the next bytes, or drops them once the file is refused; never raises."""
        self._num_bytes += len(data)
        if self._out is None:
            return len(data)
        try:
            if self._num_bytes > self._limits.num_bytes("instance_mb"):
                raise Refused(
                    "TOO_LARGE",
                    f"a file has more than limits.instance_mb = {self._limits.instance_mb} MiB.",
                )
            if self._num_bytes > self._checked + _CHECK_BYTES:
                self._checked = self._num_bytes
                self._inbox.check_room()
            self._out.write(data)
        except Refused as error:
            self._refuse(error)
        except OSError as error:
            self._fail(error)
        return len(data)

    def flush(self) -> None:
        """Does nothing: a file is read once it is closed."""

    def close(self) -> None:
        """Closes the file."""
        if self._out is not None:
            out, self._out = self._out, None
            try:
                out.close()
            except OSError as error:
                self._fail(error)

    def accept(self) -> None:
        """Closes the file, and gives it to the inbox.

        Raises:
          Refused: If it is not taken.
        """
        self.close()
        if self.refused is not None:
            raise self.refused
        self._inbox.accept(self._path, self._source)

    def discard(self) -> None:
        """Closes the file, and deletes it where it still is."""
        if self._out is not None:
            # The last bytes of its buffer may find no room, and are not needed.
            out, self._out = self._out, None
            with contextlib.suppress(OSError):
                out.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _refuse(self, error: Refused) -> None:
        self.refused = error
        self.discard()

    def _fail(self, error: OSError) -> None:
        reason = error.strerror or type(error).__name__
        self._refuse(Refused("DISK_FULL", f"a file cannot be written ({reason})."))
