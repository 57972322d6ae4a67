"""Heat maps by their definitions, and how they are measured."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ich_tf.errors import InputError
from ich_tf.evaluation.localization import centre_map, measure
from ich_tf.inference.explainer import Explainer, captioned, normalized, overlay
from ich_tf.inference.postprocessing.calibrators import Calibrator
from ich_tf.inference.postprocessing.postprocessing import Group, Postprocessing
from ich_tf.labels import ANY, CLASSES
from ich_tf.masks.bits import area_mm2, as_stored
from ich_tf.masks.png_masks import Masks
from ich_tf.models.heat_maps import METHODS, HeatMaps
from ich_tf.models.neighbour_weights import take_over
from ich_tf.models.slice_model import build_model
from ich_tf.runtime.keras2 import keras

SHAPE = (48, 48, 3)


def with_head(backbone: str = "tiny", **options):
    keras.utils.set_random_seed(0)
    model = build_model(backbone, SHAPE, 32, **options)
    layer = model.get_layer("logits")
    rng = np.random.default_rng(0)
    layer.kernel.assign(rng.normal(size=layer.kernel.shape).astype(np.float32))
    return model


def body_of(model: keras.Model) -> keras.Model:
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def images(number: int = 3) -> np.ndarray:
    smooth = np.random.default_rng(1).uniform(0, 255, (number, 6, 6, 3)).astype(np.float32)
    return np.stack([cv2.resize(one, SHAPE[:2]) for one in smooth]).astype(np.uint8)


def test_integrated_gradients_sum_to_the_change_of_the_logit() -> None:
    maps, changes = HeatMaps(with_head()).attributions(images(), "subdural")
    assert maps.shape == (3, 1, 32, 32)
    np.testing.assert_allclose(maps.sum(axis=(1, 2, 3)), changes, atol=0.03 * np.abs(changes).max())
    assert (np.abs(changes) > 0.05).any()


def test_gradcam_of_pooled_features_is_the_heads_weights() -> None:
    """With mean pooling and one dense layer, Grad-CAM is CAM: the features times the weights."""
    model = with_head()
    found = HeatMaps(model)(images(), "any", "gradcam")
    body = next(one for one in model.layers if isinstance(one, keras.Model))
    normal = keras.Model(model.input, model.get_layer("normalization").output)
    features = body(normal(images())).numpy()
    weight = model.get_layer("logits").kernel.numpy()[:, ANY]
    cam = np.maximum(features @ weight, 0) / features.shape[1] ** 2
    expected = np.stack([cv2.resize(one, SHAPE[:2]) for one in cam])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("stem", ["middle", "shared"])
def test_a_map_is_of_the_middle_slice_alone(stem: str) -> None:
    """By a network that sees one channel, of each slice in turn."""
    of_one = with_head()
    kernel = body_of(of_one).layers[1].kernel
    kernel.assign(kernel * tf.constant([0.0, 1.0, 0.0])[:, None])
    batch = images(2)
    expected = HeatMaps(of_one)(batch, "any")
    model = with_head(neighbours=3, neighbour_stem=stem)
    take_over(of_one, model)
    body = body_of(model)
    selects = body.get_layer("join_slices") if stem == "shared" else body.layers[1]
    middle, channels = selects.kernel.numpy(), selects.kernel.shape[2] // 3
    for seen in range(3):
        selects.kernel.assign(np.roll(middle, channels * (seen - 1), axis=2))
        wide = np.concatenate([batch if i == seen else images(2)[::-1] for i in range(3)], axis=-1)
        maps = HeatMaps(model)
        each, changes = maps.attributions(wide, "any")
        assert each.shape == (2, 3, 32, 32)
        np.testing.assert_allclose(each.sum(axis=(1, 2, 3)), changes, atol=0.03)
        assert [bool(np.abs(each[:, i]).max()) for i in range(3)] == [i == seen for i in range(3)]
        found = maps(wide, "any")
        np.testing.assert_allclose(found, expected if seen == 1 else 0, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_many_are_the_maps_of_each(method: str) -> None:
    maps = HeatMaps(with_head(neighbours=3, negatives_kept=0.5))
    wide = np.concatenate([images(5)] * 3, axis=-1)
    together = maps(wide, "epidural", method)
    assert together.shape == (5, 48, 48) and together.dtype == np.float32
    assert (together >= 0).all()
    for i in range(5):
        np.testing.assert_allclose(
            maps(wide[i : i + 1], "epidural", method)[0], together[i], rtol=1e-3, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_b4"])
def test_every_backbone(backbone: str) -> None:
    maps = HeatMaps(with_head(backbone))
    for method in METHODS:
        assert maps(images(1), "any", method).shape == (1, 48, 48)


def test_stored_hounsfield_units() -> None:
    model = build_model("tiny", (48, 48, 1), 32, hu_windows=("brain", "subdural", "soft"))
    stored = np.random.default_rng(0).integers(16000, 18000, (2, 48, 48, 1)).astype(np.uint16)
    assert HeatMaps(model)(stored, "any").shape == (2, 48, 48)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method is 'magic'"):
        HeatMaps(with_head())(images(1), "any", "magic")


def test_pointing_and_iou_by_hand() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:4, 2:6] = True
    right = np.zeros((10, 10), np.float32)
    right[2:4, 2:4] = 1.0
    right[2:4, 4:8] = 0.42
    wrong = np.zeros((10, 10), np.float32)
    wrong[9, 9] = 2.0
    found = measure("m", "any", [right, wrong], [mask, mask])
    assert found.pointing == 0.5
    # At 0.4 the first map marks 12 places, 8 of them right; above 0.42 four, all of them right.
    assert found.iou == pytest.approx((8 / 12 + 0) / 2)
    assert found.threshold <= 0.42
    assert measure("m", "any", [np.zeros((10, 10))], [mask]).iou == 0


def test_the_guess_is_the_middle_of_the_head() -> None:
    grey = np.zeros((40, 60), np.uint8)
    cv2.ellipse(grey, (20, 15), (12, 10), 0, 0, 360, 90, -1)
    grey[35:38, 50:58] = 200  # a headrest
    guess = centre_map(grey)
    assert np.unravel_index(guess.argmax(), guess.shape) == (15, 20)
    assert guess.min() == 0 and guess.max() == 1
    empty = centre_map(np.zeros((11, 11), np.uint8))
    assert np.unravel_index(empty.argmax(), empty.shape) == (5, 5)


def test_masks_are_read_by_bit_and_any_is_all(tmp_path: Path) -> None:
    bits = np.zeros((20, 30), np.uint8)
    bits[2:5, 3:7] = 1 << 2
    bits[10:12, 10:12] = 1 << 4
    cv2.imwrite(str(tmp_path / "ID_a.png"), bits)
    masks = Masks(tmp_path)
    found = masks.read("ID_a")
    assert found is not None and found.shape == (len(CLASSES), 20, 30)
    assert found.sum(axis=(1, 2)).tolist() == [0, 0, 12, 0, 4, 16]
    assert area_mm2(found[2], (0.5, 2.0)) == 12
    assert masks.read("ID_b") is None
    with pytest.raises(InputError, match="no such folder of masks"):
        Masks(tmp_path / "none")
    (tmp_path / "ID_c.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="not a grey 8-bit PNG"):
        masks.read("ID_c")


def test_masks_follow_their_slice_into_the_record() -> None:
    """A mask goes the way of the pixels: cut, padded, resized."""
    from ich_tf.dicom.crop import cut
    from ich_tf.windows import resize_hu

    mask = np.zeros((60, 80), bool)
    mask[20:34, 30:52] = True
    crop = (10, 20, 40, 50)
    hu = np.where(mask, 1000.0, -1000.0).astype(np.float32)
    pixels = resize_hu(cut(hu, crop), 25)
    np.testing.assert_array_equal(as_stored(mask, crop, 25), pixels >= 0)
    tiny = np.zeros((64, 64), bool)
    tiny[40, 41] = True
    small = as_stored(tiny, (), 16)
    assert small.sum() == 1 and small[10, 10]
    assert not as_stored(np.zeros((8, 8), bool), (), 4).any()


def test_an_overlay_leaves_what_is_cold() -> None:
    grey = np.full((4, 4), 100, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 5.0
    found = overlay(grey, normalized(heat))
    assert (found[1:] == 100).all()
    assert (found[0, 0] != 100).any() and found.shape == (4, 4, 3)
    np.testing.assert_array_equal(normalized(np.zeros((2, 2))), np.zeros((2, 2)))


def test_a_caption_names_what_changes_the_probability() -> None:
    def caption(prevalence: bool = False, **options: Any) -> str:
        predictor = SimpleNamespace(members=[], shares=[], postprocessing=Postprocessing(**options))
        return Explainer(predictor).caption(0.306, 0.62, prevalence)  # type: ignore[arg-type]

    alone = "explains the network's own probability 0.31"
    assert caption() == alone
    assert caption(smoothing_mm=5.0) == f"{alone}, before smoothing (0.62)"
    calibrated = (Group(Calibrator(scale=(0.5,) * 6)),)
    assert caption(smoothing_mm=5.0, groups=calibrated, flip=True, prevalence=True) == (
        f"{alone}, before the mean with the mirror image, smoothing, calibration and the change of "
        "prevalence (0.62)"
    )


def test_a_caption_stands_below_the_picture() -> None:
    picture = np.full((60, 80, 3), 7, np.uint8)
    found = captioned(picture, "any: explains the network's own probability 0.31")
    np.testing.assert_array_equal(found[:60], picture)
    assert found.shape[1] == 80 and found[60:].max() > 100
    assert len(captioned(picture, "two " * 30)) > len(found)
