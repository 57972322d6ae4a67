"""Studies by DIMSE: C-STORE and C-ECHO (PS3.4 annexes A and B)."""

from __future__ import annotations

import logging
import socket
import threading

from pydicom.dataset import Dataset
from pynetdicom import AllStoragePresentationContexts, build_context, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from ich_tf.dicom import decoders
from ich_tf.errors import InputError
from ich_tf.gateway.associations import MAX_PDU_BYTES, AssociationServer
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.connection import Connection
from ich_tf.gateway.ports import Inbox, Refused
from ich_tf.gateway.spool import SpoolFile
from ich_tf.gateway.tls import server_context
from ich_tf.runtime.quiet import quiet_libraries
from ich_tf.runtime.rationed_log import RationedLog

_LOG = logging.getLogger(__name__)
_RATIONED = RationedLog(_LOG)

# Status of C-STORE by reason (PS3.4 B.2.3, PS3.7 annex C); others are out of resources.
_STATUS = {"NOT_DICOM": 0xC000, "NO_IDS": 0xC000, "NOT_CT": 0x0122}
_OUT_OF_RESOURCES = 0xA700
_NO_DATA_SET = 0xC000
# Length of an ErrorComment (PS3.7 annex C), value representation LO.
_COMMENT = 64
_UNCOMPRESSED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)


class Receiver:
    """Receives studies by C-STORE.

    Every storage class is negotiated: an archive that forwards a study with one class too many
    would else often send none of it. What is no CT is the inbox's to refuse or to drop.
    """

    name = "receiver"

    def __init__(self, config: GatewayConfig, inbox: Inbox) -> None:
        """Stores what it needs; `start` begins.

        Args:
          config: Config of the gateway.
          inbox: Takes the files.
        """
        quiet_libraries()
        self._config, self._inbox = config, inbox
        self._server: AssociationServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Port that it listens on, once it is started."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Starts to listen.

        Raises:
          InputError: If the address cannot be listened on, or a file of `[tls]` cannot be used.
        """
        section, limits = self._config.receiver, self._config.limits
        tls = server_context(self._config.tls, asks_clients=True) if section.tls else None
        entity = ApplicationEntity(section.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(section.calling_ae_titles)
        entity.maximum_associations = limits.associations
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.acse_timeout = entity.dimse_timeout = limits.idle_seconds
        # The connection's watch waits for the client. pynetdicom would count the time of its own
        # answer as the client's silence, and abort the association once a slow disk has answered.
        entity.network_timeout = None
        try:
            address = socket.getaddrinfo(section.host, section.port, type=socket.SOCK_STREAM)[0][4]
            server = AssociationServer(
                entity,
                (str(address[0]), int(address[1])),
                _contexts(),
                [(evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, self._rejected)],
                limits,
                tls,
                self._new_file,
            )
        except OSError as error:
            raise InputError(
                f"receiver.host and receiver.port are {section.host}:{section.port}, which cannot "
                f"be listened on ({error.strerror or error}). Choose another port, or end what "
                "holds it."
            ) from error
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name=self.name
        )
        self._server, self._thread.daemon = server, True
        self._thread.start()
        _LOG.info(
            "receiver: listens as %s on %s:%d%s",
            section.ae_title,
            section.host,
            self.port,
            ", TLS" if section.tls else "",
        )

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def problem(self) -> str:
        """Says why nothing can be received; empty while it can."""
        return "" if self.is_alive else "its thread does not run"

    def close(self) -> None:
        """Ends all associations. A file that was not acknowledged is forgotten."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()

    def _new_file(self) -> SpoolFile:
        return SpoolFile(self._inbox, self._config.limits, "dimse")

    def _store(self, event: evt.Event) -> Dataset:
        connection = Connection.of(event.assoc)
        assert connection is not None
        path = event.dataset_path if event.request._dataset_file else None
        file = connection.files.pop(str(path), None)
        if file is None:
            return _status(_NO_DATA_SET, "the request has no data set")
        try:
            with connection.answering():
                file.accept()
        except Refused as error:
            _RATIONED.warning("receiver: a file of %s refused: %s", connection.peer, error.text)
            return _status(_STATUS.get(error.reason, _OUT_OF_RESOURCES), error.reason)
        finally:
            file.discard()
        return _status(0x0000)

    def _rejected(self, event: evt.Event) -> None:
        request = event.assoc.requestor.primitive
        if request is None:
            return
        _RATIONED.warning(
            "receiver: association of %s rejected: calling AE title %r, called %r",
            event.assoc.requestor.address,
            request.calling_ae_title,
            request.called_ae_title,
        )


def _contexts() -> list[PresentationContext]:
    """The classes and transfer syntaxes to accept: those of CT files that are read here.

    An archive that is refused a syntax sends another.
    """
    compressed = [syntax for syntax in decoders.SYNTAXES if decoders.can_decode(syntax)]
    syntaxes = [*_UNCOMPRESSED, *compressed]
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    return [
        *(build_context(uid, syntaxes) for uid in classes),
        build_context(Verification, list(_UNCOMPRESSED)),
    ]


def _status(code: int, comment: str = "") -> Dataset:
    status = Dataset()
    status.Status = code
    if comment:
        status.ErrorComment = comment[:_COMMENT]
    return status
