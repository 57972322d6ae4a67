"""Backbone + head -> six logits, with all preprocessing inside.

Callers pass records as they are stored, uint8 or float in 0..255, of any size and number
of channels. The graph is the same whatever the initial weights, so that weights trained
from any start fit any model of the same backbone, record shape and image size.
"""

from __future__ import annotations

import math
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import tensorflow as tf

from ich_tf.class_balance import undo_prior_shift
from ich_tf.config import BACKBONES
from ich_tf.dropout import SeededDropout, with_seeded_dropout
from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.stack import keras
from ich_tf.windows import preset_windows, window_table

FEATURE_LAYER = "feature"
LOGITS_LAYER = "logits"
# Numbers that the layer `FEATURE_LAYER` gives a slice.
FEATURE_WIDTHS = {"resnet50": 2048, "efficientnet_b4": 1792, "tiny": 32}

# ResNet50's weights come from Caffe: BGR, less ImageNet's mean, not divided.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
# EfficientNet's: RGB in 0..1, standardized (github.com/tensorflow/tpu, efficientnet).
_IMAGENET_MEAN_RGB = (0.485, 0.456, 0.406)
_IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)

_DOWNLOAD_TIMEOUT_SECONDS = 20.0


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
      backbone: One of `config.BACKBONES`.
      record_shape: H, W, C of the records.
      image_size: Height and width that the backbone sees, px.
      hu_windows: Presets that the model applies first, to records of stored Hounsfield units
        (`windows.store_hu`); none where the records are windowed.
      weights: `imagenet`, `none`, or the path of a weights file (see `config.TrainConfig`).
      dropout: Share of the features dropped before the head.
      bias: float [6], the prior probability of each class as training sees it; the head
        starts with its logit. None starts at 0.
      bn_momentum: Of the moving statistics; 0 keeps the backbone's.
      freeze_bn: Batch normalisation uses and keeps the statistics it was loaded with.
      neighbours: Slices, one after the other along the channels, the one to classify in the
        middle. Weights of one slice start as such: they see the middle alone.
      negatives_kept: Share of the slices without a bleed that training sees; outside of training
        the logits are those for all slices (`class_balance`).

    Returns:
      A model: uint8 or float [n, H, W, neighbours * C] in 0..255, or with `hu_windows` uint16 or
      float [n, H, W, neighbours] -> float32 logits [n, 6]. The layer `FEATURE_LAYER` gives the
      pooled features.

    Raises:
      InputError: If the weights cannot be had or are another model's.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone is {backbone!r}; expected one of {', '.join(BACKBONES)}.")
    height, width, channels = record_shape
    inputs = keras.Input((height, width, neighbours * channels), name="image")
    x = inputs
    if hu_windows:
        x = _Windows(hu_windows, name="windows", dtype="float32")(x)
    x = _Resize(image_size, name="resize", dtype="float32")(x)
    if x.shape[-1] != 3 * neighbours:
        x = _three_channels(x, neighbours)
    body, load_body = _BUILDERS[backbone](image_size, 3 * neighbours)
    x = body(_normalization(backbone, neighbours)(x))
    x = keras.layers.GlobalAveragePooling2D(name=FEATURE_LAYER)(x)
    x = SeededDropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(
        len(CLASSES),
        # Small beside the bias, so that training starts from the prior.
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        bias_initializer=_prior_initializer(bias),
        # float32: half precision has no use for six numbers whose error enters the loss.
        dtype="float32",
        name=LOGITS_LAYER,
    )(x)
    if negatives_kept < 1:
        logits = _PriorShift(negatives_kept, name="prior_shift", dtype="float32")(logits)
    model = keras.Model(inputs, logits, name=f"ich_{backbone}")
    for layer in batch_normalizations(model):
        if bn_momentum:
            layer.momentum = bn_momentum
        if freeze_bn:
            layer.trainable = False
    _load_initial_weights(model, backbone, weights, load_body)
    return model


