"""Weight files of strangers: read once, checked whole, and never executed.

A file is read into memory, and its hash is that of the same bytes that are loaded: a file that is
replaced in between changes nothing. Names, shapes and sizes are compared with the model's before an
array is made. Files that can hold code (Keras archives, SavedModels, pickles) are refused unopened,
and the configs of models that HDF5 files may carry are never looked at.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich_tf.models.hdf5_arrays import Hdf5File
from ich_tf.models.hdf5_blocks import Refused, shown
from ich_tf.models.safetensors_files import SafetensorsFile, is_safetensors
from ich_tf.models.variable_names import (
    assign,
    assign_in_order,
    check_shapes,
    named_arrays,
    public_names,
)
from ich_tf.runtime.files import only_regular
from ich_tf.runtime.keras2 import keras

# A file may be so many times as large as the model, which covers optimizers and float64, and more.
_MOST_TIMES = 4
_MORE_BYTES = 64 << 20
_LEGACY = "layer_names"
_WEIGHTS = "weight_names"
_NESTED = "model_weights"
_ATTRIBUTES = ("keras_version", "backend")
_MOST_PIECES = 1000
_CODE = "; nothing of it is opened, because such files can hold code"
# First bytes of a file -> what it is.
_KNOWN = {
    b"PK\x03\x04": f"a zip archive, as .keras files, .npz and PyTorch's are{_CODE}",
    b"PK\x05\x06": "an empty zip archive",
    b"\x93NUMPY": f"an array of NumPy{_CODE}",
    b"\x1f\x8b": "a gzip file",
    b"GGUF": "a GGUF file",
    **{bytes([0x80, n]): f"a pickle, as PyTorch's older files are{_CODE}" for n in range(2, 6)},
}


@dataclass(frozen=True)
class WeightFile:
    """The bytes of a weights file, which are read no second time.

    Attributes:
      data: Its bytes.
      sha256: Their SHA-256, hexadecimal.
    """

    data: bytes
    sha256: str

    @functools.cached_property
    def content(self) -> Hdf5File | SafetensorsFile:
        """Names, shapes and types of its arrays.

        Raises:
          ValueError: If it is no file of arrays alone, or damaged.
        """
        return (SafetensorsFile if is_safetensors(self.data) else Hdf5File)(self.data)

    @property
    def is_own(self) -> bool:
        """Whether its arrays have the names of `variable_names`, unchecked: as `saved` writes."""
        if isinstance(self.content, SafetensorsFile):
            return True
        return "layers" in self.content.groups and self.content.texts("", _LEGACY) is None

    def arrays_for(self, model: keras.Model) -> dict[str, np.ndarray]:
        """Arrays of a file of this project, by name, for a model that they fit.

        Raises:
          ValueError: If they do not fit, or the file holds something else.
        """
        expected = {name: array.shape for name, array in named_arrays(model).items()}
        file = self.content
        names = public_names({name: name for name in file.arrays})
        check_shapes(expected, {new: file.arrays[old].shape for new, old in names.items()})
        for old in names.values():
            if file.arrays[old].dtype.kind != "f":
                raise Refused(f"{shown(old)} of integers; expected float32")
        return {new: file.read(old) for new, old in names.items()}


def read_weight_file(path: Path, model: keras.Model) -> WeightFile:
    """Reads the bytes of a file that may hold a model's weights.

    Args:
      path: The file.
      model: The model, by whose size the file's is limited.

    Raises:
      ValueError: If it is another kind of file, or far larger than the model.
      OSError: If it cannot be read.
    """
    most = _MOST_TIMES * _num_bytes(model) + _MORE_BYTES
    with open(path, "rb", opener=only_regular) as file:
        data = file.read(8)
        for first, what in _KNOWN.items():
            if data.startswith(first):
                raise Refused(what)
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            data += file.read(most)
        if max(size, len(data)) > most:
            raise Refused(
                f"{size / 2**20:.0f} MiB, where the model's weights have "
                f"{_num_bytes(model) / 2**20:.0f}"
            )
    return WeightFile(data, hashlib.sha256(data).hexdigest())


def load_own(model: keras.Model, file: WeightFile) -> None:
    """Loads a file of this project, in Keras's v3 weights format or as safetensors.

    Raises:
      ValueError: If it holds the weights of another model, or something else.
    """
    assign(model, file.arrays_for(model))


def load_application(model: keras.Model, file: WeightFile) -> None:
    """Loads a file in the older format of keras.applications, whose layers are told by their order.

    Raises:
      ValueError: If it holds the weights of another model, or something else.
    """
    content = file.content
    if isinstance(content, SafetensorsFile):
        raise Refused("a safetensors file, whose arrays have other names than Keras's layers")
    root = ""
    # A whole model, of which the weights are read and the rest is left alone.
    if content.texts(root, _LEGACY) is None and _NESTED in content.groups:
        root = _NESTED
    places: dict[str, dict[str, str]] = {}
    for layer in _names(content, root, _LEGACY):
        group = f"{root}/{layer}".lstrip("/")
        if group not in content.groups:
            raise Refused(f"the name of a layer that it lacks, {shown(layer)}")
        places[layer] = {name: f"{group}/{name}" for name in _names(content, group, _WEIGHTS)}
    wanted = [place for names in places.values() for place in names.values()]
    for place in wanted:
        if place not in content.arrays:
            raise Refused(f"the name of an array that it lacks, {shown(place)}")
    total, most = sum(content.arrays[place].num_bytes for place in wanted), 2 * _num_bytes(model)
    if total > most + _MORE_BYTES or len(wanted) > 2 * len(model.weights) + 1:
        raise Refused(f"{len(wanted)} arrays of {total} bytes; the model has {most // 2} bytes")
    layers = {
        layer: {name: content.read(place) for name, place in names.items()}
        for layer, names in places.items()
    }
    attributes = {name: texts[0] for name in _ATTRIBUTES if (texts := content.texts(root, name))}
    assign_in_order(model, layers, attributes)


def _names(content: Hdf5File, group: str, attribute: str) -> list[str]:
    """A list of names, which Keras cuts into pieces where it is too long for one attribute."""
    whole = content.texts(group, attribute)
    if whole is not None:
        return whole
    names: list[str] = []
    for number in range(_MOST_PIECES):
        piece = content.texts(group, f"{attribute}{number}")
        if piece is None:
            break
        names += piece
    return names


def _num_bytes(model: keras.Model) -> int:
    return sum(int(np.prod(w.shape)) * w.dtype.size for w in model.weights)
