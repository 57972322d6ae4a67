"""Backbones of a user's own, which `--backbone=module:function` names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, overload

from ich_tf.errors import InputError, UsageError
from ich_tf.models.adaptation import adapted
from ich_tf.models.architectures import is_own
from ich_tf.models.backbone import Backbone, no_weights
from ich_tf.models.normalization import NORMALIZATIONS
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.plugins import load_function, one_sentence

# Size and number of channels of the images -> a model of feature maps.
Build = Callable[[int, int], keras.Model]
# Environment variable with the modules whose backbones a work dir may name.
VARIABLE = "ICH_TF_OWN_BACKBONES"
# Modules of which a backbone was built in this process, because somebody asked for it.
_ASKED_FOR: set[str] = set()
_MARK = "ich_tf_normalization"


@overload
def backbone(function: Build) -> Build: ...
@overload
def backbone(*, normalization: str) -> Callable[[Build], Build]: ...
def backbone(function: Build | None = None, *, normalization: str = "tf") -> Any:
    """Marks a function of one's own as a backbone, which `--backbone=module:function` then takes.

    A work dir names its backbone, and may come from elsewhere: only what is marked is called, and
    only from modules that the user named (`check_allowed`).

    Args:
      function: Function of size and number of channels that returns a functional Keras model:
        normalized images [n, size, size, channels] -> feature maps [n, h, w, features], without
        pooling. It must make the same model each time.
      normalization: Normalization of the grey values 0..255, as in keras.applications: `tf` (to
        [-1, 1]), `torch` (ImageNet's mean and standard deviation), `caffe`, or `none`.

    Examples:
      >>> @backbone(normalization="torch")
      ... def plain(size, channels):
      ...     inputs = keras.Input((size, size, channels))
      ...     return keras.Model(inputs, keras.layers.Conv2D(8, 3, strides=2)(inputs))
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization is {normalization!r}; expected one of {', '.join(NORMALIZATIONS)}."
        )

    def mark(function: Build) -> Build:
        setattr(function, _MARK, normalization)
        return function

    return mark if function is None else mark(function)


def check_allowed(name: str, path: Path) -> None:
    """Checks that a backbone that a file names is the project's, or of a module that a user named.

    A user names a module by `--backbone`, by a call of `build_model`, or in the environment.

    Args:
      name: Name of the backbone.
      path: The file.

    Raises:
      InputError: If nobody named its module: to import it would run its code.
    """
    module = name.partition(":")[0]
    named = {text.strip() for text in os.environ.get(VARIABLE, "").split(",")}
    if is_own(name) and module not in _ASKED_FOR | named:
        raise InputError(
            f"{path}: its network is {name}, a function of the Python module {module}. To import a "
            "module runs its code, so no file may ask for it. If you know the module and trust it, "
            f"name it in the environment: {VARIABLE}={module} (several with commas between)."
        )


def build_own(name: str, size: int, channels: int) -> Backbone:
    """Builds the backbone of a user's own function.

    Args:
      name: Its name, module:function.
      size: Height and width of the images, px.
      channels: Number of channels, three for each slice.

    Raises:
      UsageError: If the function cannot be imported, is not marked by `backbone`, or returns
        something else than such a model.
    """
    _ASKED_FOR.add(name.partition(":")[0])
    function = load_function(name, "backbone")
    given = f"--backbone={name}"
    normalization = getattr(function, _MARK, None)
    if normalization not in NORMALIZATIONS:
        raise UsageError(
            f"{given}: the function is not marked as a backbone. Put @backbone, of "
            "ich_tf.models.own_backbones, above it: a work dir names its backbone, and no other "
            "function is called because a file names it."
        )
    expected = (
        f"expected a functional Keras model from images [n, {size}, {size}, {channels}] to feature "
        "maps [n, h, w, features], made of the keras in ich_tf.runtime.keras2."
    )
    try:
        body = function(size, channels)
    # Whatever a user's function raises.
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{given}: called with size {size} and {channels} channels, it failed with "
            f"{type(error).__name__}: {one_sentence(error)} As its result, {expected}"
        ) from error
    if not isinstance(body, keras.Model) or not body._is_graph_network:
        raise UsageError(f"{given}: it returned {type(body).__name__}; {expected}")
    if body.input_shape != (None, size, size, channels):
        raise UsageError(f"{given}: its input has the shape {body.input_shape}; {expected}")
    shape = body.output_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise UsageError(f"{given}: its output has the shape {shape}; {expected}")
    return Backbone(adapted(body), NORMALIZATIONS[normalization], no_weights(name))
