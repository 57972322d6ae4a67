"""Waiting until every host of a distributed run has started.

TensorFlow waits too, but for up to an hour, without a message, and it ignores signals meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence

from ich_tf.errors import InputError, Terminated, UsageError
from ich_tf.runtime.tf_config import split_address

_LOG = logging.getLogger(__name__)
WAIT_SECONDS = 1800.0
_SECONDS_BETWEEN_LINES = 60.0
_PAUSE = 0.5
_CONNECT_SECONDS = 2.0
_BACKLOG = 1024


def wait_for_all(
    address: str,
    others: Sequence[str],
    is_stopped: Callable[[], bool] = lambda: False,
    wait_seconds: float = WAIT_SECONDS,
) -> None:
    """Waits until every other process accepts connections at its address.

    Meanwhile this process accepts connections at its own address; the port is free again when
    the function returns. A process that has gone on to TensorFlow's server answers as well.

    Args:
      address: `host:port` of this process; only the port is used.
      others: Addresses of the other processes.
      is_stopped: Function that is called twice a second and returns whether to stop waiting.
      wait_seconds: Time limit, s.

    Raises:
      InputError: If a process did not answer within the limit.
      Terminated: If `is_stopped` returned true.
      UsageError: If the port is in use, or an address is not `host:port`.
    """
    start = last_line = time.monotonic()
    with _listener(address):
        missing = [other for other in others if not _answers(other)]
        if missing:
            _LOG.info("waiting for %s, at most %.0f minutes", ", ".join(missing), wait_seconds / 60)
        while missing:
            if is_stopped():
                raise Terminated(f"Terminated while {', '.join(missing)} had not started.")
            if time.monotonic() - start > wait_seconds:
                raise InputError(
                    f"--strategy=multi_worker: {', '.join(missing)} did not answer within "
                    f"{wait_seconds / 60:g} minutes. Run the same command on every host of "
                    "TF_CONFIG, and make sure that each can connect to the others' ports."
                )
            if time.monotonic() - last_line > _SECONDS_BETWEEN_LINES:
                _LOG.info("still waiting for %s", ", ".join(missing))
                last_line = time.monotonic()
            time.sleep(_PAUSE)
            missing = [other for other in missing if not _answers(other)]


def _listener(address: str) -> socket.socket:
    """Listens on all interfaces. A connection alone is the answer: nothing is read or sent."""
    _, port = split_address(address)
    if socket.has_dualstack_ipv6():
        # A port in use fails again below, where the error is reported.
        with contextlib.suppress(OSError):
            return socket.create_server(
                ("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
    try:
        return socket.create_server(("", port), backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"TF_CONFIG: port {port} of {address}, the address of this process, cannot be listened "
            f"on ({error.strerror}). Give each worker of a host a free port."
        ) from error


def _answers(address: str) -> bool:
    # A name that no resolver takes, such as one with an empty label, is a ValueError.
    with contextlib.suppress(OSError, UnicodeError):
        socket.create_connection(split_address(address), timeout=_CONNECT_SECONDS).close()
        return True
    return False
