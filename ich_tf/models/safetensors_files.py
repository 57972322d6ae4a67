"""Weights as safetensors: a header of names, types and shapes in JSON, then the numbers, no code.

The names are those of `variable_names`. The header's metadata tell people where the weights come
from; nothing of them is read back.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_tf.models.hdf5_blocks import Refused, shown
from ich_tf.runtime.files import parse_json
from ich_tf.runtime.writing import check_space, writing

ENDING = ".safetensors"
_MOST_HEADER_BYTES = 8 << 20
_MOST_RANK = 8
_METADATA = "__metadata__"
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True)
class Entry:
    """An array of a file, which is not read yet: its shape, and its type."""

    shape: tuple[int, ...]
    dtype: np.dtype


class SafetensorsFile:
    """Arrays of a safetensors file.

    Attributes:
      arrays: Name -> shape and type, in the order of the header.
    """

    def __init__(self, data: bytes) -> None:
        """Reads the header.

        Args:
          data: The whole file, of which `is_safetensors` is true.

        Raises:
          Refused: If it is damaged, or describes anything but arrays of floats.
        """
        self._data = data
        size = int.from_bytes(data[:8], "little")
        if size > min(_MOST_HEADER_BYTES, len(data) - 8):
            raise Refused(f"a safetensors header of {size} bytes")
        try:
            header = parse_json(data[8 : 8 + size].decode("utf-8"))
        except ValueError as error:
            raise Refused(f"damaged: its safetensors header is no JSON ({error})") from error
        if not isinstance(header, dict):
            raise Refused("damaged: its safetensors header is no object")
        header.pop(_METADATA, None)
        self.arrays = {name: _entry(name, value) for name, value in header.items()}

    def read(self, name: str) -> np.ndarray:
        """Numbers of an array.

        Raises:
          Refused: If they are not as many as it declares.
        """
        return self._loaded[name]

    @functools.cached_property
    def _loaded(self) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return dict(load(self._data))
        except SafetensorError as error:
            raise Refused(f"damaged: {error}") from error


def is_safetensors(data: bytes) -> bool:
    """Whether bytes begin as a safetensors file: the length of a header, and the header."""
    return data[8:9] == b"{" and 0 < int.from_bytes(data[:8], "little") < 1 << 32


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Writes arrays by name.

    Args:
      path: Path of the new file.
      arrays: Arrays of floats.
      metadata: Texts, or values that become JSON.

    Raises:
      InputError: If the file cannot be written.
    """
    from safetensors.numpy import save

    texts = {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for name, value in metadata.items()
    }
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, texts)
    check_space(path, len(data))
    with writing(path):
        path.write_bytes(data)


def _entry(name: str, value: Any) -> Entry:
    try:
        kind, shape = value["dtype"], tuple(value["shape"])
    except (KeyError, TypeError) as error:
        raise Refused(f"damaged: {shown(name)} has neither type nor shape") from error
    if not isinstance(kind, str) or kind not in _FLOATS:
        how = "; cast it to F32 where it was made" if kind == "BF16" else ""
        raise Refused(f"{shown(name)} of {shown(str(kind))}; expected F32{how}")
    whole = all(type(n) is int and n >= 0 for n in shape)
    if not whole or len(shape) > _MOST_RANK or math.prod(shape) >= 1 << 62:
        raise Refused(f"{shown(name)} of a shape that is none")
    return Entry(shape, np.dtype(_FLOATS[kind]))
