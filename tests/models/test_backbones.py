"""Backbones by name: what is read from keras.applications, and a user's own."""

import importlib
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import ConfigError, UsageError
from ich_tf.inference.calibration import calibrate
from ich_tf.inference.config import CalibrateConfig, ExportConfig
from ich_tf.inference.explainer import Explainer
from ich_tf.inference.export import TOLERANCE, answers_of, expected_answers, export
from ich_tf.inference.series_predictor import load_predictor
from ich_tf.models.applications import normalization_of
from ich_tf.models.architectures import APPLICATIONS, expected_backbones, smallest_size
from ich_tf.models.backbones import build_backbone, feature_width, taps
from ich_tf.models.heat_maps import METHODS
from ich_tf.models.layer_names import FEATURE_LAYER
from ich_tf.models.normalization import NORMALIZATIONS
from ich_tf.models.slice_model import batch_normalizations, build_model
from ich_tf.runtime.keras2 import keras
from ich_tf.runtime.strategies import make_strategy
from ich_tf.training.config import TrainConfig
from ich_tf.training.trainer import train
from tests.support.marks import slow
from tests.support.networks import FAMILIES
from tests.support.runs import smoke_config

# Of the networks of all families: above the smallest that any of them takes.
SIZE = 160


def images(size: int, number: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (number, size, size, 3), np.uint8)


def body_of(model: keras.Model) -> keras.Model:
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def features(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(model.input, model.get_layer(FEATURE_LAYER).output)(batch))


def test_every_network_of_keras_applications_has_a_name() -> None:
    offered = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(APPLICATIONS.values()) == offered
    assert len(APPLICATIONS) == len(offered)
    assert all(name == name.lower() for name in APPLICATIONS)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("ResNet152", "caffe"), ("VGG16", "caffe"), ("ResNet50V2", "tf"), ("MobileNetV2", "tf"),
        ("Xception", "tf"), ("NASNetMobile", "tf"), ("DenseNet201", "torch"),
        ("EfficientNetB4", "torch"), slow("MobileNetV3Small", "tf"), slow("ConvNeXtTiny", "torch"),
        slow("EfficientNetV2B0", "torch"), slow("ResNetRS50", "torch"),
    ],
)  # fmt: skip
def test_normalization_is_that_of_the_source(name: str, mode: str) -> None:
    assert normalization_of(name) == NORMALIZATIONS[mode]


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_modes_are_those_of_keras_applications(mode: str) -> None:
    module = importlib.import_module(f"{keras.applications.__name__}.imagenet_utils")
    batch = images(8).astype(np.float32)
    expected = module.preprocess_input(batch.copy(), mode=mode)
    np.testing.assert_allclose(NORMALIZATIONS[mode].layer(1)(batch), expected, atol=1e-4)
    wide = NORMALIZATIONS[mode].layer(3)(np.concatenate([batch] * 3, axis=-1))
    np.testing.assert_allclose(wide, np.concatenate([expected] * 3, axis=-1), atol=1e-4)


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> tuple[str, keras.Model]:
    """A family's smallest network, built once for the tests that ask for it: name and model."""
    return request.param, build_model(request.param, (SIZE, SIZE, 3), SIZE)