def batch_normalizations(model: keras.Model) -> list[keras.layers.Layer]:
    """The model's batch normalisation layers, in order."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def feature_model(model: keras.Model) -> keras.Model:
    """The same weights up to the pooled features: [n, H, W, C] -> [n, features]."""
    return keras.Model(model.input, model.get_layer(FEATURE_LAYER).output)


def with_features(model: keras.Model) -> keras.Model:
    """The same weights with two answers: [n, H, W, C] -> float32 [n, 6 + F], logits first."""
    features = model.get_layer(FEATURE_LAYER).output
    both = keras.layers.Concatenate(dtype="float32", name="logits_and_features")
    return keras.Model(model.input, both([model.output, features]))


def load_own_weights(model: keras.Model, path: Path) -> None:
    """Reads a file that `model.save_weights("....weights.h5")` wrote, whatever its name now.

    Raises:
      ValueError: If the file is of another model.
      OSError: If it is no HDF5 file.
    """
    arrays = 0

    def count(_: str, item: Any) -> None:
        nonlocal arrays
        arrays += isinstance(item, h5py.Dataset)

    with h5py.File(path) as file:
        file.visititems(count)
    # Keras itself is silent about weights that a file has and the model does not.
    if arrays != len(model.weights):
        raise ValueError(f"it holds {arrays} arrays, the model {len(model.weights)}")
    with _named(path, "own.weights.h5") as link:
        model.load_weights(str(link))


def _three_channels(x: tf.Tensor, neighbours: int) -> tf.Tensor:
    """[n, H, W, neighbours * C] -> [n, H, W, neighbours * 3], each slice alike."""
    _, height, width, channels = x.shape
    own = channels // neighbours
    # Starts as the mean of the channels in each of the three, within the 0..255 that pretrained
    # weights know. In float32: bfloat16 steps by 1 at 255.
    common = {
        "use_bias": False,
        "kernel_initializer": keras.initializers.Constant(1.0 / own),
        "dtype": "float32",
        "name": "channels",
    }
    if neighbours == 1:
        return keras.layers.Conv2D(3, 1, **common)(x)
    x = keras.layers.Reshape((height, width, neighbours, own), dtype="float32")(x)
    x = keras.layers.Dense(3, **common)(x)
    return keras.layers.Reshape((height, width, neighbours * 3), dtype="float32")(x)


class _PriorShift(keras.layers.Layer):  # type: ignore[misc]
    """Outside of training, `class_balance.undo_prior_shift`."""

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
    """float32 [new_size, size]; None where nothing changes."""
    if size == new_size:
        return None
    with tf.init_scope():
        identity = tf.eye(size)[:, :, None]
        rows = tf.image.resize(identity, (new_size, size), antialias=True)[..., 0]
        matrix: np.ndarray = rows.numpy()
    return matrix


class _CaffeNormalization(keras.layers.Layer):  # type: ignore[misc]
    """RGB in 0..255 -> BGR less ImageNet's mean, as ResNet50's weights expect; slice by slice."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        slices = images.shape[-1] // 3
        order = [3 * i + colour for i in range(slices) for colour in (2, 1, 0)]
        mean = tf.constant(_CAFFE_MEAN_BGR * slices, images.dtype)
        return tf.gather(images, order, axis=-1) - mean


def _normalization(backbone: str, neighbours: int) -> keras.layers.Layer:
    name = "normalization"
    if backbone == "resnet50":
        return _CaffeNormalization(name=name, dtype="float32", autocast=False)
    if backbone == "efficientnet_b4":
        scale = [1 / (255 * stddev) for stddev in _IMAGENET_STDDEV_RGB]
        offset = [
            -mean / stddev
            for mean, stddev in zip(_IMAGENET_MEAN_RGB, _IMAGENET_STDDEV_RGB, strict=True)
        ]
    else:
        scale, offset = [1 / 127.5] * 3, [-1.0] * 3
    return keras.layers.Rescaling(
        scale * neighbours, offset * neighbours, name=name, dtype="float32"
    )


# A body: normalized [n, size, size, channels] -> [n, h, w, features], and what loads its weights
# from `imagenet` or from a file written by keras.applications.
_Body = tuple[keras.Model, Callable[[str], None]]


def _resnet50(size: int, channels: int) -> _Body:
    application = keras.applications.ResNet50
    body = _without_top(application, size, channels)
    # Each block starts as the identity (Goyal et al. 2017, arXiv:1706.02677, 5.1): from random
    # weights, three epochs then learn what six did. Weights that are loaded replace this.
    for layer in body.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))
    return body, _loader(application, body)


