"""Weights of a network of fewer slices in one of more, which then sees the middle slices alone."""

from __future__ import annotations

import numpy as np

from ich_tf.models.neighbour_stems import JOIN_LAYER
from ich_tf.runtime.keras2 import keras


def widen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Fits a weight for fewer input channels to a network of more, which sees the middle ones.

    Args:
      array: Weight of the network of fewer channels.
      shape: Shape of the same weight in the network of more channels.

    Returns:
      `array`, with zeros for the channels before and after.

    Raises:
      ValueError: If the two are not weights of the same layer.

    Examples:
      >>> widen(np.ones([1, 1, 1, 1]), (1, 1, 3, 1)).ravel().tolist()
      [0.0, 1.0, 0.0]
    """
    if [n for n in array.shape if n > 1] == [n for n in shape if n > 1]:
        return array.reshape(shape)
    axis = 2 if array.ndim == 4 else 0
    rest, wanted = list(array.shape), list(shape)
    if len(rest) != len(wanted) or rest.pop(axis) > wanted.pop(axis) or rest != wanted:
        raise ValueError(f"a weight has the shape {array.shape}; expected {tuple(shape)}")
    widened = np.zeros(shape, array.dtype)
    start = (shape[axis] - array.shape[axis]) // 2
    middle = [slice(None)] * array.ndim
    middle[axis] = slice(start, start + array.shape[axis])
    widened[tuple(middle)] = array
    return widened


def take_over(narrower: keras.Model, model: keras.Model) -> None:
    """Copies the weights of a network of fewer slices into one of more.

    Args:
      narrower: Network of fewer slices.
      model: The same network of more slices, which then sees the middle ones alone.

    Raises:
      ValueError: If they are not the same network.
    """
    arrays, variables = narrower.get_weights(), model.weights
    if len(arrays) < len(variables):
        # A network of one slice has nothing to join, and the layer starts as the middle slice.
        joins = (layer for layer in model._flatten_layers() if layer.name == JOIN_LAYER)
        added = {id(variable) for layer in joins for variable in layer.weights}
        variables = [variable for variable in variables if id(variable) not in added]
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(widen(array, tuple(variable.shape)))
