"""A teacher of masks: heat maps of the moving average of a network, in the graph of a step.

Of each slice it draws the integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) of one
class that the slice is labelled with. A decoder that learns the pixels of which these are sure, and
that slices without the class have none, finds the outlines of bleeds better than the maps do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import ANY, CLASSES
from ich_tf.models.layer_names import LOGITS_LAYER
from ich_tf.models.segmentation import backbone_of, classifier
from ich_tf.runtime.keras2 import keras

# Places on the way from the blurred slice to the slice. On phantoms the maps of two had an IoU of
# 0.37 with the bleeds, those of one 0.26, those of eight 0.38.
_PLACES = (0.25, 0.75)
# Standard deviations of the blurs, as fractions 1/n of the side, as in `models.heat_maps`.
_BLUR, _POOLING = 10, 50


class HeatMapTeacher:
    """Heat maps of a segmentation network's classifier.

    Attributes:
      variables: Variables of the network.
    """

    def __init__(self, model: keras.Model) -> None:
        """Takes the network apart.

        Args:
          model: Result of `slice_model.build_model`, with segmentation.
        """
        alone = classifier(model)
        self.variables = model.variables
        self._preprocess = keras.Model(alone.input, alone.get_layer("normalization").output)
        self._body = backbone_of(alone)
        names = [layer.name for layer in alone.layers]
        first = names.index(self._body.name) + 1
        self._head = alone.layers[first : names.index(LOGITS_LAYER) + 1]

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Draws a map of one class for each slice.

        Every other step the class is `any`, in between the subtypes of the slice in turns: a map of
        each class would cost a backward pass of its own.

        Args:
          images: Images as the model reads them, [n, H, W, C].
          labels: Labels in [0, 1], float32 [n, 6].
          step: Number of the step, int64 [].

        Returns:
          Shares of the greatest value of the map, float32 [n, S, S, 6], S being the size of the
          network's input; 0 for the other classes, and where nothing speaks for the class.
        """
        chosen = tf.one_hot(_chosen(labels, step), len(CLASSES))
        end = tf.cast(self._preprocess(images, training=False), tf.float32)
        size = end.shape[1]
        start = _blurred(end, size / _BLUR)
        way = end - start
        gradient = tf.zeros_like(end)
        for place in _PLACES:
            point = start + place * way
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(point)
                logit = tf.reduce_sum(self._logits(point) * chosen)
            gradient += tf.cast(tape.gradient(logit, point), tf.float32)
        # Three channels a slice; of neighbours the middle one's.
        middle = end.shape[3] // 3 // 2 * 3
        of_pixels = tf.reduce_sum((way * gradient)[..., middle : middle + 3], -1, keepdims=True)
        heat = tf.nn.relu(_blurred(of_pixels, size / _POOLING))
        peak = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
        return tf.math.divide_no_nan(heat, peak) * chosen[:, None, None]

    def _logits(self, x: Any) -> tf.Tensor:
        x = self._body(x, training=False)
        for layer in self._head:
            x = layer(x, training=False) if layer.name == "dropout" else layer(x)
        return tf.cast(x, tf.float32)


def _chosen(labels: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Class of each slice, int64 [n]: of its labels the one whose turn it is, else `any`."""
    turns = (tf.range(ANY, dtype=tf.int64) - step // 2) % ANY
    scores = tf.where(labels[:, :ANY] >= 0.5, tf.cast(ANY - turns, tf.float32), 0.0)
    is_any = (step % 2 == 0) | (tf.reduce_max(scores, axis=1) == 0)
    return tf.where(is_any, tf.constant(ANY, tf.int64), tf.argmax(scores, axis=1))


def _blurred(images: tf.Tensor, sigma: float) -> tf.Tensor:
    """Gaussian blur of [n, S, S, c], as two products with matrices, which XLA compiles."""
    size = images.shape[1]
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    matrix = tf.constant(weights / weights.sum(axis=1, keepdims=True), tf.float32)
    return tf.einsum("ih,jw,nhwc->nijc", matrix, matrix, images)
