import functools
import importlib
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.labels import CLASSES
from ich_tf.metrics import sigmoid
from ich_tf.models.layer_names import FEATURE_LAYER
from ich_tf.models.preprocessing import HounsfieldWindows, Resize
from ich_tf.models.slice_model import batch_normalizations, build_model
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.precision import policy_scope
from ich_tf.windows import apply_windows, preset_windows
from tests.support.marks import slow
from tests.support.steps import APPLICATIONS


def images(shape, number=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, *shape), np.uint8)


def pooled_features(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    features = keras.Model(model.input, model.get_layer(FEATURE_LAYER).output)
    return np.asarray(features(batch))


@pytest.mark.parametrize("backbone", ["tiny", "resnet50", slow("efficientnet_b4")])
def test_contract(backbone: str) -> None:
    model = build_model(backbone, (40, 40, 3), 32)
    batch = images((40, 40, 3))
    logits = model(batch)
    assert logits.shape == (2, len(CLASSES)) and logits.dtype == tf.float32
    np.testing.assert_allclose(logits, model(batch.astype(np.float32)), atol=1e-5)
    features = pooled_features(model, batch)
    head = model.get_layer("logits")
    np.testing.assert_allclose(features @ head.kernel + head.bias, logits, atol=1e-5)
    # Keras's Normalization, restored by tf.train.Checkpoint, gives wrong outputs.
    kinds = {type(layer).__name__ for layer in model._flatten_layers()}
    assert "Normalization" not in kinds and "BatchNormalization" in kinds


def seen_by_body(model):
    body = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    return keras.Model(model.input, model.get_layer("normalization").output), body


def test_resnet50_gets_caffe_preprocessing() -> None:
    model = build_model("resnet50", (32, 32, 3), 32)
    batch = images((32, 32, 3))
    preprocessed, body = seen_by_body(model)
    expected = keras.applications.resnet50.preprocess_input(batch.astype(np.float32))
    np.testing.assert_allclose(preprocessed(batch), expected, atol=1e-4)
    # The whole backbone is keras.applications'.
    for layer in batch_normalizations(body):
        layer.gamma.assign(tf.ones_like(layer.gamma))  # else each block is the identity
    plain = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    plain.set_weights(body.get_weights())
    np.testing.assert_allclose(pooled_features(model, batch), plain(expected), atol=1e-4)


@pytest.mark.slow
def test_efficientnet_is_keras_with_its_imagenet_normalization(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against the graph that weights='imagenet' builds, its normalization set as in the file."""
    batch = images((32, 32, 3))
    model = build_model("efficientnet_b4", (32, 32, 3), 32)
    preprocessed, body = seen_by_body(model)
    mean, stddev = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(preprocessed(batch), (batch / 255 - mean) / stddev, atol=1e-5)

    # Build Keras's imagenet graph without its download.
    package = keras.Model.__module__.split(".")[0]
    data_utils = importlib.import_module(f"{package}.src.utils.data_utils")
    monkeypatch.setattr(data_utils, "get_file", lambda *args, **kwargs: "nowhere")
    monkeypatch.setattr(keras.Model, "load_weights", lambda self, path: None)
    keras_model = keras.applications.EfficientNetB4(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3), pooling="avg"
    )
    # The file's Normalization holds the mean, and as variance the standard deviation.
    normalization = [mean.astype(np.float32), stddev.astype(np.float32), np.int64(0)]
    keras_model.set_weights([*normalization, *body.get_weights()])
    np.testing.assert_allclose(pooled_features(model, batch), keras_model(batch), atol=1e-4)


@pytest.mark.parametrize(("shape", "size"), [((64, 48), 32), ((20, 20), 40)])
@pytest.mark.parametrize("xla", [False, True])
def test_resizing_is_tensorflows(shape: Any, size: int, xla: bool) -> None:
    layer = Resize(size, dtype="float32")
    batch = images((*shape, 4))
    resize = tf.function(layer, jit_compile=xla)
    expected = tf.image.resize(batch, (size, size), antialias=True)
    np.testing.assert_allclose(resize(batch), expected, atol=1e-3)


@pytest.mark.parametrize("xla", [False, True])
def test_windows_on_the_device_are_those_of_conversion(xla: bool) -> None:
    names = ("brain", "stroke", "bone", "soft")
    stored = np.arange(1 << 16, dtype=np.uint16).reshape(1, 256, 256, 1)
    layer = tf.function(HounsfieldWindows(names, dtype="float32"), jit_compile=xla)
    expected = apply_windows(stored[0, ..., 0], preset_windows(names))
    np.testing.assert_array_equal(layer(stored)[0], expected)
    np.testing.assert_array_equal(layer(stored.astype(np.float32))[0], expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_records_of_hounsfield_units_give_the_logits_of_windowed_ones(precision: str) -> None:
    names = ("brain", "subdural", "soft")
    stored = np.random.default_rng(0).integers(15000, 19000, (3, 40, 40, 1)).astype(np.uint16)
    windowed = np.stack([apply_windows(one[..., 0], preset_windows(names)) for one in stored])
    with policy_scope(precision):
        of_windows = build_model("tiny", (40, 40, 3), 32)
        of_hu = build_model("tiny", (40, 40, 1), 32, hu_windows=names)
    of_hu.set_weights(of_windows.get_weights())
    np.testing.assert_array_equal(of_hu(stored), of_windows(windowed))


def test_resizing_to_the_same_size_is_exact() -> None:
    batch = images((32, 32, 3))
    np.testing.assert_array_equal(Resize(32, dtype="float32")(batch), batch)


@pytest.mark.parametrize("channels", [1, 2, 9])
def test_other_numbers_of_channels_start_as_their_mean(channels: int) -> None:
    model = build_model("tiny", (32, 32, channels), 32)
    batch = images((32, 32, channels))
    found = keras.Model(model.input, model.get_layer("channels").output)(batch)
    mean = batch.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    np.testing.assert_allclose(found, mean, rtol=1e-5, atol=1e-3)
    assert any("channels" in variable.name for variable in model.trainable_variables)


def test_the_head_starts_at_the_prior() -> None:
    prior = np.array([0.004, 0.05, 0.03, 0.05, 0.06, 0.14])
    model = build_model("tiny", (32, 32, 3), 32, bias=prior)
    np.testing.assert_allclose(sigmoid(model.get_layer("logits").bias), prior, rtol=1e-5)
    model = build_model("tiny", (32, 32, 3), 32, bias=np.array([0, 1, 0.5, 0.5, 0.5, 0.5]))
    bias = model.get_layer("logits").bias.numpy()
    assert np.isfinite(bias).all() and bias[0] < -9 and bias[1] > 9
    with pytest.raises(ValueError, match="expected 6 probabilities"):
        build_model("tiny", (32, 32, 3), 32, bias=np.full(6, 1.5))


def test_batch_normalization_momentum_and_freezing() -> None:
    plain = build_model("tiny", (32, 32, 3), 32)
    quick = build_model("tiny", (32, 32, 3), 32, bn_momentum=0.5)
    assert {layer.momentum for layer in batch_normalizations(plain)} == {0.99}
    assert {layer.momentum for layer in batch_normalizations(quick)} == {0.5}
    batch = images((32, 32, 3), 8)
    for model, momentum in ((plain, 0.99), (quick, 0.5)):
        layer = batch_normalizations(model)[-1]
        model(batch, training=True)
        moved = 1 - layer.moving_variance.numpy().mean()
        assert abs(moved) <= (1 - momentum) * 1.01 and moved != 0
    frozen = build_model("tiny", (32, 32, 3), 32, freeze_bn=True)
    frozen(batch, training=True)
    assert all((layer.moving_mean.numpy() == 0).all() for layer in batch_normalizations(frozen))
    assert not any("gamma" in variable.name for variable in frozen.trainable_variables)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_gives_float32_logits(precision: str) -> None:
    keras.utils.set_random_seed(0)
    exact = build_model("tiny", (48, 48, 1), 32)
    with policy_scope(precision):
        model = build_model("tiny", (48, 48, 1), 32)
    model.set_weights(exact.get_weights())
    batch = images((48, 48, 1))
    assert model(batch).dtype == tf.float32
    np.testing.assert_allclose(model(batch), exact(batch), atol=2e-2)


def test_unknown_backbone() -> None:
    with pytest.raises(
        ValueError, match="backbone is 'vgg'; expected tiny, module:function, or .* vgg"
    ):
        build_model("vgg", (32, 32, 3), 32)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b4"])
def test_weights_of_keras_applications(backbone: str, tmp_path: Path) -> None:
    application = APPLICATIONS[backbone]
    donor = application(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "notop.h5"
    donor.save_weights(path)
    model = build_model(backbone, (32, 32, 3), 32, weights=str(path))
    _, body = seen_by_body(model)
    # The first three of Keras's EfficientNet are its Normalization, which is left out here.
    kept = donor.get_weights()[3 if backbone == "efficientnet_b4" else 0 :]
    loaded = body.get_weights()
    assert len(kept) == len(loaded)
    for expected, found in zip(kept, loaded, strict=True):
        np.testing.assert_array_equal(expected, found)

    other = "efficientnet_b4" if backbone == "resnet50" else "resnet50"
    with pytest.raises(InputError, match=rf"notop.h5: not weights of this {other}"):
        build_model(other, (32, 32, 3), 32, weights=str(path))


def test_weights_of_another_run(tmp_path: Path) -> None:
    donor = build_model("tiny", (32, 32, 3), 32)
    path = tmp_path / "best.weights.h5"
    donor.save_weights(path)
    renamed = path.rename(tmp_path / "renamed.h5")
    model = build_model("tiny", (32, 32, 3), 32, weights=str(renamed))
    for expected, found in zip(donor.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, found)
    with pytest.raises(InputError, match=r"renamed\.h5: not weights of this resnet50"):
        build_model("resnet50", (32, 32, 3), 32, weights=str(renamed))


def test_a_file_that_is_no_weights_file(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    path.write_text("no weights")
    with pytest.raises(InputError, match=r"text\.h5: not weights of this tiny"):
        build_model("tiny", (32, 32, 3), 32, weights=str(path))
    with pytest.raises(InputError, match=r"none\.h5: no such file"):
        build_model("tiny", (32, 32, 3), 32, weights=str(tmp_path / "none.h5"))


def test_imagenet_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def no_network(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"ImageNet weights of resnet50.*--weights=none"):
        build_model("resnet50", (32, 32, 3), 32, weights="imagenet")
    assert time.monotonic() - start < 30
    assert socket.getdefaulttimeout() is None


def test_imagenet_loads_what_keras_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loading code, with the download's file replaced by one made here."""
    application = keras.applications.ResNet50
    donor = application(include_top=False, weights=None, input_shape=(32, 32, 3))

    @functools.wraps(application)
    def fake(include_top, weights, input_shape):
        assert not include_top
        return (
            donor
            if weights == "imagenet"
            else application(include_top=False, weights=None, input_shape=input_shape)
        )

    monkeypatch.setattr(keras.applications, "ResNet50", fake)
    model = build_model("resnet50", (32, 32, 3), 32, weights="imagenet")
    _, body = seen_by_body(model)
    for expected, found in zip(donor.get_weights(), body.get_weights(), strict=True):
        np.testing.assert_array_equal(expected, found)


def test_weights_of_no_number_of_slices_are_refused_in_one_sentence(tmp_path: Path) -> None:
    shared = build_model("tiny", (32, 32, 3), 32, neighbours=3, neighbour_stem="shared")
    shared.save_weights(str(tmp_path / "shared.weights.h5"))
    with pytest.raises(InputError, match="and neighbour_stem, and as many") as caught:
        build_model(
            "tiny", (32, 32, 3), 32, neighbours=5, weights=str(tmp_path / "shared.weights.h5")
        )
    assert str(caught.value).count("not weights of this tiny") == 1
