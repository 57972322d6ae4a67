"""HTTP to an archive: bounded in bytes and time, and every failure with a reason."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from ich_tf.errors import InputError
from ich_tf.gateway.config import LimitsSection, TlsSection
from ich_tf.gateway.limits import MIB
from ich_tf.gateway.request_watch import RequestWatch
from ich_tf.gateway.tls import client_context
from ich_tf.runtime.permissions import check_secret_file
from ich_tf.runtime.quiet import quiet_libraries

# Longest answer that is no image: the instances of a study, as JSON, have some 2 kB each.
_MAX_ANSWER_BYTES = 64 * MIB
# Statuses that say that a request is wrong, whenever it is sent (RFC 9110, PS3.18 10.5.3).
_FINAL = (400, 406, 409, 411, 413, 414, 415, 422)


class ArchiveError(Exception):
    """An archive that did not do what it was asked.

    Attributes:
      reason: One of `ports.SEND_FAILURES`.
      text: Reason in words.
      is_final: Whether asking again cannot help.
    """

    def __init__(self, reason: str, text: str, *, is_final: bool = False) -> None:
        """Stores the reason.

        Args:
          reason: One of `ports.SEND_FAILURES`.
          text: Reason in words.
          is_final: Whether asking again cannot help.
        """
        super().__init__(text)
        self.reason, self.text, self.is_final = reason, text, is_final


class Answer:
    """An answer whose body is still to come.

    Attributes:
      status: Status of HTTP, 2xx.
      content_type: Content-Type of the body.
    """

    def __init__(self, response: httpx.Response, end: float) -> None:
        """Stores the response.

        Args:
          response: Response of httpx.
          end: Time of `time.monotonic` at which its body has to be complete.
        """
        self._response, self._end = response, end
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "")

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes."""
        if self._response.headers.get("content-encoding", "identity") != "identity":
            raise ArchiveError("BAD_ANSWER", "the archive sent a compressed answer unasked.")
        for piece in self._response.iter_raw():
            if time.monotonic() > self._end:
                raise ArchiveError("TIMEOUT", "the archive's answer takes too long.")
            yield piece

    def read(self) -> bytes:
        """The whole body of an answer that is no image."""
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > _MAX_ANSWER_BYTES:
                raise ArchiveError("BAD_ANSWER", "the archive's answer is too long.")
        return bytes(body)


class Archive:
    """HTTP client of one archive.

    Proxies and certificates that the environment names are not used: patients' data go where the
    config says, and nowhere else.
    """

    def __init__(
        self, url: str, token_file: str, timeout: float, tls: TlsSection, limits: LimitsSection
    ) -> None:
        """Opens nothing yet.

        Args:
          url: Root of the archive's DICOMweb.
          token_file: File of the token to send, read at each request; empty for none. A value of
            two words, such as `Basic dXNlcjpwYXNz`, is sent as it is.
          timeout: Longest time without a byte, s.
          tls: `[tls]` of the config.
          limits: `[limits]` of the config.

        Raises:
          InputError: If a file of `[tls]` cannot be used.
        """
        quiet_libraries()
        self._url, self._token_file, self._timeout = url.rstrip("/"), token_file, timeout
        self._limits = limits
        self._wires: set[socket.socket] = set()
        self._client = httpx.Client(
            verify=client_context(tls),
            timeout=httpx.Timeout(timeout),
            follow_redirects=False,
            trust_env=False,
            headers={"accept-encoding": "identity", "user-agent": "ich_tf"},
        )

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Iterable[bytes] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Iterator[Answer]:
        """Sends a request, and gives the answer while the block lasts.

        Args:
          method: Method of HTTP.
          path: Path below the root, such as `/studies`.
          headers: Headers beside those of every request.
          body: Body, in pieces; None for none.
          params: Parameters of the query.

        Raises:
          ArchiveError: If there is no answer of status 2xx, or none in time.
        """
        seconds = 60 * self._limits.association_minutes
        end = time.monotonic() + seconds
        headers = {**headers, **self._authorization()}
        watch = RequestWatch(self._wires, seconds)
        try:
            with (
                watch,
                self._client.stream(
                    method,
                    self._url + path,
                    headers=headers,
                    content=body,
                    params=params,
                    extensions={"trace": watch.on_event},
                ) as response,
            ):
                self._check(response)
                yield Answer(response, end)
        except httpx.TransportError as error:
            if watch.is_cut:
                raise ArchiveError("TIMEOUT", "the archive's answer takes too long.") from error
            raise self._failure(error) from error

    def _authorization(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        try:
            check_secret_file(self._token_file, "token_file")
            token = Path(self._token_file).read_text("utf-8").strip()
        except InputError as error:
            raise ArchiveError("DENIED", str(error)) from error
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ArchiveError(
                "DENIED", f"token_file {self._token_file} cannot be read ({reason})."
            ) from error
        if not token.isascii() or not token.isprintable() or not token:
            raise ArchiveError(
                "DENIED", f"token_file {self._token_file} does not hold one line of ASCII."
            )
        return {"authorization": token if " " in token else f"Bearer {token}"}

    def _failure(self, error: httpx.TransportError) -> ArchiveError:
        if isinstance(error, httpx.TimeoutException):
            return ArchiveError(
                "TIMEOUT", f"the archive did not answer within {self._timeout:g} s."
            )
        return _failure(error)

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        said = f"the archive answered {status}"
        if status in (401, 403, 407):
            raise ArchiveError("DENIED", f"{said}; check token_file and the archive's rules.")
        if status in (408, 429) or status >= 500:
            raise ArchiveError("SERVER_ERROR", f"{said}.")
        if status in _FINAL:
            raise ArchiveError("REJECTED", f"{said}: it does not take this.", is_final=True)
        raise ArchiveError("BAD_ANSWER", f"{said}; check the address {self._url}.")


def _failure(error: httpx.TransportError) -> ArchiveError:
    """The reason of a connection that failed; its own text may hold an address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ArchiveError(
                "TLS", f"the archive's certificate is refused ({cause.verify_message})."
            )
        if isinstance(cause, ssl.SSLError):
            return ArchiveError("TLS", f"no TLS connection ({cause.reason or 'unknown reason'}).")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        return ArchiveError("UNREACHABLE", "the archive cannot be reached.")
    return ArchiveError("BAD_ANSWER", f"the connection broke ({type(error).__name__}).")
