"""A decoder beside a classifier: one network gives six logits of a slice and six of each pixel.

The decoder is a U-Net's (Ronneberger et al. 2015, arXiv:1505.04597): from the last feature maps up
to the image, doubling the size at each stage, beside the backbone's maps of that size. The backbone
and the head are the classifier's own: with the same weights the logits of a slice are the same.
The decoder tells where in a slice a class would be, and the classifier whether it is in it: a
pixel's logit is the sum of both. Else each bleed would be marked as every subtype that it might be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.backbones import taps
from ich_tf.models.layer_names import (
    DECODER_LAYER,
    LOGITS_LAYER,
    MASK_LOGITS_LAYER,
    SLICE_LOGITS_LAYER,
)
from ich_tf.models.neighbour_stems import JOIN_LAYER
from ich_tf.models.preprocessing import resize_matrix
from ich_tf.runtime.keras2 import keras

# Features of a stage: so many times its scale, as far as the limit.
_WIDTH, _WIDEST = 16, 256
# Share of the pixels that a mask marks of a slice that has the class, at the start.
_PIXEL_PRIOR = 0.1
# The r of `LogSumExpPool`: 0 is the mean, infinity the maximum.
_SHARPNESS = 2.0


def with_masks(
    model: keras.Model,
    pooling: str = "mean",
    bias: keras.initializers.Initializer | None = None,
) -> keras.Model:
    """Adds a decoder to a classifier, under the current Keras dtype policy.

    Args:
      model: Classifier, as `slice_model.build_model` makes it without segmentation.
      pooling: Whence the logits of the slice come, one of `architectures.POOLINGS`: the classifier,
        or with `lse` those of the pixels alone.
      bias: Initializer of the slice's logits, float [6].

    Returns:
      A model of the same weights and a decoder's, of two outputs: logits of the slice, float32
      [n, 6]; and logits of each pixel of the backbone's input, float32 [n, size, size, 6].
    """
    body = backbone_of(model)
    image = model.get_layer("normalization").output
    maps = _with_taps(body)(image)
    head = _layers_behind(model, body)
    if pooling == "lse":
        # Of the head remains what undoes changes of the prior.
        names = [layer.name for layer in head]
        head = [
            LogSumExpPool(name=LOGITS_LAYER, dtype="float32"),
            *head[names.index(LOGITS_LAYER) + 1 :],
        ]
    else:
        bias = keras.initializers.Constant(math.log(_PIXEL_PRIOR / (1 - _PIXEL_PRIOR)))
    masks = _decoder([image, *maps], bias)([image, *maps])
    if pooling == "lse":
        return keras.Model(model.input, [_through(head, masks), masks], name=model.name)
    logits = _through(head, maps[0])
    masks = AddSliceLogits(name=SLICE_LOGITS_LAYER, dtype="float32")([masks, logits])
    return keras.Model(model.input, [logits, masks], name=model.name)


def classifier(model: keras.Model) -> keras.Model:
    """Classifier within a model of two outputs: the slice's logits alone, of the same weights.

    It is taken apart as any classifier is: preprocessing, one model, and a head.
    """
    body = backbone_of(model)
    head = _layers_behind(model, body)
    image = model.get_layer("normalization").output
    if isinstance(model.get_layer(LOGITS_LAYER), LogSumExpPool):
        normalized = keras.Input(image.shape[1:], dtype=image.dtype)
        masks = model.get_layer(DECODER_LAYER)([normalized, *body(normalized)])
        single = keras.Model(normalized, masks, name=body.name)
    else:
        single = keras.Model(body.input, body.outputs[0], name=body.name)
    return keras.Model(model.input, _through(head, single(image)), name=model.name)


def segmenter(model: keras.Model) -> keras.Model:
    """Segmenter within a model of two outputs: the pixels' logits alone, of the same weights."""
    return keras.Model(model.input, model.outputs[1], name=model.name)


def encoder(model: keras.Model) -> keras.Model:
    """Encoder within a model of two outputs: all before decoder and head, of the same weights."""
    body = backbone_of(model)
    plain = keras.Model(body.input, body.outputs[0], name=body.name)
    return keras.Model(model.input, plain(model.get_layer("normalization").output))


def backbone_of(model: keras.Model) -> keras.Model:
    """Body of the backbone of a classifier, or of a model of two outputs."""
    models = (layer for layer in model.layers if isinstance(layer, keras.Model))
    return next(layer for layer in models if layer.name != DECODER_LAYER)


def _layers_behind(model: keras.Model, body: keras.Model) -> list[keras.layers.Layer]:
    """Layers of the head, in order: those behind the body, but for those of the masks."""
    behind = model.layers[model.layers.index(body) + 1 :]
    return [layer for layer in behind if layer.name not in (DECODER_LAYER, SLICE_LOGITS_LAYER)]


