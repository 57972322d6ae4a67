"""The Keras that everything here is built with: Keras 2.

Up to TensorFlow 2.15 it is `tf.keras`; later it is the package tf-keras, and `tf.keras` is Keras 3,
whose BatchNormalization and loss scale go wrong on several replicas.
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
            f"TensorFlow {tf.__version__} needs tf-keras of its own release beside it: pip install "
            f"'tf-keras=={'.'.join(release)}.*'"
        ) from error


keras = _keras_2()
