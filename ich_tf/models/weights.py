"""Weights for a new network: none, ImageNet's, a file's, or another run's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ich_tf.errors import InputError
from ich_tf.models import weight_files
from ich_tf.models.shared_weights import weights_file
from ich_tf.runtime.keras2 import keras

_DOWNLOAD_TIMEOUT_SECONDS = 20.0


def load_own_weights(model: keras.Model, path: Path) -> str:
    """Loads a file in Keras's v3 weights format, in which `saved` writes, whatever its name.

    Args:
      model: Model to load the weights into.
      path: The file.

    Returns:
      SHA-256 of the bytes that were loaded.

    Raises:
      ValueError: If the file holds the weights of another model, or something else.
      OSError: If it cannot be read.
    """
    file = weight_files.read_weight_file(path, model)
    weight_files.load_own(model, file)
    return file.sha256


def load_initial_weights(
    backbone: str,
    weights: str,
    model: keras.Model,
    load_own: Callable[[Path], None],
    load_body: Callable[[str], None],
) -> None:
    """Loads the initial weights of a network.

    Args:
      backbone: Name of its backbone, for messages.
      weights: `none`, `imagenet`, or the path of a weights file or its folder.
      model: The network, by whose size that of the file is limited.
      load_own: Function that loads the weights of another run into the network.
      load_body: Function that loads `imagenet` or a file of keras.applications into the backbone.

    Raises:
      InputError: If the weights cannot be had or belong to another network.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        try:
            with _download_timeout():
                load_body(weights)
        # Keras raises a bare Exception where the download fails.
        except Exception as error:
            raise InputError(
                f"the ImageNet weights of {backbone} could not be had: {error}. This machine "
                "may be offline. Give --weights=PATH with keras.applications' weights file "
                "without top, put that file into ~/.keras/models/, or start from random "
                "weights with --weights=none."
            ) from error
        return
    path = weights_file(weights)
    if not path.is_file():
        raise InputError(
            f"--weights={weights}: no such file. Expected imagenet, none, or a weights file of "
            f"{backbone}, or the folder of one."
        )
    try:
        if weight_files.read_weight_file(path, model).is_own:
            load_own(path)
        else:
            load_body(str(path))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not weights of this {backbone} ({_first_line(error)}). Expected "
            "keras.applications' weights file without top, or best.weights.h5 or .safetensors of "
            "a run with the same backbone and neighbour_stem, and as many --neighbours or fewer."
        ) from error


@contextmanager
def _download_timeout() -> Iterator[None]:
    # Keras's download has no timeout: behind a silent firewall it would hang.
    former = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(former)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
