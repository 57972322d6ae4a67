"""A stem that the slices of a stack share: each goes through it alone, and then they are joined.

The stem is the beginning of a backbone: its first convolution with the normalization and activation
that follow. Its feature maps of the k slices lie side by side along the channels, and a convolution
of 1 x 1 makes of them as many as the rest of the backbone expects. It starts as the maps of the
middle slice, so that the network starts as one of a single slice, pretrained weights included.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import tensorflow as tf

from ich_tf.runtime.keras2 import keras

# Layer that joins the slices' maps, the only one that a network of one slice lacks.
JOIN_LAYER = "join_slices"


def with_shared_stem(body: keras.Model, neighbours: int) -> keras.Model:
    """Makes a body over several slices of a body over one, which shares its weights.

    Args:
      body: Body over one slice: [n, size, size, 3] -> feature maps.
      neighbours: Number of slices.

    Returns:
      A model: [n, size, size, neighbours * 3] -> feature maps of the same shape.
    """
    size, _, channels = body.input_shape[1:]
    cut = _end_of_stem(body)
    stem = keras.Model(body.input, cut, name="stem")
    trunk = keras.Model(cut, body.output, name="trunk")
    images = keras.Input((size, size, neighbours * channels))
    maps = stem(SplitSlices(neighbours, name="split_slices")(images))
    stack = StackSlices(neighbours, name="stack_slices")(maps)
    joined = JoinSlices(maps.shape[-1], name=JOIN_LAYER)(stack)
    return keras.Model(images, trunk(joined), name=body.name)


def _end_of_stem(body: keras.Model) -> Any:
    """Returns the output of a body's stem."""
    consumers = defaultdict(list)
    for nodes in body._nodes_by_depth.values():
        for node in nodes:
            for parent in node.parent_nodes:
                consumers[id(parent)].append(node)
    layers = keras.layers
    after = (layers.BatchNormalization, layers.LayerNormalization, layers.Activation, layers.ReLU)
    node = body.input.node
    is_past_convolution = False
    # As long as there is one way, and no second convolution on it.
    while len(consumers[id(node)]) == 1:
        (following,) = consumers[id(node)]
        if is_past_convolution and not isinstance(following.layer, after):
            break
        is_past_convolution = is_past_convolution or bool(following.layer.weights)
        node = following
    return node.outputs


class _MiddleSlice(keras.initializers.Initializer):  # type: ignore[misc]
    """Kernel [1, 1, k * f, f] that takes the middle f of its inputs as they are."""

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        """Makes the kernel."""
        _, _, inputs, outputs = shape
        others = tf.zeros([(inputs - outputs) // 2, outputs], dtype)
        return tf.concat([others, tf.eye(outputs, dtype=dtype), others], axis=0)[None, None]


@keras.saving.register_keras_serializable(package="ich_tf")
class JoinSlices(keras.layers.Conv2D):  # type: ignore[misc]
    """[n, h, w, k * f] -> [n, h, w, f], the maps of the middle slice to begin with.

    A layer of its own, since Keras finds no registered initializer in a model's .h5 file.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(filters, 1, use_bias=False, kernel_initializer=_MiddleSlice(), **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        return {name: config[name] for name in ("name", "trainable", "dtype", "filters")}


class _SliceLayer(keras.layers.Layer):  # type: ignore[misc]
    """Base of layers that move slices between batch and channels."""

    def __init__(self, neighbours: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.neighbours = neighbours

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "neighbours": self.neighbours}


@keras.saving.register_keras_serializable(package="ich_tf")
class SplitSlices(_SliceLayer):
    """[n, h, w, k * c] -> [n * k, h, w, c]."""

    def call(self, stack: tf.Tensor) -> tf.Tensor:
        """Moves the slices into the batch."""
        _, height, width, channels = stack.shape
        slices = tf.reshape(
            stack, [-1, height, width, self.neighbours, channels // self.neighbours]
        )
        slices = tf.transpose(slices, [0, 3, 1, 2, 4])
        return tf.reshape(slices, [-1, height, width, channels // self.neighbours])


@keras.saving.register_keras_serializable(package="ich_tf")
class StackSlices(_SliceLayer):
    """[n * k, h, w, c] -> [n, h, w, k * c]."""

    def call(self, slices: tf.Tensor) -> tf.Tensor:
        """Moves the slices into the channels."""
        _, height, width, channels = slices.shape
        stack = tf.reshape(slices, [-1, self.neighbours, height, width, channels])
        stack = tf.transpose(stack, [0, 2, 3, 1, 4])
        return tf.reshape(stack, [-1, height, width, self.neighbours * channels])
