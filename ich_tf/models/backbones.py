"""Backbones: normalized images -> feature maps, with their preprocessing and pretrained weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.models.dropout import with_seeded_dropout
from ich_tf.runtime.keras2 import keras

# ResNet50's weights come from Caffe: BGR, less ImageNet's mean, not divided.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
# EfficientNet's: RGB in 0..1, standardized (github.com/tensorflow/tpu, efficientnet).
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
    """The layer from grey values in 0..255 to what a backbone's pretrained weights expect."""
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


# A body: normalized [n, size, size, channels] -> [n, h, w, features], and what loads its weights
# from `imagenet` or from a file written by keras.applications.
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
        # Of the channels of neighbours, which are meant.
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
        # ImageNet's through the application's own loading code, which knows address and checksum.
        source = "imagenet" if weights == "imagenet" else None
        pretrained = application(include_top=False, weights=source, input_shape=(size, size, 3))
        if source is None:
            pretrained.load_weights(weights)
        pairs = zip(pretrained.get_weights(), full.get_weights(), strict=True)
        full.set_weights([_see_the_middle(loaded, own) for loaded, own in pairs])

    return load


def _see_the_middle(loaded: np.ndarray, own: np.ndarray) -> np.ndarray:
    """An array for three channels, made to fit a network of more: it sees the middle three."""
    if loaded.shape == own.shape:
        return loaded
    axis = 2 if loaded.ndim == 4 else 0
    wide = np.zeros_like(own)
    middle = [slice(None)] * own.ndim
    start = (own.shape[axis] - loaded.shape[axis]) // 2
    middle[axis] = slice(start, start + loaded.shape[axis])
    wide[tuple(middle)] = loaded
    return wide


def _no_application(weights: str) -> None:
    raise ValueError(f"keras.applications has no such backbone, hence no weights {weights!r}")
