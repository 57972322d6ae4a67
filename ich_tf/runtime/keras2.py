"""Keras 2, which all models of this project use.

Up to TensorFlow 2.15 it is `tf.keras`, later the package tf-keras. Later `tf.keras` is Keras 3,
which is not used: its BatchNormalization and loss scale are wrong on several replicas.
"""

from __future__ import annotations

import importlib
from typing import Any

import tensorflow as tf


def _keras_2() -> Any:
    release = tf.__version__.split(".")[:2]
    if tuple(map(int, release)) < (2, 16):
        return tf.keras
    try:
        return importlib.import_module("tf_keras")
    except ImportError as error:
        raise ImportError(
            f"TensorFlow {tf.__version__} needs the tf-keras of the same release: pip install "
            f"'tf-keras=={'.'.join(release)}.*'"
        ) from error


keras = _keras_2()
