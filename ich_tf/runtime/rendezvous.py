"""Waiting until every host of a run is there.

TensorFlow waits by itself, but without a word, deaf to signals, and for up to an hour.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence

from ich_tf.errors import InputError, Terminated, UsageError

_LOG = logging.getLogger(__name__)
WAIT_SECONDS = 1800.0
_SAY_EVERY = 60.0
_PAUSE = 0.5
_CONNECT_SECONDS = 2.0
_BACKLOG = 1024


def wait_for_all(
    own: str,
    others: Sequence[str],
    is_stopped: Callable[[], bool] = lambda: False,
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Returns once every other process answers at its address, here or in what it does next.

    Until then this process answers at its own, which is free again afterwards.

    Args:
      own: `host:port` of this process; only the port is used.
      others: Those of the others.
      is_stopped: Asked twice a second, whether to give up.
      wait_seconds: When to give up anyway.

    Raises:
      InputError: If someone was not there in time.
      Terminated: If it was stopped.
      UsageError: If the port is not free.
    """
    missing = list(others)
    began = said = time.monotonic()
    with _listener(own):
        missing = [address for address in missing if not _answers(address)]
        if missing:
            _LOG.info("waits for %s, at most %.0f minutes", ", ".join(missing), wait_seconds / 60)
        while missing:
            if is_stopped():
                raise Terminated(f"Terminated while {', '.join(missing)} had not started.")
            if time.monotonic() - began > wait_seconds:
                raise InputError(
                    f"--strategy=multi_worker: {', '.join(missing)} did not answer within "
                    f"{wait_seconds / 60:g} minutes. Run the same command on every host of "
                    "TF_CONFIG, and let each reach the others' ports."
                )
            if time.monotonic() - said > _SAY_EVERY:
                _LOG.info("still waits for %s", ", ".join(missing))
                said = time.monotonic()
            time.sleep(_PAUSE)
            missing = [address for address in missing if not _answers(address)]


def _listener(own: str) -> socket.socket:
    """A socket on all interfaces; nobody reads what comes in: to be connected is the answer."""
    _, port = _parse(own)
    if socket.has_dualstack_ipv6():
        # A port that is taken shows below as well.
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
    try:
        return socket.create_server(("", port), backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"TF_CONFIG: port {port} of {own}, this process's own, cannot be listened on "
            f"({error.strerror}). Give each worker of a host a free port."
        ) from error


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(_parse(address), timeout=_CONNECT_SECONDS).close()
        return True
    return False


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise UsageError(f"TF_CONFIG: {address!r} is no address. Expected HOST:PORT.")
    return host.strip("[]"), int(port)
