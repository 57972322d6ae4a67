"""Runs the application on a port until the process is told to stop."""

from __future__ import annotations

import logging
import socket

from ich_tf.errors import InputError
from ich_tf.serving.config import ServeConfig

_LOG = logging.getLogger(__name__)


def serve(config: ServeConfig) -> None:
    """Loads the model, listens, and answers until SIGINT or SIGTERM.

    Raises:
      InputError: If the extra `web` is not installed, there is no model, or the port or the state
        folder cannot be used.
    """
    try:
        import uvicorn

        from ich_tf.serving.api import make_app
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; the server needs it. Run pip install 'ich-tf[web]'."
        ) from error
    from ich_tf.series_predictor import load_predictor
    from ich_tf.strategies import make_strategy

    predictor = load_predictor(
        config.work_dir, make_strategy("mirrored"), calibrated=config.calibrated
    )
    # Before the model is warmed up: a port that is taken shows at once.
    with _listen(config) as listening:
        app = make_app(config, predictor)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        _LOG.info("http://%s:%d - research only, not for clinical use", shown, port)
        settings = uvicorn.Config(
            app,
            # Paths hold the keys of studies; `guard` logs routes.
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
            ws="none",
        )
        uvicorn.Server(settings).run(sockets=[listening])


def _listen(config: ServeConfig) -> socket.socket:
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
