"""Backbones: normalized images -> feature maps, with their preprocessing and pretrained weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.models.dropout import with_seeded_dropout
from ich_tf.runtime.keras2 import keras

# ResNet50's weights come from Caffe: its input is BGR, less ImageNet's mean, not divided.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
# EfficientNet's input is RGB in 0..1, standardized (github.com/tensorflow/tpu, efficientnet).
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)


class _CaffeNormalization(keras.layers.Layer):  # type: ignore[misc]
    """RGB in 0..255 -> BGR less ImageNet's mean, as ResNet50's weights expect; slice by slice."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        slices = images.shape[-1] // 3
        order = [3 * i + colour for i in range(slices) for colour in (2, 1, 0)]
        mean = tf.constant(_CAFFE_MEAN_BGR * slices, images.dtype)
        return tf.gather(images, order, axis=-1) - mean


def normalization(backbone: str, neighbours: int) -> keras.layers.Layer:
    """Makes the layer that normalizes grey values as a backbone's pretrained weights expect.

    Args:
      backbone: Name of the backbone, one of `architectures.BACKBONES`.
      neighbours: Number of slices, of three channels each.

    Returns:
      A layer: float [n, H, W, neighbours * 3] in 0..255 -> float32 of the same shape.
    """
    name = "normalization"
    if backbone == "resnet50":
        return _CaffeNormalization(name=name, dtype="float32", autocast=False)
    if backbone == "efficientnet_b4":
        scale = [1 / (255 * stddev) for stddev in _IMAGENET_STDDEV_RGB]
        offset = [
            -mean / stddev
            for mean, stddev in zip(_IMAGENET_MEAN_RGB, _IMAGENET_STDDEV_RGB, strict=True)
        ]
    else:
        scale, offset = [1 / 127.5] * 3, [-1.0] * 3
    return keras.layers.Rescaling(
        scale * neighbours, offset * neighbours, name=name, dtype="float32"
    )


# A body: normalized [n, size, size, channels] -> [n, h, w, features]; and the function that loads
# its weights from `imagenet` or from a file of keras.applications.
_Body = tuple[keras.Model, Callable[[str], None]]


def _resnet50(size: int, channels: int) -> _Body:
    application = keras.applications.ResNet50
    body = _without_top(application, size, channels)
    # Each block starts as the identity (Goyal et al. 2017, arXiv:1706.02677, 5.1): from random
    # weights, three epochs then learn what six did. Weights that are loaded replace this.
    for layer in body.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))
    return body, _loader(application, body)


def _efficientnet_b4(size: int, channels: int) -> _Body:
    application = keras.applications.EfficientNetB4
    full = _without_top(application, size, channels)
    # Cut off Keras's own Rescaling and Normalization: with `imagenet` there is one layer
    # more, and a Normalization restored by tf.train.Checkpoint gives wrong outputs.
    stem = full.get_layer("stem_conv_pad").input
    body = keras.Model(stem, full.output, name="efficientnet_b4")
    return with_seeded_dropout(body), _loader(application, full)


def _without_top(application: Callable[..., keras.Model], size: int, channels: int) -> keras.Model:
    with warnings.catch_warnings():
        # The warning is about the channels of neighbours, which are intended.
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3")
        return application(include_top=False, weights=None, input_shape=(size, size, channels))


def _tiny(size: int, channels: int) -> _Body:
    layers = keras.layers
    inputs = keras.Input((size, size, channels))
    x = inputs
    for filters in (8, 16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    return keras.Model(inputs, x, name="tiny"), _no_application


BUILDERS: dict[str, Callable[[int, int], _Body]] = {
    "resnet50": _resnet50,
    "efficientnet_b4": _efficientnet_b4,
    "tiny": _tiny,
}


def _loader(application: Callable[..., keras.Model], full: keras.Model) -> Any:
    size, _, channels = full.input_shape[1:]

    def load(weights: str) -> None:
        if channels == 3 and weights != "imagenet":
            full.load_weights(weights)
            return
        # The application's own loading code knows address and checksum of ImageNet's weights.
        source = "imagenet" if weights == "imagenet" else None
        pretrained = application(include_top=False, weights=source, input_shape=(size, size, 3))
        if source is None:
            pretrained.load_weights(weights)
        pairs = zip(pretrained.get_weights(), full.get_weights(), strict=True)
        full.set_weights([_widen(array, initial) for array, initial in pairs])

    return load


def _widen(array: np.ndarray, wider: np.ndarray) -> np.ndarray:
    """Fits a weight for three input channels to a network of more, which sees the middle three.

    Args:
      array: Weight of the network of three channels.
      wider: The same weight of the network of more channels, for its shape.

    Returns:
      `array`, with zeros for the channels before and after the middle three.
    """
    if array.shape == wider.shape:
        return array
    axis = 2 if array.ndim == 4 else 0
    widened = np.zeros_like(wider)
    middle = [slice(None)] * wider.ndim
    start = (wider.shape[axis] - array.shape[axis]) // 2
    middle[axis] = slice(start, start + array.shape[axis])
    widened[tuple(middle)] = array
    return widened


def _no_application(weights: str) -> None:
    raise ValueError(f"keras.applications has no backbone tiny, hence no weights {weights!r}")
