"""Where a model looked: heat maps of a class's logit over a slice.

`integrated_gradients` (Sundararajan et al. 2017, arXiv:1703.01365) adds up the gradient on the way
from a blurred slice to the slice: what the pixels are credited with sums to the change of the
logit, and no layer's grid limits how fine it is.
`gradcam` (Selvaraju et al. 2017, arXiv:1610.02391) weighs the last feature maps by the mean
gradient of the logit. It is as coarse as these maps: 7 x 7 for 224 px, 2 x 2 for 64 px.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.slice_model import LOGITS_LAYER
from ich_tf.runtime.keras2 import keras

METHODS = ("integrated_gradients", "gradcam")
# On phantoms 4 to 32 steps pointed alike (0.78 to 0.80 of the slices).
_STEPS = 16
_BATCH = 16
# Standard deviations of the blurs, as parts of the side: what is left of a slice without its
# details, and what pixels of a map are pooled by.
_BLUR = 10
_POOLING = 50


class HeatMaps:
    """Heat maps of one model, for slices as it reads them."""

    def __init__(self, model: keras.Model) -> None:
        """Takes the model apart.

        Args:
          model: As `models.build_model` gives it.
        """
        body = next(one for one in model.layers if isinstance(one, keras.Model))
        after = model.layers[model.layers.index(body) + 1 :]
        self._before = keras.Model(model.input, model.get_layer("normalization").output)
        self._head: Sequence[keras.layers.Layer] = after
        self._body = body
        self._run_gradcam = tf.function(self._gradcam, reduce_retracing=True)
        self._run_gradient = tf.function(self._gradient, reduce_retracing=True)
        self._run_logit = tf.function(self._logit_of, reduce_retracing=True)

    def __call__(self, images: np.ndarray, name: str, method: str = METHODS[0]) -> np.ndarray:
        """Heat maps of one class.

        Args:
          images: As the model reads them, [n, H, W, C].
          name: One of `labels.CLASSES`.
          method: One of `METHODS`.

        Returns:
          float32 [n, H, W], 0 or more, in units of the logit a place: not scaled to 1, so that maps
          can be compared. Zero where nothing speaks for the class.
        """
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
        column = tf.constant(CLASSES.index(name))
        size = images.shape[1:3]
        maps = []
        for start in range(0, len(images), _BATCH):
            batch = np.asarray(images[start : start + _BATCH])
            if method == "gradcam":
                found = self._run_gradcam(tf.convert_to_tensor(batch), column).numpy()
            else:
                found, _ = self.attributions(batch, name)
                # Single pixels are noise; what they agree on is not.
                sigma = found.shape[1] / _POOLING
                found = [cv2.GaussianBlur(one, (0, 0), sigma) for one in found]
            maps += [
                cv2.resize(one, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for one in found
            ]
        return np.asarray(np.maximum(np.stack(maps), 0), np.float32)

    def _logit_of(self, images: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        return self._logit(self._body(images, training=False), column)

    def _logit(self, features: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        x = features
        for layer in self._head:
            x = layer(x, training=False) if layer.name == "dropout" else layer(x)
            if layer.name == LOGITS_LAYER:
                break
        return tf.gather(tf.cast(x, tf.float32), column, axis=1)

    def _gradcam(self, images: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        x = self._before(images, training=False)
        last = self._body(x, training=False)
        with tf.GradientTape() as tape:
            tape.watch(last)
            logit = self._logit(last, column)
        weight = tf.reduce_mean(tape.gradient(logit, last), axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(tf.cast(weight * last, tf.float32), axis=-1))

    def _gradient(self, images: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            logit = self._logit_of(images, column)
        return tape.gradient(logit, images)

    def attributions(self, images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """What each pixel adds to a class's logit on the way from the blurred slice to the slice.

        Args:
          images: As of a call.
          name: Likewise.

        Returns:
          float32 [n, size, size] of the network's input, summed over its channels, which may be
          below 0; and float32 [n], the change of the logit that each map sums to.
        """
        column = tf.constant(CLASSES.index(name))
        ends = self._before(tf.convert_to_tensor(images), training=False).numpy()
        sigma = ends.shape[1] / _BLUR
        maps, changes = [], []
        for end in ends:
            channels = np.moveaxis(end, -1, 0)
            start = np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in channels], axis=-1)
            # The midpoint rule.
            at = (np.arange(_STEPS, dtype=np.float32) + 0.5) / _STEPS
            path = start + at[:, None, None, None] * (end - start)
            gradient = self._run_gradient(tf.convert_to_tensor(path), column).numpy()
            maps.append(((end - start) * gradient.mean(axis=0)).sum(axis=-1))
            logits = self._run_logit(tf.convert_to_tensor(np.stack([start, end])), column).numpy()
            changes.append(logits[1] - logits[0])
        return np.stack(maps), np.array(changes, np.float32)
