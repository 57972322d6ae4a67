"""Runs the application on a port until the process is stopped."""

from __future__ import annotations

import logging
import signal
import socket
from typing import TYPE_CHECKING

from ich_tf.errors import InputError
from ich_tf.runtime.arenas import share_arenas
from ich_tf.runtime.rationed_log import RationedWarnings
from ich_tf.serving.config import ServeConfig

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

_LOG = logging.getLogger(__name__)


def serve(config: ServeConfig) -> None:
    """Loads the model, listens, and answers requests until SIGINT or SIGTERM.

    Args:
      config: Config of the server.

    Raises:
      InputError: If the extra `web` is not installed, there is no model, or the port or the state
        folder cannot be used.
    """
    share_arenas()
    try:
        from ich_tf.serving.api import make_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; the server needs it. Run pip install 'ich-tf[web]'."
        ) from error
    from ich_tf.inference.hardware import choose_inference_hardware
    from ich_tf.inference.series_predictor import load_predictor

    config.read_token()  # refused before the model is loaded
    hardware = choose_inference_hardware(config.mixed_precision)
    predictor = load_predictor(
        config.work_dir,
        hardware.strategy,
        calibrated=config.calibrated,
        precision=hardware.precision,
    )
    # Before the model is warmed up: a port that is taken shows at once.
    with listen(config) as listening:
        app = make_app(config, predictor)
        server = make_server(app)
        # uvicorn raises the signal that ended it once more for the handlers that it replaced: with
        # Python's own, a stopped server would exit with a code of failure.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, server.handle_exit)
        _LOG.info("%s - research only, not for clinical use", address(listening))
        server.run(sockets=[listening])


def make_server(app: FastAPI) -> uvicorn.Server:
    """Makes the server that runs an application on sockets."""
    import uvicorn

    from ich_tf.serving.connections import TimedProtocol

    # It says of every connection above the limit that it is.
    logging.getLogger("uvicorn.error").addFilter(RationedWarnings())
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=TimedProtocol,
            # A connection takes a file descriptor, of which a process often has 1024.
            limit_concurrency=512,
            # Paths hold the keys of studies; `serving.guard` logs routes.
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            ws="none",
        )
    )


def address(listening: socket.socket) -> str:
    """Address of a socket, as a URL."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(config: ServeConfig) -> socket.socket:
    """Opens a socket at the config's address.

    Raises:
      InputError: If the address is taken, or is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(
            f"{config.host}:{config.port}: cannot be listened on ({error.strerror}). Give another "
            "--port."
        ) from error
    return listening
