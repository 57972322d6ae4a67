"""The network over slices: backbone and head -> six logits, with all preprocessing inside.

Callers pass records as they are stored, uint8 or float in 0..255, of any size and number
of channels. The graph is the same whatever the initial weights, so that weights trained
from any start fit any model of the same backbone, record shape and image size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ich_tf.labels import CLASSES
from ich_tf.models.architectures import BACKBONES
from ich_tf.models.backbones import BUILDERS, normalization
from ich_tf.models.dropout import SeededDropout
from ich_tf.models.prior_shift import undo_prior_shift
from ich_tf.models.weights import load_initial_weights
from ich_tf.runtime.keras2 import keras
from ich_tf.windows import preset_windows, window_table

FEATURE_LAYER = "feature"
LOGITS_LAYER = "logits"


def build_model(
    backbone: str,
    record_shape: tuple[int, int, int],
    image_size: int,
    *,
    hu_windows: Sequence[str] = (),
    weights: str = "none",
    dropout: float = 0.0,
    bias: np.ndarray | None = None,
    bn_momentum: float = 0.0,
    freeze_bn: bool = False,
    neighbours: int = 1,
    negatives_kept: float = 1.0,
) -> keras.Model:
    """Builds a classifier under the current Keras dtype policy.

    Args:
      backbone: Name of the backbone, one of `architectures.BACKBONES`.
      record_shape: H, W, C of the records.
      image_size: Height and width of the backbone's input, px.
      hu_windows: Window presets that the model applies to records of stored Hounsfield units
        (`windows.store_hu`); empty for records that are windowed already.
      weights: `imagenet`, `none`, or the path of a weights file (see `NetworkConfig`).
      dropout: Share of the features dropped before the head, in [0, 1).
      bias: Prior probability of each class as training sees it, float [6]; the head starts with
        its logit. None starts at logit 0.
      bn_momentum: Momentum of the moving statistics, in [0, 1); 0 keeps the backbone's.
      freeze_bn: Whether batch normalisation uses and keeps the statistics it was loaded with.
      neighbours: Number of slices, one after the other along the channels, with the one to classify
        in the middle. Weights of a network of one slice are loaded so that they see the middle
        alone.
      negatives_kept: Share of the slices without a bleed that training sees, in (0, 1]. Outside of
        training the logits are those for all slices (`prior_shift`).

    Returns:
      A model: uint8 or float [n, H, W, neighbours * C] in 0..255, or with `hu_windows` uint16 or
      float [n, H, W, neighbours] -> float32 logits [n, 6]. The layer `FEATURE_LAYER` has the
      pooled features.

    Raises:
      InputError: If the weights cannot be had or are another model's.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone is {backbone!r}; expected one of {', '.join(BACKBONES)}.")
    height, width, channels = record_shape
    inputs = keras.Input((height, width, neighbours * channels), name="image")
    x = _preprocess(inputs, image_size, hu_windows, neighbours)
    body, load_body = BUILDERS[backbone](image_size, 3 * neighbours)
    x = body(normalization(backbone, neighbours)(x))
    x = keras.layers.GlobalAveragePooling2D(name=FEATURE_LAYER)(x)
    logits = _classify(x, dropout, bias)
    if negatives_kept < 1:
        logits = _PriorShift(negatives_kept, name="prior_shift", dtype="float32")(logits)
    model = keras.Model(inputs, logits, name=f"ich_{backbone}")
    for layer in batch_normalizations(model):
        if bn_momentum:
            layer.momentum = bn_momentum
        if freeze_bn:
            layer.trainable = False
    load_initial_weights(model, backbone, weights, load_body)
    return model


def _preprocess(
    x: tf.Tensor, image_size: int, hu_windows: Sequence[str], neighbours: int
) -> tf.Tensor:
    """Records -> float32 [n, image_size, image_size, neighbours * 3] in 0..255."""
    if hu_windows:
        x = _Windows(hu_windows, name="windows", dtype="float32")(x)
    x = _Resize(image_size, name="resize", dtype="float32")(x)
    return x if x.shape[-1] == 3 * neighbours else _three_channels(x, neighbours)


def _classify(features: tf.Tensor, dropout: float, bias: np.ndarray | None) -> tf.Tensor:
    """The head: features [n, F] -> float32 logits [n, 6]."""
    x = SeededDropout(dropout, name="dropout")(features)
    return keras.layers.Dense(
        len(CLASSES),
        # Small beside the bias, so that training starts from the prior.
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        bias_initializer=_prior_initializer(bias),
        # float32: half precision has no use for six numbers whose error enters the loss.
        dtype="float32",
        name=LOGITS_LAYER,
    )(x)


