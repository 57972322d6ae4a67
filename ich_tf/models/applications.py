"""The networks of keras.applications without their tops, preprocessing cut off.

How a network's weights expect their input is read from keras.applications itself: from the
`preprocess_input` of its module, or, where the network begins with Rescaling and Normalization,
from these layers. They are cut off because `tf.train.Checkpoint` does not restore Normalization
right, and because they know three channels only.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.models.adaptation import adapted
from ich_tf.models.architectures import APPLICATIONS
from ich_tf.models.backbone import Backbone
from ich_tf.models.neighbour_weights import widen
from ich_tf.models.normalization import NORMALIZATIONS, Normalization
from ich_tf.models.weight_files import load_application, read_weight_file
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope

_Application = Callable[..., keras.Model]
_BUILT_IN = "include_preprocessing"
_PREPROCESSING = ("Rescaling", "Normalization")


def build_application(name: str, size: int, channels: int) -> Backbone:
    """Builds a network of keras.applications from random weights.

    Args:
      name: Its name in keras.applications.
      size: Height and width of the images, px.
      channels: Number of channels, three for each slice.
    """
    application: _Application = getattr(keras.applications, name)
    full = _without_top(application, size, channels)
    # Each block starts as the identity (Goyal et al. 2017, arXiv:1706.02677, 5.1): from random
    # weights, three epochs then learn what six did. Weights that are loaded replace this.
    for layer in full.layers:
        if application.__module__.endswith(".resnet") and layer.name.endswith("_3_bn"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))
    start = _after_preprocessing(full)
    body = full
    if start is not full.input:
        body = keras.Model(start, full.output, name=full.name)
    return Backbone(adapted(body), normalization_of(name), _loader(application, full))


@functools.cache
def normalization_of(name: str) -> Normalization:
    """Finds how the weights of a network of keras.applications expect their input."""
    application: _Application = getattr(keras.applications, name)
    if _BUILT_IN in inspect.signature(application).parameters:
        normalization = _measured(application)
    else:
        module: Any = sys.modules[application.__module__]
        normalization = _matching(module.preprocess_input) or NORMALIZATIONS["none"]
    # EfficientNet's Normalization gets its numbers, which are ImageNet's, with the weights.
    return NORMALIZATIONS["torch"] if normalization == NORMALIZATIONS["none"] else normalization


def _matching(function: Callable[[np.ndarray], Any]) -> Normalization | None:
    """Returns the mode of keras.applications that a function of images is, if it is one."""
    pixel = np.array([[[[10.0, 100.0, 200.0]]]], np.float32)
    result = np.asarray(function(pixel.copy()))
    for normalization in NORMALIZATIONS.values():
        if np.allclose(normalization(pixel), result, rtol=1e-5, atol=1e-5):
            return normalization
    return None


def _measured(application: _Application) -> Normalization:
    """Measures what the first layers of a network do to the channels of a slice."""
    size = 32
    with policy_scope("float32"):
        full = application(include_top=False, weights=None, input_shape=(size, size, 3))
        first = keras.Model(full.input, _after_preprocessing(full))

    def pixel(value: np.ndarray) -> np.ndarray:
        images = np.broadcast_to(value, (1, size, size, 3)).astype(np.float32)
        return np.asarray(first(images))[:, :1, :1]

    matching = _matching(pixel)
    if matching is not None:
        return matching
    # Linear in each channel.
    black, white = (pixel(np.array(value))[0, 0, 0].tolist() for value in (0, 255))
    scale = tuple((high - low) / 255 for low, high in zip(black, white, strict=True))
    return Normalization(scale, tuple(black))


def _without_top(
    application: _Application, size: int, channels: int, **options: Any
) -> keras.Model:
    if _BUILT_IN in inspect.signature(application).parameters:
        options[_BUILT_IN] = False
    with warnings.catch_warnings():
        # The warning is about the channels of neighbours, which are intended.
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3")
        options = {"weights": None, **options}
        return application(include_top=False, input_shape=(size, size, channels), **options)


def _after_preprocessing(model: keras.Model) -> Any:
    """Returns the tensor in which the preprocessing of a network ends: its input without one."""
    tensor = model.input
    for layer in model.layers[1:]:
        if type(layer).__name__ not in _PREPROCESSING:
            break
        tensor = layer.output
    return tensor


def _register_layers() -> None:
    """Registers the layers of keras.applications, so that `load_model` knows them."""
    modules = {getattr(keras.applications, name).__module__ for name in APPLICATIONS.values()}
    for module in map(sys.modules.__getitem__, sorted(modules)):
        for item in list(vars(module).values()):
            is_layer = isinstance(item, type) and issubclass(item, keras.layers.Layer)
            is_its_own = is_layer and item.__module__ == module.__name__
            if is_its_own and keras.saving.get_registered_name(item) == item.__name__:
                keras.saving.register_keras_serializable(package="keras.applications")(item)


_register_layers()


def _loader(application: _Application, full: keras.Model) -> Callable[[str], None]:
    size, _, channels = full.input_shape[1:]

    def load(weights: str) -> None:
        if channels == 3 and weights != "imagenet":
            _load_file(full, weights)
            return
        # The application's own loading code knows address and checksum of ImageNet's weights.
        source = "imagenet" if weights == "imagenet" else None
        pretrained = _without_top(application, size, 3, weights=source)
        if source is None:
            _load_file(pretrained, weights)
        pairs = zip(pretrained.get_weights(), full.get_weights(), strict=True)
        full.set_weights([widen(array, initial.shape) for array, initial in pairs])

    return load


def _load_file(model: keras.Model, path: str) -> None:
    load_application(model, read_weight_file(Path(path), model))
