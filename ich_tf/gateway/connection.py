"""A connection to the receiver, from its first byte to the end of its threads.

pynetdicom reads a message of any length, waits for the rest of one forever, and ends a thread with
a traceback at many a malformed one. So each connection has a meter that a watch looks at.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

from pynetdicom import evt
from pynetdicom.association import Association

from ich_tf.gateway.config import LimitsSection
from ich_tf.gateway.limits import MIB, Meter
from ich_tf.gateway.ports import Refused
from ich_tf.gateway.spool import SpoolFile
from ich_tf.runtime.rationed_log import RationedLog

_RATIONED = RationedLog(logging.getLogger(__name__))

# A request for an association names at most 128 presentation contexts (PS3.8 9.3.2), some 100 kB.
_MAX_READ_BYTES = MIB
# Commands have some 300 bytes.
_MAX_COMMAND_BYTES = 65536
# A client waits for each answer, since no asynchronous operations are negotiated.
_MAX_WAITING_MESSAGES = 16
_KEY = "ich_tf_connection"
_MESSAGES = ("C_STORE_RQ", "C_ECHO_RQ")


class Connection:
    """One connection, from its first byte to the end of its threads.

    Attributes:
      peer: Address of the client.
      files: Path -> file that came, or is coming.
      has_failed: Whether it ended before there was an association.
    """

    def __init__(
        self,
        peer: str,
        client: socket.socket,
        limits: LimitsSection,
        make_file: Callable[[], SpoolFile],
    ) -> None:
        """Starts the meter.

        Args:
          peer: Address of the client.
          client: Its socket.
          limits: `[limits]` of the config.
          make_file: Makes the file of a C-STORE request.
        """
        self._make_file = make_file
        self.peer, self.files = peer, dict[str, SpoolFile]()
        self.has_failed = False
        self._socket, self._meter = client, Meter(limits)
        self._association: Association | None = None
        self._is_stopped = self._is_answering = False

    @staticmethod
    def of(association: Association) -> Connection | None:
        """Returns the connection of an association; None if it is no receiver's."""
        connection: Connection | None = vars(association).get(_KEY)
        return connection

    def bind(self, association: Association) -> None:
        """Binds an association, whose messages are counted from now on."""
        self._association = association
        vars(association)[_KEY] = self
        association.bind(evt.EVT_DATA_RECV, self._on_pdu)
        association.bind(evt.EVT_DIMSE_RECV, self._on_message)
        for thread in (association, association.dul):
            thread.run = self._guarded(thread.run)  # type: ignore[method-assign]
        wire = association.dul.socket
        assert wire is not None
        read = wire.recv

        def recv(nr_bytes: int) -> bytearray:
            if nr_bytes > _MAX_READ_BYTES:
                self.stop(f"a message of {nr_bytes} bytes")
                raise ConnectionAbortedError
            return read(nr_bytes)

        wire.recv = recv  # type: ignore[method-assign]

    def new_file(self) -> SpoolFile:
        """Makes the file of a C-STORE request."""
        file = self._make_file()
        self.files[file.name] = file
        return file

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Context of the work at a request: its time is the gateway's, not the client's silence."""
        self._is_answering = True
        try:
            yield
        finally:
            self._meter.answered()
            self._is_answering = False

    def stop(self, reason: str) -> None:
        """Cuts the connection, and logs why; both threads of the association then end."""
        if self._is_stopped:
            return
        self._is_stopped = True
        _RATIONED.warning("receiver: connection of %s cut: %s", self.peer, reason)
        # That of an SSLSocket would take away the cipher under the reading thread.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def check(self) -> bool:
        """Cuts the connection if it takes too long. Returns whether all of it has ended."""
        association = self._association
        has_ended = self.has_failed or (
            association is not None
            and association.ident is not None
            and not association.is_alive()
            and not association.dul.is_alive()
        )
        if has_ended:
            for file in self.files.values():
                file.discard()
        elif not self._is_answering and (reason := self._meter.overdue()):
            self.stop(reason)
        return has_ended

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        """Wraps a thread's work: pynetdicom's end with a traceback at many a malformed message."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:
                self.stop(f"a message that cannot be understood ({type(error).__name__})")

        return guarded

    def _on_pdu(self, event: evt.Event) -> None:
        try:
            self._meter.took(len(event.data))
        except Refused as error:
            self.stop(error.text)
        dimse = event.assoc.dimse
        if dimse.msg_queue.qsize() > _MAX_WAITING_MESSAGES:
            self.stop("it sends without waiting for answers")
        message = dimse.message
        if message is not None and message.encoded_command_set.tell() > _MAX_COMMAND_BYTES:
            self.stop("a command without end")

    def _on_message(self, event: evt.Event) -> None:
        if type(event.message).__name__ not in _MESSAGES:
            self.stop("another request than C-STORE and C-ECHO")
