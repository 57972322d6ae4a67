"""Copies of networks, with layers replaced that do not fit training as it is done here."""

from __future__ import annotations

from typing import Any

from ich_tf.models.depthwise import DepthwiseConv2D
from ich_tf.models.dropout import SeededDropout
from ich_tf.models.half_sums import GlobalMean
from ich_tf.models.swish import Activation, is_swish
from ich_tf.runtime.keras2 import keras

# Keras's layers, by what takes their place.
_REPLACEMENTS: dict[type, Any] = {
    keras.layers.Activation: Activation,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
    keras.layers.Dropout: SeededDropout,
    keras.layers.GlobalAveragePooling2D: GlobalMean,
}


def adapted(model: keras.Model) -> keras.Model:
    """Copies a network with its weights shared, and with `_REPLACEMENTS` for some of its layers.

    Args:
      model: Functional model. One that has no such layer is returned as it is.
    """
    if all(_replacement(layer) is None for layer in model.layers):
        return model

    def replace(layer: keras.layers.Layer) -> keras.layers.Layer:
        replacement = _replacement(layer)
        if replacement is None:
            return layer
        copy = replacement.from_config(layer.get_config())
        if layer.weights:
            copy.share(layer)
        return copy

    return keras.models.clone_model(model, clone_function=replace)


def _replacement(layer: keras.layers.Layer) -> Any:
    """What takes the place of a layer; None for one that stays."""
    # ResNets are activated by other functions than swish, and copying them takes a second.
    if isinstance(layer, keras.layers.Activation) and not is_swish(layer):
        return None
    return _REPLACEMENTS.get(type(layer))
