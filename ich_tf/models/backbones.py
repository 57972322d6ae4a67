"""Backbones by name: normalized images -> feature maps, with normalization and weights."""

from __future__ import annotations

import functools
import math

from ich_tf.models.applications import build_application
from ich_tf.models.architectures import APPLICATIONS, is_own, smallest_size
from ich_tf.models.backbone import Backbone, no_weights
from ich_tf.models.normalization import NORMALIZATIONS
from ich_tf.models.own_backbones import build_own
from ich_tf.runtime.keras2 import keras


def build_backbone(name: str, size: int, channels: int) -> Backbone:
    """Builds a backbone from random weights under the current Keras dtype policy.

    Args:
      name: One of `architectures.BACKBONES`, or module:function of a user's own.
      size: Height and width of the images, px.
      channels: Number of channels, three for each slice.

    Raises:
      UsageError: If a user's own function cannot be imported or makes no such model.
    """
    if name in APPLICATIONS:
        return build_application(APPLICATIONS[name], size, channels)
    if is_own(name):
        return build_own(name, size, channels)
    return Backbone(_tiny(size, channels), NORMALIZATIONS["tf"], no_weights(name))


@functools.cache
def feature_width(name: str) -> int:
    """Number of pooled features of a backbone; the first call builds it."""
    return int(build_backbone(name, smallest_size(name), 3).body.output_shape[-1])


def taps(body: keras.Model) -> dict[int, str]:
    """Finds the layers whose feature maps show the image at each scale.

    Args:
      body: Body of a backbone.

    Returns:
      Name of the last layer of each scale, by the number of pixels that a place of its maps stands
      for, a power of 2, in ascending order. The last one is the layer of the output.

    Examples:
      >>> list(taps(_tiny(32, 3)))
      [2, 4, 8]
    """
    names: dict[int, str] = {}
    for layer in body.layers:
        shape = layer.output_shape
        # Branches of attention are pooled to one place; padding is the next scale's.
        is_map = isinstance(shape, tuple) and len(shape) == 4 and (shape[1] or 0) > 1
        if is_map and not isinstance(layer, keras.layers.ZeroPadding2D):
            names[shape[1]] = layer.name
    names[body.output_shape[1]] = body.layers[-1].name
    # From size to size, since convolutions without padding take a margin of each scale.
    scale, last = 1, body.input_shape[1]
    by_scale: dict[int, str] = {}
    for size in sorted(names, reverse=True):
        # Halved with padding 5 becomes 3, without it 6 becomes 2 and 4 becomes 1: one scale each.
        halvings = 1 if size == 1 else math.floor(math.log2(last / size) + 0.4)
        scale, last = scale * 2**halvings, size
        by_scale[scale] = names[size]
    by_scale.pop(1, None)
    return by_scale


def _tiny(size: int, channels: int) -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((size, size, channels))
    x = inputs
    for filters in (8, 16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    return keras.Model(inputs, x, name="tiny")
