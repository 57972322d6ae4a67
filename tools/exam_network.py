"""The network of `tools.compare_exams`: small enough for many trainings on two cores."""

from __future__ import annotations

from typing import Any

from ich_tf.models.own_backbones import backbone
from ich_tf.runtime.keras2 import keras


@backbone
def small(size: int, channels: int) -> keras.Model:
    """Five convolutions, two of them residual; 71,000 weights."""
    images = keras.Input((size, size, channels))
    x = _convolve(images, 16, 2)
    for filters in (32, 64):
        x = _convolve(x, filters, 2)
        x = keras.layers.Add()([x, _convolve(x, filters, 1)])
    return keras.Model(images, x, name="small")


def _convolve(x: Any, filters: int, strides: int) -> Any:
    x = keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
