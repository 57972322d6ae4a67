"""Runs a gateway until it is stopped."""

from __future__ import annotations

import gc
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ich_tf.errors import InputError
from ich_tf.gateway.config import GatewayConfig
from ich_tf.gateway.ports import Service
from ich_tf.runtime.arenas import share_arenas
from ich_tf.runtime.options import option
from ich_tf.runtime.tokens import read_token

if TYPE_CHECKING:
    from ich_tf.gateway.gateway import Gateway

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayFlags:
    """Options of ich_tf.gateway: each is a flag, with its help. The rest is in the config."""

    config: str = option(
        "gateway.toml",
        "TOML file that says where studies come from, where results go, and what is kept; "
        "configs/gateway.toml is an example.",
        is_path=True,
    )
    dry_run: bool = option(False, "Receive and predict, log what would be sent, and send nothing.")


def run(config: GatewayConfig, *, dry_run: bool = False) -> None:
    """Loads the model, listens, and handles studies until SIGINT or SIGTERM.

    Args:
      config: Config of the gateway.
      dry_run: Whether to log what would be sent, and send nothing.

    Raises:
      InputError: If the extra `gateway` is not installed, there is no model, or an address or the
        state folder cannot be used.
    """
    share_arenas()
    try:
        from ich_tf.gateway.destinations import make_destination
        from ich_tf.gateway.http import listen, make_app, make_server
        from ich_tf.gateway.stow import stow_routes
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; the gateway needs it. Run pip install "
            "'ich-tf[gateway]'."
        ) from error
    from ich_tf.gateway.gateway import Gateway
    from ich_tf.gateway.model import StudyPredictor
    from ich_tf.runtime.quiet import quiet_libraries

    quiet_libraries()
    threading.excepthook = _log_thread
    token = read_token(config.http.token_file)
    destination = make_destination(config)
    with listen(config) as listening:
        # Before the model is loaded: what is taken or damaged shows at once.
        predict = StudyPredictor(config.model)
        gateway = Gateway.open(config, predict, destination, dry_run=dry_run)
        try:
            gateway.services.extend(_connections(gateway))
            routes = stow_routes(config, gateway.inbox)
            server = make_server(make_app(gateway, token, routes), config)
            gateway.start()
            # uvicorn raises the signal that ended it once more for the handlers that it replaced.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, server.handle_exit)
            host, port = listening.getsockname()[:2]
            _LOG.info(
                "worklist at %s://%s:%d%s/ - research only, not for clinical use",
                *("https" if config.http.tls else "http", host, port, config.http.root_path),
            )
            _LOG.info(
                "results go to %s%s", gateway.destination_name, ", dry run" if dry_run else ""
            )
            server.run(sockets=[listening])
        finally:
            gateway.close()
            # Python would look through all objects of TensorFlow at its end, for longer than many
            # a supervisor waits.
            gc.freeze()


def _log_thread(ended: threading.ExceptHookArgs) -> None:
    """Logs that a thread has ended, without the error's text, which may quote what came."""
    from ich_tf.serving.monitoring import log_failure

    if ended.exc_value is not None:
        log_failure(f"thread {ended.thread.name if ended.thread else '?'}", ended.exc_value)


def _connections(gateway: Gateway) -> Iterator[Service]:
    """The services that connect the gateway with others, as the config says."""
    from ich_tf.gateway.loop import Loop
    from ich_tf.gateway.poller import Poller
    from ich_tf.gateway.receiver import Receiver
    from ich_tf.gateway.webhook import Webhook

    config = gateway.config
    if config.webhook.url:
        yield Loop("webhook", Webhook(config, gateway.notices).step)
    if config.receiver.enabled:
        yield Receiver(config, gateway.inbox)
    if config.poll.enabled:
        yield Poller(config, gateway.inbox)