def batch_normalizations(model: keras.Model) -> list[keras.layers.Layer]:
    """Batch normalisation layers of a model and of the models within it, in order."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def with_features(model: keras.Model) -> keras.Model:
    """Model of the same weights: [n, H, W, C] -> float32 [n, 6 + F], logits and then features."""
    features = model.get_layer(FEATURE_LAYER).output
    both = keras.layers.Concatenate(dtype="float32", name="logits_and_features")
    return keras.Model(model.input, both([model.output, features]))


def _three_channels(x: tf.Tensor, neighbours: int) -> tf.Tensor:
    """[n, H, W, neighbours * C] -> [n, H, W, neighbours * 3], each slice by the same weights."""
    _, height, width, channels = x.shape
    slice_channels = channels // neighbours
    # Starts as the mean of the channels in each of the three, within the 0..255 that pretrained
    # weights know. In float32: bfloat16 steps by 1 at 255.
    common = {
        "use_bias": False,
        "kernel_initializer": keras.initializers.Constant(1.0 / slice_channels),
        "dtype": "float32",
        "name": "channels",
    }
    if neighbours == 1:
        return keras.layers.Conv2D(3, 1, **common)(x)
    x = keras.layers.Reshape((height, width, neighbours, slice_channels), dtype="float32")(x)
    x = keras.layers.Dense(3, **common)(x)
    return keras.layers.Reshape((height, width, neighbours * 3), dtype="float32")(x)


class _PriorShift(keras.layers.Layer):  # type: ignore[misc]
    """`prior_shift.undo_prior_shift` outside of training; in training the logits as they are."""

    def __init__(self, negatives_kept: float, **kwargs: Any) -> None:
        super().__init__(trainable=False, **kwargs)
        self.negatives_kept = negatives_kept

    def call(self, logits: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return logits if training else undo_prior_shift(logits, self.negatives_kept)


class _Windows(keras.layers.Layer):  # type: ignore[misc]
    """Stored Hounsfield units [n, H, W, N] -> grey values 0..255, float32 [n, H, W, N * C].

    Looked up, not computed: exactly `windows.apply_windows`, with XLA or without.
    """

    def __init__(self, windows: Sequence[str], **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        self._table = window_table(preset_windows(windows)).T.astype(np.float32)

    def call(self, stored: tf.Tensor) -> tf.Tensor:
        grey = tf.gather(tf.constant(self._table), tf.cast(stored, tf.int32))
        _, height, width, slices = stored.shape
        return tf.reshape(grey, [-1, height, width, slices * self._table.shape[1]])


class _Resize(keras.layers.Layer):  # type: ignore[misc]
    """[n, H, W, C] of any real type -> float32 [n, size, size, C], bilinear with antialias.

    Two matrix products with the weights of `tf.image.resize(antialias=True)`, whose own
    operation (ScaleAndTranslate) XLA cannot compile.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, autocast=False, **kwargs)
        self.size = size

    def build(self, input_shape: tf.TensorShape) -> None:
        self._rows = _resize_matrix(input_shape[1], self.size)
        self._columns = _resize_matrix(input_shape[2], self.size)
        super().build(input_shape)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        x = tf.cast(images, tf.float32)
        if self._rows is not None:
            x = tf.einsum("ih,nhwc->niwc", self._rows, x)
        if self._columns is not None:
            x = tf.einsum("jw,niwc->nijc", self._columns, x)
        return x


def _resize_matrix(size: int, new_size: int) -> np.ndarray | None:
    """Weights of the resizing along one axis, float32 [new_size, size]; None for equal sizes."""
    if size == new_size:
        return None
    with tf.init_scope():
        identity = tf.eye(size)[:, :, None]
        rows = tf.image.resize(identity, (new_size, size), antialias=True)[..., 0]
        matrix: np.ndarray = rows.numpy()
    return matrix


def _prior_initializer(prior: np.ndarray | None) -> keras.initializers.Initializer:
    if prior is None:
        return keras.initializers.Zeros()
    prior = np.asarray(prior, np.float64)
    if prior.shape != (len(CLASSES),) or not ((prior >= 0) & (prior <= 1)).all():
        raise ValueError(f"bias is {prior}; expected {len(CLASSES)} probabilities.")
    # A class that the training set lacks starts at one in ten thousand, not at minus infinity.
    prior = prior.clip(1e-4, 1 - 1e-4)
    logits = [math.log(p / (1 - p)) for p in prior]
    return keras.initializers.Constant(logits)
