"""Names of a model's variables in weight files, and the assignment of arrays to them by name.

The names are those of Keras's v3 weights format: the way to a layer, by its class, and the number
of the variable within it, such as `layers/functional/layers/conv2d_3/vars/0`. They are the same for
each model that a spec builds, and layers may be called as they like. Keras's own functions walk the
model.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ich_tf.runtime.keras2 import keras

# Layers of this project were private once, and `_Join` was called `private__join`.
_PRIVATE = "private__"
_SHOWN = 3


def named_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Values of a model's variables by name."""
    store = _Store()
    _keras("saving_lib")._save_state(
        model, weights_store=store, assets_store=None, inner_path="", visited_trackables=set()
    )
    return {
        f"{path}/vars/{number}".lstrip("/"): np.asarray(value)
        for path, variables in store.by_path.items()
        for number, value in variables.items()
    }


def public_names(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a file of any version by the names that their layers have in this one."""
    return {name.replace(_PRIVATE, ""): array for name, array in arrays.items()}


def check_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Checks that a file has a model's arrays, and no others.

    Args:
      expected: Shapes of the model's variables by name.
      found: Shapes of the file's arrays by name.

    Raises:
      ValueError: If not; the text names the first that differ.

    Examples:
      >>> check_shapes({"a/vars/0": (2, 3)}, {"a/vars/0": (2, 4)})
      Traceback (most recent call last):
      ValueError: a/vars/0 has the shape [2, 4], the model's [2, 3]
    """
    if expected == found:
        return
    differences = [
        f"{name} has the shape {list(found[name])}, the model's {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    differences += [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{name!r} is none of the model's" for name in found if name not in expected]
    text = "; ".join(differences[:_SHOWN])
    if len(differences) > _SHOWN:
        text += f"; and {len(differences) - _SHOWN} more"
    if len(expected) != len(found):
        text = f"it holds {len(found)} arrays, the model {len(expected)}: {text}"
    raise ValueError(text)


def assign(model: keras.Model, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives a model's variables the values of arrays, which `check_shapes` found to be theirs."""
    store = _Store()
    for name, array in arrays.items():
        path, _, number = name.rpartition("vars/")
        store.make(path.rstrip("/"))[number] = array
    _keras("saving_lib")._load_state(
        model, weights_store=store, assets_store=None, inner_path="", visited_trackables=set()
    )


class _Group(dict[str, Any]):
    """A group of an HDF5 file, for Keras's code: its members and its attributes."""

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        super().__init__()
        self.attrs = dict(attrs)


def assign_in_order(
    model: keras.Model,
    layers: Mapping[str, Mapping[str, np.ndarray]],
    attributes: Mapping[str, str],
) -> None:
    """Gives a model's layers arrays in their order, as keras.applications' files are read.

    Args:
      model: Model without layers that share a name.
      layers: Name of a layer in the file -> name of a weight -> array, in order.
      attributes: Version and backend of the Keras that wrote them, for its conversions.

    Raises:
      ValueError: If number or shapes are not the model's.
    """
    file = _Group({**attributes, "layer_names": list(layers)})
    for name, weights in layers.items():
        file[name] = _Group({"weight_names": list(weights)})
        file[name].update(weights)
    _keras("legacy.hdf5_format").load_weights_from_hdf5_group(file, model)


class _Store:
    """What Keras's code takes for a file: path of a layer -> number of a variable -> values."""

    def __init__(self) -> None:
        self.by_path: dict[str, dict[str, Any]] = {}

    def make(self, path: str) -> dict[str, Any]:
        return self.by_path.setdefault(path, {})

    def get(self, path: str) -> dict[str, Any]:
        return self.by_path.get(path, {})


def _keras(module: str) -> Any:
    """A module of Keras's saving code: no public function takes anything but a file."""
    package = keras.Model.__module__.partition(".")[0]
    return importlib.import_module(f"{package}.src.saving.{module}")
