"""Weights for a new network: none, ImageNet's, a file's, or another run's."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]

from ich_tf.errors import InputError
from ich_tf.models.shared_weights import weights_file
from ich_tf.runtime.keras2 import keras

_DOWNLOAD_TIMEOUT_SECONDS = 20.0
_PRIVATE = "private__"


def load_own_weights(model: keras.Model, path: Path) -> None:
    """Loads a file in Keras's v3 weights format, in which `saved` writes, whatever its name.

    Args:
      model: Model to load the weights into.
      path: The file.

    Raises:
      ValueError: If the file holds the weights of another model.
      OSError: If it is no HDF5 file.
    """
    arrays = 0

    def count(_: str, item: Any) -> None:
        nonlocal arrays
        arrays += isinstance(item, h5py.Dataset)

    with h5py.File(path) as file:
        file.visititems(count)
    # Keras itself ignores weights that a file has and the model does not.
    if arrays != len(model.weights):
        raise ValueError(f"it holds {arrays} arrays, the model {len(model.weights)}")
    with _public_names(path) as renamed, _named(renamed, "own.weights.h5") as link:
        model.load_weights(str(link))


def load_initial_weights(
    backbone: str,
    weights: str,
    load_own: Callable[[Path], None],
    load_body: Callable[[str], None],
) -> None:
    """Loads the initial weights of a network.

    Args:
      backbone: Name of its backbone, for messages.
      weights: `none`, `imagenet`, or the path of a weights file or its folder.
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
        if _is_own_format(path):
            load_own(path)
        else:
            with _named(path, "application.h5") as link:
                load_body(str(link))
    except (OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: not weights of this {backbone} ({_first_line(error)}). Expected "
            "keras.applications' weights file without top, or best.weights.h5 of a run with the "
            "same backbone and neighbour_stem, and as many --neighbours or fewer."
        ) from error


def _is_own_format(path: Path) -> bool:
    """Whether the file has Keras's v3 weights format, in which `saved` writes."""
    with h5py.File(path) as file:
        return "layers" in file and "layer_names" not in file.attrs


@contextmanager
def _named(path: Path, name: str) -> Iterator[Path]:
    """Links the file under another name: Keras chooses the format by the name's end."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / name
        link.symlink_to(path.resolve())
        yield link


@contextmanager
def _public_names(path: Path) -> Iterator[Path]:
    """The file, with the names that the layers of this version have in it.

    Keras names the weights of a layer by its class. Those of this project
    were private once, and `_Join` was called `private__join`.
    """
    with h5py.File(path) as old, tempfile.TemporaryDirectory() as folder:
        private: list[str] = []
        old.visit(lambda name: private.append(name) if _PRIVATE in name else None)
        if not private:
            yield path
            return
        renamed = Path(folder) / "renamed.h5"
        with h5py.File(renamed, "w") as new:
            _link(old, new, path.resolve())
        yield renamed


def _link(old: h5py.Group, new: h5py.Group, path: Path) -> None:
    """Makes the groups of a file in another one, with links to the arrays."""
    new.attrs.update(old.attrs)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _link(item, new.create_group(name.replace(_PRIVATE, "")), path)
        else:
            new[name] = h5py.ExternalLink(str(path), item.name)


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
