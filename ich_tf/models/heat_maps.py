"""Heat maps of a class's logit over a slice: the pixels that speak for the class.

`integrated_gradients` (Sundararajan et al. 2017, arXiv:1703.01365) adds up the gradient on the way
from a blurred slice to the slice: the contributions of the pixels sum to the change of the logit,
and no layer's grid limits their resolution. Of a network that sees neighbours the map shows the
contributions of the middle slice's pixels alone: those of its neighbours lie elsewhere.
`gradcam` (Selvaraju et al. 2017, arXiv:1610.02391) weighs the last feature maps by the mean
gradient of the logit. It is as coarse as these maps: 7 x 7 for 224 px, 2 x 2 for 64 px. Neighbours
are mixed in them already: Grad-CAM shows all slices together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.layer_names import LOGITS_LAYER
from ich_tf.runtime.keras2 import keras

METHODS = ("integrated_gradients", "gradcam")
# Steps on the way. On phantoms 4 to 32 steps found the lesion equally often (in 0.78 to 0.80 of the
# slices).
_STEPS = 16
_BATCH = 16
# Standard deviations, as fractions 1/n of the side, of the blur that leaves a slice without its
# details, and of the blur that pools the pixels of a map.
_BLUR = 10
_POOLING = 50


class HeatMaps:
    """Heat maps of one model over slices."""

    def __init__(self, model: keras.Model) -> None:
        """Takes the model apart into preprocessing, backbone and head.

        Args:
          model: Result of `slice_model.build_model`.
        """
        body = next(layer for layer in model.layers if isinstance(layer, keras.Model))
        head = model.layers[model.layers.index(body) + 1 :]
        self._preprocess = keras.Model(model.input, model.get_layer("normalization").output)
        self._body = body
        self._head: Sequence[keras.layers.Layer] = head
        self._run_gradcam = tf.function(self._gradcam, reduce_retracing=True)
        self._run_gradient = tf.function(self._gradient, reduce_retracing=True)
        self._run_logit = tf.function(self._logit_of, reduce_retracing=True)

    @property
    def spot_pixels(self) -> float:
        """Area of the blur that pools the pixels of a map: the smallest spot that it can show.

        One pixel that raises the logit by L becomes a spot whose greatest value is L / spot_pixels.
        """
        sigma = self._body.input_shape[1] / _POOLING
        return float(2 * math.pi * sigma**2)

    def __call__(self, images: np.ndarray, name: str, method: str = METHODS[0]) -> np.ndarray:
        """Computes heat maps of one class.

        Args:
          images: Images as the model reads them, [n, H, W, C].
          name: Name of the class, one of `labels.CLASSES`.
          method: Name of the method, one of `METHODS`.

        Returns:
          float32 [n, H, W], 0 or more, in logits per pixel or place of the grid: not scaled to 1,
          so that maps can be compared. 0 where nothing speaks for the class.
        """
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
        column = tf.constant(CLASSES.index(name))
        size = images.shape[1:3]
        maps = []
        for start in range(0, len(images), _BATCH):
            batch = np.asarray(images[start : start + _BATCH])
            if method == "gradcam":
                coarse = self._run_gradcam(tf.convert_to_tensor(batch), column).numpy()
            else:
                attributions, _ = self.attributions(batch, name)
                middle = attributions[:, attributions.shape[1] // 2]
                # Single pixels are noise; a mean of nearby pixels is not.
                sigma = middle.shape[1] / _POOLING
                coarse = [cv2.GaussianBlur(image, (0, 0), sigma) for image in middle]
            maps += [
                cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
                for image in coarse
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
        x = self._preprocess(images, training=False)
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
        """Computes each pixel's contribution to the change of a logit by integrated gradients.

        The change is that from the blurred slices to the slices.

        Args:
          images: Images as the model reads them, [n, H, W, C].
          name: Name of the class, one of `labels.CLASSES`.

        Returns:
          Contributions of the pixels of the network's input, one map for each of the k slices that
          it sees, float32 [n, k, size, size], which may be below 0; and the change of the logit
          that these k maps sum to, float32 [n].
        """
        column = tf.constant(CLASSES.index(name))
        ends = self._preprocess(tf.convert_to_tensor(images), training=False).numpy()
        sigma = ends.shape[1] / _BLUR
        maps, changes = [], []
        for end in ends:
            channels = np.moveaxis(end, -1, 0)
            blurred = [cv2.GaussianBlur(channel, (0, 0), sigma) for channel in channels]
            start = np.stack(blurred, axis=-1)
            # The midpoint rule.
            shares = (np.arange(_STEPS, dtype=np.float32) + 0.5) / _STEPS
            path = start + shares[:, None, None, None] * (end - start)
            gradient = self._run_gradient(tf.convert_to_tensor(path), column).numpy()
            shares_of_channels = (end - start) * gradient.mean(axis=0)
            # Three channels a slice, one slice after the other.
            of_slices = shares_of_channels.reshape(*end.shape[:2], -1, 3).sum(axis=-1)
            maps.append(np.moveaxis(of_slices, -1, 0))
            logits = self._run_logit(tf.convert_to_tensor(np.stack([start, end])), column).numpy()
            changes.append(logits[1] - logits[0])
        return np.stack(maps), np.array(changes, np.float32)
