"""Associations of the receiver, each with its limits.

pynetdicom greets a client of TLS in the thread that accepts all others. Here each connection has
its own thread from the first byte, and a watch looks at all of them.
"""

from __future__ import annotations

import logging
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pynetdicom import _config, dimse_messages, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from ich_tf.gateway.config import LimitsSection
from ich_tf.gateway.connection import Connection
from ich_tf.gateway.spool import SpoolFile
from ich_tf.runtime.rationed_log import RationedLog

_RATIONED = RationedLog(logging.getLogger(__name__))

# Largest message of data, as the receiver announces it.
MAX_PDU_BYTES = 65536
# Connections beyond limits.associations that are told so, before others are closed unheard.
_SPARE_CONNECTIONS = 8
# Time for associations to be aborted in order when the receiver ends.
_ABORT_SECONDS = 1.0


class _Handler(RequestHandler):
    """Binds each association to its connection."""

    server: AssociationServer

    def _create_association(self) -> Association:
        association = super()._create_association()
        self.server.connections[self.request].bind(association)
        return association


class AssociationServer(ThreadedAssociationServer):
    """Server whose connections have limits from their first byte.

    Attributes:
      connections: Socket -> connection.
      watch_seconds: Time from one look at the connections to the next.
    """

    watch_seconds = 0.25

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        entity: ApplicationEntity,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        handlers: list[evt.EventHandlerType],
        limits: LimitsSection,
        tls: ssl.SSLContext | None,
        new_file: Callable[[], SpoolFile],
    ) -> None:
        """Binds the address.

        Args:
          entity: Titles and limits of pynetdicom.
          address: Address and port to listen on.
          contexts: Classes and transfer syntaxes to accept.
          handlers: Handlers of its events.
          limits: `[limits]` of the config.
          tls: TLS of its connections; None for plain ones.
          new_file: Makes the file of a C-STORE request.

        Raises:
          OSError: If the address cannot be listened on.
        """
        # A file is written as it comes; in memory it would have no limit.
        _config.STORE_RECV_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"
        vars(dimse_messages)["NamedTemporaryFile"] = _store_file
        self.connections: dict[socket.socket, Connection] = {}
        self._limits, self._tls, self._new_file = limits, tls, new_file
        self._lock, self._is_closing = threading.Lock(), threading.Event()
        super().__init__(
            entity,
            address,
            entity.ae_title,
            contexts,
            evt_handlers=handlers,
            request_handler=_Handler,
        )
        self._watch = threading.Thread(target=self._watch_all, name="receiver-watch", daemon=True)
        self._watch.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection, and leaves the greeting of TLS to its thread."""
        assert self.socket is not None
        client, address = self.socket.accept()
        client.settimeout(self._limits.idle_seconds)
        if self._tls is not None:
            client = self._tls.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Says whether there is room for a connection."""
        most = self._limits.associations + _SPARE_CONNECTIONS
        if len(self.connections) >= most:
            self._check_all()  # a sender may open an association an image
        if len(self.connections) < most:
            return True
        _RATIONED.warning("receiver: connection of %s closed: too many at once", client_address[0])
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts the thread of a connection."""
        connection = Connection(str(client_address[0]), request, self._limits, self._new_file)
        with self._lock:
            self.connections[request] = connection
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Greets a client, and starts its association."""
        connection = self.connections[request]
        try:
            if self._tls is not None:
                request.do_handshake()
            self.finish_request(request, client_address)
        except (OSError, RuntimeError, ValueError) as error:  # no thread, or descriptor, is left
            connection.stop(_no_association(error))
            connection.has_failed = True
            self.shutdown_request(request)

    def service_actions(self) -> None:
        """Does nothing, where pynetdicom collects the garbage of the whole process."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs a connection that could not be served, where socketserver prints a traceback."""
        _RATIONED.warning("receiver: connection of %s cannot be served", client_address[0])

    def shutdown(self) -> None:
        """Ends the server and its associations."""
        BaseServer.shutdown(self)
        self.server_close()
        associations = self.active_associations
        for association in associations:
            association.abort(block=False)
        end = time.monotonic() + _ABORT_SECONDS
        for association in associations:
            association.join(max(0.0, end - time.monotonic()))
        with self._lock:
            for connection in self.connections.values():
                if not connection.check():
                    connection.stop("the receiver ends")
        self._is_closing.set()
        self._watch.join()

    def _check_all(self) -> None:
        with self._lock:
            ended = [key for key, each in self.connections.items() if each.check()]
            for key in ended:
                del self.connections[key]

    def _watch_all(self) -> None:
        while not self._is_closing.wait(self.watch_seconds):
            self._check_all()


def _store_file(**options: Any) -> Any:
    """Makes the file of a C-STORE request, in place of pynetdicom's temporary one.

    It is called in the thread that reads the connection.
    """
    reader = threading.current_thread()
    assert isinstance(reader, DULServiceProvider)
    connection = Connection.of(reader.assoc)
    if connection is not None:
        return connection.new_file()
    if reader.assoc.is_requestor:
        # Ends the association: who is sent results has nothing to store here.
        raise ConnectionAbortedError
    return tempfile.NamedTemporaryFile(**options)  # of another server of the process


def _no_association(error: Exception) -> str:
    """The reason why a connection has no association, without text that its client sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({error.reason or type(error).__name__})"
    if isinstance(error, TimeoutError):
        return "its TLS greeting took too long"
    return f"it cannot be served ({type(error).__name__})"