def _through(layers: Sequence[keras.layers.Layer], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _with_taps(body: keras.Model) -> keras.Model:
    """Body whose outputs are its feature maps and, from large to small, those of its other taps."""
    # A layer may have outputs in other models as well.
    outputs = {
        node.layer.name: node.outputs for nodes in body._nodes_by_depth.values() for node in nodes
    }
    trunk = body.layers[-1]
    if isinstance(trunk, keras.Model):
        # Behind a stem that several slices share.
        joined = outputs[JOIN_LAYER]
        last, *others = _with_taps(trunk)(joined)
        others.insert(0, joined)
    else:
        *others, last = [outputs[name] for name in taps(body).values()]
    return keras.Model(body.input, [last, *others], name=body.name)


def _decoder(tensors: Sequence[Any], bias: keras.initializers.Initializer | None) -> keras.Model:
    """Builds a decoder.

    Args:
      tensors: The backbone's input, its feature maps, and its other taps from large to small.
      bias: Initializer of the logits, float [6].
    """
    layers = keras.layers
    inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in tensors]
    image, x, *skips = inputs
    size = image.shape[1]
    x = _convolution(x, _width(size, x), 1, "bottom")
    for skip in reversed(skips):
        width, name = _width(size, skip), f"size{skip.shape[1]}"
        x = Upsample(skip.shape[1], name=f"{name}_upsample")(x)
        # Narrowed first: the backbone's maps have up to 2048 features.
        narrow = _convolution(skip, width, 1, f"{name}_skip")
        x = layers.Concatenate(name=f"{name}_join")([x, narrow])
        x = _convolution(x, width, 3, f"{name}_first")
        x = _convolution(x, width, 3, f"{name}_second")
    x = Upsample(size, name="image_upsample")(x)
    x = layers.Concatenate(name="image_join")([x, image])
    x = _convolution(x, _WIDTH, 3, "image_first")
    x = _convolution(x, _WIDTH, 3, "image_second")
    logits = layers.Conv2D(
        len(CLASSES),
        1,
        # Small beside the bias, so that training starts from a prior.
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        bias_initializer=bias,
        # float32, as the slice's logits are.
        dtype="float32",
        name=MASK_LOGITS_LAYER,
    )(x)
    return keras.Model(inputs, logits, name=DECODER_LAYER)


def _width(size: int, maps: Any) -> int:
    """Number of features of the stage of some maps."""
    return int(min(_WIDEST, _WIDTH * 2 ** round(math.log2(size / maps.shape[1]))))


def _convolution(x: Any, filters: int, size: int, name: str) -> Any:
    """A convolution with normalization and activation."""
    layers = keras.layers
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable(package="ich_tf")
class AddSliceLogits(keras.layers.Layer):  # type: ignore[misc]
    """[n, h, w, c] and [n, c] -> [n, h, w, c]: adds a slice's logits to those of its pixels.

    Masks teach the decoder alone: no gradient passes to the slice's logits, which so are those of
    a classifier.
    """

    def call(self, logits: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Adds the logits."""
        pixels, slices = logits
        return pixels + tf.stop_gradient(slices)[:, None, None, :]


@keras.saving.register_keras_serializable(package="ich_tf")
class LogSumExpPool(keras.layers.Layer):  # type: ignore[misc]
    """[n, h, w, c] -> [n, c]: a smooth maximum over the places (Pinheiro and Collobert 2015).

    log(mean(exp(r * x))) / r, arXiv:1411.6228. Equal logits keep their value.
    """

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        """Pools logits."""
        places = logits.shape[1] * logits.shape[2]
        total = tf.reduce_logsumexp(_SHARPNESS * tf.cast(logits, tf.float32), axis=(1, 2))
        return (total - math.log(places)) / _SHARPNESS


@keras.saving.register_keras_serializable(package="ich_tf")
class Upsample(keras.layers.Layer):  # type: ignore[misc]
    """[n, h, w, c] -> [n, size, size, c]: each place twice along both axes, where that fits.

    A last row and column too many are cut off: 5 places show 9 or 10 of the next scale. Maps of
    other sizes, as of networks without padding, are interpolated. Neither needs TensorFlow's
    resizing, whose gradients XLA cannot compile or GPUs add up in random order.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = size

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Enlarges maps."""
        _, height, width, channels = maps.shape
        if height == width and self.size in (2 * height - 1, 2 * height):
            twice = tf.broadcast_to(
                maps[:, :, None, :, None],
                [tf.shape(maps)[0], height, 2, width, 2, channels],
            )
            twice = tf.reshape(twice, [-1, 2 * height, 2 * width, channels])
            return twice[:, : self.size, : self.size]
        for equation, length in (("ih,nhwc->niwc", height), ("jw,niwc->nijc", width)):
            matrix = resize_matrix(length, self.size)
            if matrix is not None:
                maps = tf.einsum(equation, tf.cast(matrix, maps.dtype), maps)
        return maps

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}