@pytest.mark.slow
def test_it_computes_what_keras_applications_does(family: tuple[str, keras.Model]) -> None:
    name, model = family
    application = getattr(keras.applications, APPLICATIONS[name])
    body = body_of(model)
    for layer in batch_normalizations(model):
        if layer.scale:
            layer.gamma.assign(
                tf.ones_like(layer.gamma)
            )  # else each block of ResNet is the identity
    kinds = {type(layer).__name__ for layer in model._flatten_layers()}
    assert not kinds & {"Normalization", "Dropout", "GlobalAveragePooling2D"}
    plain = application(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    batch = images(SIZE)
    inputs = sys.modules[application.__module__].preprocess_input(batch.astype(np.float32))  # type: ignore[attr-defined]
    weights = body.get_weights()
    if name.startswith("efficientnet_b"):
        # Mean, variance and count of its Normalization, which come with ImageNet's weights.
        mean, stddev = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
        weights = [mean, stddev**2, np.int64(0), *weights]
    plain.set_weights(weights)
    # Not its own pooling: ConvNeXt's would normalize the mean, not the maps.
    expected = plain(inputs).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(
        features(model, batch), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )
    assert expected.shape[1] == feature_width(name)


@pytest.mark.slow
def test_every_family_has_taps(family: tuple[str, keras.Model]) -> None:
    body = body_of(family[1])
    found = taps(body)
    assert set(found) <= {2, 4, 8, 16, 32} and {8, 16, 32} <= set(found)
    assert found[32] == body.layers[-1].name
    for scale, layer in found.items():
        # Convolutions without padding take a margin.
        assert 0.5 < body.get_layer(layer).output_shape[1] * scale / SIZE <= 1


def test_taps_are_the_last_layers_of_each_scale() -> None:
    found = taps(build_backbone("mobilenet_v2", 96, 3).body)
    assert list(found) == [2, 4, 8, 16, 32]
    assert found[4] == "block_3_expand_relu" and found[32] == "out_relu"


def test_too_small_images_and_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_size is 64; it must be 75 or more with --back"):
        TrainConfig(backbone="inception_v3", image_size=64)
    with pytest.raises(ValueError, match="image_size is 64; xception needs 71"):
        build_model("xception", (64, 64, 3), 64)
    with pytest.raises(ConfigError, match=r"backbone is 'resnet_50'; it must be .*resnet50"):
        TrainConfig(backbone="resnet_50")
    with pytest.raises(ConfigError, match="which has no ImageNet weights"):
        TrainConfig(backbone="my_networks:small", weights="imagenet")
    assert "bigru" in expected_backbones("x", "bigru")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inception_v3", "inception_resnet_v2", "xception", "vgg16"])
def test_smallest_sizes_are_keras_s(name: str) -> None:
    application = getattr(keras.applications, APPLICATIONS[name])
    smaller = smallest_size(name) - 1
    with pytest.raises(ValueError, match="Input size must be at least"):
        application(include_top=False, weights=None, input_shape=(smaller, smaller, 3))


OWN = """
from ich_tf.models.own_backbones import backbone
from ich_tf.runtime.keras2 import keras
layers = keras.layers

@backbone(normalization="torch")
def small(size, channels):
    images = keras.Input((size, size, channels))
    maps = layers.Dropout(0.1)(layers.Conv2D(8, 3, strides=4)(images))
    return keras.Model(images, maps)

def unmarked(size, channels):
    raise AssertionError("a file that names it must not call it")

@backbone
def pooled(size, channels):
    images = keras.Input((size, size, channels))
    return keras.Model(images, layers.GlobalAveragePooling2D()(images))

@backbone
def of_one_slice(size, channels):
    images = keras.Input((size, size, 1))
    return keras.Model(images, layers.Conv2D(8, 3)(images))

@backbone
def nothing(size, channels):
    pass

@backbone
def failing(size, channels):
    raise ZeroDivisionError("no such size")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_networks_of_a_test", raising=False)
    return "own_networks_of_a_test"


def test_a_network_of_ones_own(own: str) -> None:
    name = f"{own}:small"
    model = build_model(name, (32, 32, 3), 32, neighbours=3, neighbour_stem="shared")
    assert model(np.concatenate([images(32)] * 3, axis=-1)).shape == (2, 6)
    assert feature_width(name) == 8
    assert model.get_layer("normalization").scale[:3] == list(NORMALIZATIONS["torch"].scale)
    assert "SeededDropout" in {type(layer).__name__ for layer in model._flatten_layers()}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("unmarked", "is not marked as a backbone. Put @backbone"),
        ("pooled", r"its output has the shape \(None, 3\); expected a functional Keras model"),
        ("of_one_slice", r"its input has the shape \(None, 32, 32, 1\)"),
        ("nothing", "it returned NoneType"),
        ("failing", "failed with ZeroDivisionError: no such size"),
        ("missing", "has no missing"),
    ],
)
def test_what_is_no_backbone_is_said(own: str, function: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--backbone={own}:{function}: .*{message}"):
        build_model(f"{own}:{function}", (32, 32, 3), 32)


@pytest.mark.parametrize(
    ("before", "after", "stem", "windows"),
    [
        (1, 3, "middle", 1),
        slow(1, 5, "middle", 3),
        (1, 3, "shared", 3),
        slow(3, 5, "middle", 3),
        slow(3, 5, "shared", 1),
    ],
)
def test_weights_of_fewer_slices_see_the_middle_ones_alone(
    before: int, after: int, stem: str, windows: int, tmp_path: Path
) -> None:
    shape, stems = (32, 32, windows), {"neighbour_stem": stem}
    narrow = build_model("tiny", shape, 32, neighbours=before, **(stems if before > 1 else {}))
    for variable in narrow.weights:
        variable.assign(tf.random.stateless_uniform(variable.shape, [1, 2], 0.1, 1))
    narrow.save_weights(tmp_path / "best.weights.h5")
    wide = build_model(
        "tiny", shape, 32, neighbours=after, weights=str(tmp_path / "best.weights.h5"), **stems
    )
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 256, (2, 32, 32, windows * after), np.uint8)
    first = windows * (after - before) // 2
    middle = stack[..., first : first + windows * before]
    np.testing.assert_allclose(wide(stack), narrow(middle), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    ["mobilenet_v3_small", "densenet121", "convnext_tiny", "efficientnet_v2_b0", "regnet_x002"],
)
def test_it_trains_calibrates_explains_and_exports(
    backbone: str, data_dir: Path, tmp_path: Path
) -> None:
    work_dir = tmp_path / "run"
    options = {"backbone": backbone, "image_size": 32, "epochs": 1, "max_steps_per_epoch": 1}
    result = train(smoke_config(data_dir, work_dir, self_check=False, **options))
    assert np.isfinite(result.best_val_loss)
    calibrate(CalibrateConfig(data_dir=str(data_dir), work_dir=str(work_dir), smoothing_mm=5.0))
    predictor = load_predictor(work_dir, make_strategy("one"))
    explainer = Explainer(predictor)
    batch = images(64)
    for method in METHODS:
        heat = explainer(batch, "any", method)
        assert heat.shape == (2, 64, 64) and np.isfinite(heat).all()
    assert explainer(batch, "any").max() > 0
    folder = export(ExportConfig(work_dir=str(work_dir)))
    hu = np.random.default_rng(0).integers(-50, 120, (3, 64, 64)).astype(np.float32)
    z_mm = np.array([0, 5, 10], np.float32)
    found = answers_of(folder, hu, z_mm)["probabilities"]
    expected = expected_answers(predictor, hu, z_mm, 0.0)["probabilities"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_decorator_knows_the_modes() -> None:
    from ich_tf.models.own_backbones import backbone

    with pytest.raises(ValueError, match="normalization is 'imagenet'; expected one of caffe"):
        backbone(normalization="imagenet")
    assert inspect.signature(backbone).parameters["normalization"].default == "tf"