def _efficientnet_b4(size: int, channels: int) -> _Body:
    application = keras.applications.EfficientNetB4
    full = _without_top(application, size, channels)
    # Cut off Keras's own Rescaling and Normalization: with `imagenet` there is one layer
    # more, and a Normalization restored by tf.train.Checkpoint gives wrong outputs.
    stem = full.get_layer("stem_conv_pad").input
    body = keras.Model(stem, full.output, name="efficientnet_b4")
    return with_seeded_dropout(body), _loader(application, full)


def _without_top(application: Callable[..., keras.Model], size: int, channels: int) -> keras.Model:
    with warnings.catch_warnings():
        # Of the channels of neighbours, which are meant.
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3")
        return application(include_top=False, weights=None, input_shape=(size, size, channels))


def _tiny(size: int, channels: int) -> _Body:
    layers = keras.layers
    inputs = keras.Input((size, size, channels))
    x = inputs
    for filters in (8, 16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.ReLU()(x)
    return keras.Model(inputs, x, name="tiny"), _no_application


_BUILDERS: dict[str, Callable[[int, int], _Body]] = {
    "resnet50": _resnet50,
    "efficientnet_b4": _efficientnet_b4,
    "tiny": _tiny,
}


def _loader(application: Callable[..., keras.Model], full: keras.Model) -> Any:
    size, _, channels = full.input_shape[1:]

    def load(weights: str) -> None:
        if channels == 3 and weights != "imagenet":
            full.load_weights(weights)
            return
        # ImageNet's through the application's own loading code, which knows address and checksum.
        source = "imagenet" if weights == "imagenet" else None
        pretrained = application(include_top=False, weights=source, input_shape=(size, size, 3))
        if source is None:
            pretrained.load_weights(weights)
        pairs = zip(pretrained.get_weights(), full.get_weights(), strict=True)
        full.set_weights([_see_the_middle(loaded, own) for loaded, own in pairs])

    return load


def _see_the_middle(loaded: np.ndarray, own: np.ndarray) -> np.ndarray:
    """An array for three channels, made to fit a network of more: it sees the middle three."""
    if loaded.shape == own.shape:
        return loaded
    axis = 2 if loaded.ndim == 4 else 0
    wide = np.zeros_like(own)
    middle = [slice(None)] * own.ndim
    start = (own.shape[axis] - loaded.shape[axis]) // 2
    middle[axis] = slice(start, start + loaded.shape[axis])
    wide[tuple(middle)] = loaded
    return wide


def _no_application(weights: str) -> None:
    raise ValueError(f"keras.applications has no such backbone, hence no weights {weights!r}")


def _load_initial_weights(
    model: keras.Model, backbone: str, weights: str, load_body: Callable[[str], None]
) -> None:
    if weights == "none":
        return
    if weights == "imagenet":
        try:
            with _download_timeout():
                load_body(weights)
        # Keras raises a bare Exception where the download fails.
        except Exception as error:
            raise InputError(
                f"the ImageNet weights of {backbone} could not be had: {error}. This machine "
                "may be offline. Give --weights=PATH with keras.applications' weights file "
                "without top, put that file into ~/.keras/models/, or start from random "
                "weights with --weights=none."
            ) from error
        return
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"--weights={weights}: no such file. Expected imagenet, none, or a weights file of "
            f"{backbone}."
        )
    try:
        if _is_own_format(path):
            load_own_weights(model, path)
        else:
            with _named(path, "application.h5") as link:
                load_body(str(link))
    except (OSError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise InputError(
            f"{path}: not weights of this {backbone} ({_first_line(error)}). Expected "
            "keras.applications' weights file without top, or best.weights.h5 of a run with the "
            "same backbone, record shape and image size."
        ) from error


def _is_own_format(path: Path) -> bool:
    """Whether the file is Keras's v3 weights format, in which `checkpoints` writes."""
    with h5py.File(path) as file:
        return "layers" in file and "layer_names" not in file.attrs


@contextmanager
def _named(path: Path, name: str) -> Iterator[Path]:
    """The file under another name, by whose end Keras chooses the format."""
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / name
        link.symlink_to(path.resolve())
        yield link


@contextmanager
def _download_timeout() -> Iterator[None]:
    # Keras's download has none of its own: behind a silent firewall it would hang.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


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


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
