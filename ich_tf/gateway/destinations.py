"""Results to an archive, by C-STORE or STOW-RS."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association

from ich_tf.gateway.archive import Archive, ArchiveError
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.dicomweb import store
from ich_tf.gateway.ports import Destination, SendFailed
from ich_tf.gateway.requestor import keep_answers
from ich_tf.gateway.tls import client_context
from ich_tf.runtime.quiet import quiet_libraries

_LOG = logging.getLogger(__name__)

# Statuses of C-STORE (PS3.4 B.2.3, PS3.7 annex C): stored, with warnings, stored before.
_STORED = (0x0000, 0xB000, 0xB006, 0xB007, 0x0111)
_NOT_AUTHORIZED = 0x0124
_CLASS_NOT_SUPPORTED, _INVALID = 0x0122, 0x0117
# From here on, the archive says that the object itself is wrong; below, that it has no room.
_WRONG_OBJECT = 0xA900
_REJECTED_FOR_GOOD = 0x01


def make_destination(config: GatewayConfig) -> Destination | None:
    """Makes the destination of `[destination]`; None if results are not sent.

    Args:
      config: Config of the gateway.

    Raises:
      InputError: If a file of `[tls]` cannot be used.
    """
    kind = config.destination.kind
    if kind == "dimse":
        return DimseDestination(config)
    return DicomWebDestination(config) if kind == "dicomweb" else None


class DicomWebDestination:
    """Sends results by STOW-RS."""

    def __init__(self, config: GatewayConfig) -> None:
        """Opens nothing yet.

        Args:
          config: Config of the gateway.

        Raises:
          InputError: If a file of `[tls]` cannot be used.
        """
        section = config.destination
        self.name = f"STOW-RS {section.url}"
        self._archive = Archive(
            section.url, section.token_file, section.timeout_seconds, config.tls, config.limits
        )

    def send(self, files: Sequence[Path]) -> None:
        """Sends the results of one study.

        Args:
          files: DICOM files (PS3.10).

        Raises:
          SendFailed: If not all of them were taken.
          OSError: If a file cannot be read.
        """
        try:
            store(self._archive, files)
        except ArchiveError as error:
            raise SendFailed(error.reason, error.text, is_final=error.is_final) from error


class _Watch:
    """Limits the time of an association: pynetdicom would wait forever within a message."""

    def __init__(self, idle_seconds: float, seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True
        self._wire: socket.socket | None = None

    def begin(self, event: evt.Event) -> None:
        """Begins with a connection."""
        wire = event.assoc.dul.socket
        if wire is not None and wire.socket is not None:
            self._wire = wire.socket
            self._wire.settimeout(self._idle_seconds)
            self._timer.start()

    def end(self) -> None:
        """Ends with the association."""
        self._timer.cancel()

    def _cut(self) -> None:
        if self._wire is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


class _Object(NamedTuple):
    """A file to send, with what has to be negotiated for it."""

    path: Path
    sop_class: UID
    syntax: UID


class DimseDestination:
    """Sends results by C-STORE, a study an association."""

    def __init__(self, config: GatewayConfig) -> None:
        """Opens nothing yet.

        Args:
          config: Config of the gateway.

        Raises:
          InputError: If a file of `[tls]` cannot be used.
        """
        quiet_libraries()
        section = config.destination
        self._section, self._limits = section, config.limits
        self._tls = client_context(config.tls) if section.tls else None
        self.name = f"C-STORE {section.ae_title}@{section.host}:{section.port}"

    def send(self, files: Sequence[Path]) -> None:
        """Sends the results of one study.

        Args:
          files: DICOM files (PS3.10).

        Raises:
          SendFailed: If not all of them were taken.
          OSError: If a file cannot be read.
        """
        objects = [_read_meta(path) for path in files]
        watch = _Watch(self._section.timeout_seconds, 60 * self._limits.association_minutes)
        failures: list[SendFailed] = []
        try:
            association = self._associate(objects, watch)
            for each in objects:
                failure = self._send_one(association, each)
                if failure is not None:
                    failures.append(failure)
                if not association.is_established:
                    break
            if association.is_established:
                association.release()
        finally:
            watch.end()
        # What may be better next time comes first: only then is the study sent again.
        for failure in sorted(failures, key=lambda failure: failure.is_final):
            raise failure

    def _associate(self, objects: Sequence[_Object], watch: _Watch) -> Association:
        section = self._section
        entity = ApplicationEntity(section.calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = section.timeout_seconds
        entity.network_timeout = entity.connection_timeout = section.timeout_seconds
        # Each syntax in a context of its own: an archive accepts one a context (PS3.8 9.3.3.2). The
        # last is what every archive accepts (PS3.5 10.1), into which uncompressed files are turned.
        wanted = {(each.sop_class, each.syntax): None for each in objects}
        wanted.update({(each.sop_class, ImplicitVRLittleEndian): None for each in objects})
        try:
            association = entity.associate(
                section.host,
                section.port,
                [build_context(sop_class, syntax) for sop_class, syntax in wanted],
                section.ae_title,
                tls_args=(self._tls, section.host) if self._tls else None,
                evt_handlers=[(evt.EVT_CONN_OPEN, watch.begin)],
            )
        except OSError as error:  # the host's name is unknown
            raise SendFailed(
                "UNREACHABLE", f"{self.name} cannot be reached ({_text(error)}).", is_final=False
            ) from error
        if association.is_established:
            keep_answers(association)
            return association
        raise self._not_associated(association)

    def _send_one(self, association: Association, each: _Object) -> SendFailed | None:
        try:
            status = association.send_c_store(each.path)
        except (ValueError, RuntimeError, AttributeError) as error:
            if not association.is_established:
                return self._broken()
            if isinstance(error, ValueError):
                return SendFailed(
                    "REJECTED",
                    f"{self.name} does not take {each.sop_class.name}; allow it there.",
                    is_final=True,
                )
            raise
        if "Status" not in status:
            return self._broken()
        return self._failure(status, each)

    def _failure(self, status: Dataset, each: _Object) -> SendFailed | None:
        code = int(status.Status)
        if code in _STORED:
            return None
        said = f"{self.name} answered {code:04X} to {each.sop_class.name}"
        if code == _NOT_AUTHORIZED:
            return SendFailed("DENIED", f"{said}: not authorised.", is_final=False)
        if code >= _WRONG_OBJECT or code in (_CLASS_NOT_SUPPORTED, _INVALID):
            return SendFailed("REJECTED", f"{said}: it does not take it.", is_final=True)
        return SendFailed("SERVER_ERROR", f"{said}.", is_final=False)

    def _broken(self) -> SendFailed:
        return SendFailed(
            "BAD_ANSWER",
            f"{self.name} broke the association, or did not answer within "
            f"{self._section.timeout_seconds:g} s.",
            is_final=False,
        )

    def _not_associated(self, association: Association) -> SendFailed:
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            is_lasting = answer.result == _REJECTED_FOR_GOOD
            titles = f"called {self._section.ae_title}, calling {self._section.calling_ae_title}"
            return SendFailed(
                "DENIED" if is_lasting else "SERVER_ERROR",
                f"{self.name} rejects the association ({answer.reason_str}; {titles}).",
                is_final=False,
            )
        if answer is not None:
            return SendFailed(
                "REJECTED", f"{self.name} takes none of the objects; allow them there.",
                is_final=True,
            )  # fmt: skip
        return self._unreachable()

    def _unreachable(self) -> SendFailed:
        """Connects once more: pynetdicom does not say why it could not."""
        section = self._section
        try:
            with socket.create_connection(
                (section.host, section.port), section.timeout_seconds
            ) as plain:
                if self._tls is not None:
                    self._tls.wrap_socket(plain, server_hostname=section.host).close()
        except ssl.SSLError as error:
            return SendFailed(
                "TLS", f"{self.name}: no TLS connection ({_text(error)}).", is_final=False
            )
        except TimeoutError:
            return SendFailed("TIMEOUT", f"{self.name} does not answer.", is_final=False)
        except OSError as error:
            return SendFailed(
                "UNREACHABLE", f"{self.name} cannot be reached ({_text(error)}).", is_final=False
            )
        reason, also = "TIMEOUT", ""
        if self._tls is not None:
            # TLS 1.3 tells a client that its certificate is refused after its own greeting.
            reason, also = "TLS", ", or refuses tls.certificate_file"
        return SendFailed(
            reason,
            f"{self.name} does not answer the request for an association{also}.",
            is_final=False,
        )


def _read_meta(path: Path) -> _Object:
    try:
        meta = read_file_meta_info(path)
        return _Object(path, UID(meta.MediaStorageSOPClassUID), UID(meta.TransferSyntaxUID))
    except (InvalidDicomError, AttributeError) as error:
        raise SendFailed(
            "REJECTED", f"{path.name} is no DICOM file with meta information.", is_final=True
        ) from error


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or "unknown reason"
    return error.strerror or type(error).__name__
