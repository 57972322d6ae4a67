"""Means over many places in half precision, which TensorFlow's kernels for CPUs add up in it.

bfloat16 has 8 binary digits: a sum stops growing when it is 256 times as large as what is added to
it. The mean of 112 x 112 values of 30 came out as 0.65, and in float16 as infinity. GPUs and XLA
add up in float32 anyway.
"""

from __future__ import annotations

import tensorflow as tf

from ich_tf.runtime.keras2 import keras


@keras.saving.register_keras_serializable(package="ich_tf")
class GlobalMean(keras.layers.GlobalAveragePooling2D):  # type: ignore[misc]
    """Keras's GlobalAveragePooling2D, which adds up in float32 whatever the precision."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Computes the mean over the places of feature maps [n, h, w, c]."""
        mean = super().call(tf.cast(inputs, tf.float32))
        return tf.cast(mean, self.compute_dtype)
