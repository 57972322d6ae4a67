"""The network over slices: backbone and head -> six logits, with all preprocessing inside.

Callers pass records as they are stored, uint8 or float in 0..255, of any size and number
of channels. The graph is the same whatever the initial weights, so that weights trained
from any start fit any model of the same backbone, whatever its image size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.models.architectures import (
    NEIGHBOUR_STEMS,
    POOLINGS,
    expected_backbones,
    is_backbone,
    smallest_size,
)
from ich_tf.models.backbones import build_backbone
from ich_tf.models.dropout import SeededDropout
from ich_tf.models.half_sums import GlobalMean
from ich_tf.models.label_smoothing import UndoLabelSmoothing
from ich_tf.models.layer_names import FEATURE_LAYER, LOGITS_LAYER
from ich_tf.models.neighbour_stems import with_shared_stem
from ich_tf.models.neighbour_weights import take_over
from ich_tf.models.preprocessing import preprocess
from ich_tf.models.prior_shift import PriorShift
from ich_tf.models.segmentation import with_masks
from ich_tf.models.weights import load_initial_weights, load_own_weights
from ich_tf.runtime.keras2 import keras


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
    neighbour_stem: str = "middle",
    negatives_kept: float = 1.0,
    label_smoothing: float = 0.0,
    segmentation: bool = False,
    pooling: str = "mean",
) -> keras.Model:
    """Builds a classifier, or a segmentation network, under the current Keras dtype policy.

    Args:
      backbone: Name of the backbone, one of `architectures.BACKBONES`, or module:function of a
        user's own (`own_backbones`).
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
        in the middle. Weights of a network of fewer slices are loaded so that they see the middle
        alone.
      neighbour_stem: How the slices enter the backbone, one of `architectures.NEIGHBOUR_STEMS`: as
        channels of its first convolution, or each through the same stem
        (`neighbour_stems`).
      negatives_kept: Share of the slices without a bleed that training sees, in (0, 1]. Outside of
        training the logits are those for all slices (`prior_shift`).
      label_smoothing: Label smoothing of the training, in [0, 1). Outside of training the logits
        are those for labels as they are (`label_smoothing`).
      segmentation: Whether a decoder gives logits of each pixel beside those of the slice
        (`segmentation`). Weights of a classifier can be loaded; the decoder then starts at random.
      pooling: Whence the logits of the slice come, one of `architectures.POOLINGS`: from the mean
        of the feature maps, or with `lse`, and segmentation, from the logits of its pixels.

    Returns:
      A model: uint8 or float [n, H, W, neighbours * C] in 0..255, or with `hu_windows` uint16 or
      float [n, H, W, neighbours] -> float32 logits [n, 6]; with `segmentation` a list of these and
      float32 logits [n, image_size, image_size, 6]. The layer `FEATURE_LAYER` has the pooled
      features.

    Raises:
      InputError: If the weights cannot be had or are another model's.
    """
    if not is_backbone(backbone):
        raise ValueError(f"backbone is {backbone!r}; expected {expected_backbones(backbone)}.")
    if image_size < smallest_size(backbone):
        raise ValueError(
            f"image_size is {image_size}; {backbone} needs {smallest_size(backbone)} or more."
        )
    if neighbour_stem not in NEIGHBOUR_STEMS:
        raise ValueError(f"neighbour_stem is {neighbour_stem!r}; expected one of {NEIGHBOUR_STEMS}")
    if pooling not in POOLINGS[: 1 + segmentation]:
        raise ValueError(f"pooling is {pooling!r}; expected one of {POOLINGS[: 1 + segmentation]}")
    is_shared = neighbours > 1 and neighbour_stem == "shared"
    height, width, channels = record_shape
    inputs = keras.Input((height, width, neighbours * channels), name="image")
    x = preprocess(inputs, image_size, hu_windows, neighbours)
    network = build_backbone(backbone, image_size, 3 if is_shared else 3 * neighbours)
    body = with_shared_stem(network.body, neighbours) if is_shared else network.body
    x = body(network.normalization.layer(neighbours)(x))
    x = GlobalMean(name=FEATURE_LAYER, dtype="float32")(x)
    logits = _classify(x, dropout, bias)
    if label_smoothing:
        layer = UndoLabelSmoothing(label_smoothing, name="label_smoothing", dtype="float32")
        logits = layer(logits)
    if negatives_kept < 1:
        logits = PriorShift(negatives_kept, name="prior_shift", dtype="float32")(logits)
    # A user's own function has a colon in its name, which names in a graph may not have.
    model = keras.Model(inputs, logits, name=f"ich_{backbone.rpartition(':')[2]}")
    classifier = model
    if segmentation:
        model = with_masks(classifier, pooling, _prior_initializer(bias))
    for layer in batch_normalizations(model):
        if bn_momentum:
            layer.momentum = bn_momentum
        if freeze_bn:
            layer.trainable = False

    def load_own(path: Path) -> None:
        try:
            load_own_weights(model, path)
        except ValueError as error:
            if segmentation:
                try:
                    load_own_weights(classifier, path)
                except ValueError:
                    load_narrower(path, error)
            else:
                load_narrower(path, error)

    def load_narrower(path: Path, error: ValueError) -> None:
        if neighbours == 1:
            raise error
        try:
            narrower = build_model(
                backbone,
                record_shape,
                image_size,
                hu_windows=hu_windows,
                neighbours=neighbours - 2,
                neighbour_stem=neighbour_stem,
                weights=str(path),
            )
        # Of no number of slices: what is wrong is said once, for the network asked for.
        except InputError:
            raise error from None
        take_over(narrower, classifier)

    load_initial_weights(backbone, weights, model, load_own, network.load)
    return model


def _classify(features: tf.Tensor, dropout: float, bias: np.ndarray | None) -> tf.Tensor:
    """The head: features [n, F] -> float32 logits [n, 6]."""
    x = SeededDropout(dropout, name="dropout", dtype="float32")(features)
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
    """Model of the same weights: [n, H, W, C] -> float32 [n, 6 + F], logits and then features.

    Raises:
      InputError: If the model pools the logits of pixels, not features.
    """
    if FEATURE_LAYER not in [layer.name for layer in model.layers]:
        raise InputError(
            "a network that was trained with --pooling=lse has no features of a slice. Train one "
            "with --pooling=mean."
        )
    features = model.get_layer(FEATURE_LAYER).output
    both = keras.layers.Concatenate(dtype="float32", name="logits_and_features")
    return keras.Model(model.input, both([model.output, features]))


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
