"""A decoder leaves the classifier as it is, and marks pixels of the image's size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ich_tf.errors import InputError
from ich_tf.metrics import sigmoid
from ich_tf.models.heat_maps import METHODS, HeatMaps
from ich_tf.models.label_smoothing import undo_label_smoothing
from ich_tf.models.prior_shift import undo_prior_shift
from ich_tf.models.saved import save_best
from ich_tf.models.segmentation import Upsample, classifier, segmenter
from ich_tf.models.slice_model import batch_normalizations, build_model, with_features
from ich_tf.models.spec import ModelSpec
from ich_tf.runtime.keras2 import keras
from tests.support.marks import slow
from tests.support.networks import WINDOWS, slices

NETWORKS = [
    ("tiny", 32, {"label_smoothing": 0.1, "negatives_kept": 0.5}),
    # 9, 5 and 3 places on the way up to 36.
    ("tiny", 36, {"neighbours": 3, "neighbour_stem": "shared"}),
    slow("resnet50", 72, {}),
    slow("efficientnet_b4", 64, {"neighbours": 3}),
    # No padding: sizes that doubling does not meet.
    slow("inception_v3", 110, {}),
]


@pytest.mark.parametrize(("backbone", "size", "options"), NETWORKS)
def test_logits_are_those_of_a_classifier(backbone: str, size: int, options: Any) -> None:
    # Of the random networks one in many marks a class more than the others.
    keras.utils.set_random_seed(2)
    spec = ModelSpec(backbone, (size, size, 3), size, WINDOWS, segmentation=True, **options)
    model = spec.build()
    images = np.random.default_rng(0).integers(
        0, 256, (2, size, size, 3 * spec.neighbours), np.uint8
    )
    logits, masks = model(images)
    assert masks.shape == (2, size, size, 6) and masks.dtype == np.float32
    where = masks.numpy() - logits.numpy()[:, None, None, :]
    np.testing.assert_allclose(sigmoid(where).mean((0, 1, 2)), 0.1, atol=0.05)
    alone = classifier(model)
    plain = build_model(backbone, (size, size, 3), size, **options)
    plain.set_weights(alone.get_weights())
    np.testing.assert_array_equal(alone(images), plain(images))
    np.testing.assert_array_equal(logits, plain(images))
    np.testing.assert_array_equal(segmenter(model)(images), masks)


@pytest.mark.parametrize("options", [{"label_smoothing": 0.1, "negatives_kept": 0.5}])
def test_logits_pooled_from_those_of_pixels(options: Any) -> None:
    prior = np.array([0.01, 0.05, 0.03, 0.05, 0.06, 0.14])
    kind = slices("tiny", segmentation=True, pooling="lse", **options)
    assert isinstance(kind.spec, ModelSpec)
    model, images = kind.spec.build(bias=prior), kind.inputs(2)
    logits, masks = model(images)
    np.testing.assert_allclose(sigmoid(masks.numpy()).mean((0, 1, 2)), prior, rtol=0.2)
    r, values = 2.0, masks.numpy().astype(np.float64)
    pooled = np.log(np.exp(r * values).mean((1, 2))) / r
    raw = undo_prior_shift(
        undo_label_smoothing(pooled, kind.spec.label_smoothing), kind.spec.negatives_kept
    )
    np.testing.assert_allclose(logits, raw, atol=1e-5)
    alone = classifier(model)
    np.testing.assert_array_equal(alone(images), logits)
    maps = HeatMaps(alone)
    for method in METHODS:
        assert maps(images, "any", method).shape == (2, 32, 32)
    with pytest.raises(InputError, match="no features of a slice"):
        with_features(alone)
    with pytest.raises(ValueError, match="pooling is 'lse'"):
        build_model("tiny", (32, 32, 3), 32, pooling="lse")


def test_batch_normalization_of_the_decoder_obeys_the_flags() -> None:
    model = build_model("tiny", (32, 32, 3), 32, segmentation=True, bn_momentum=0.5, freeze_bn=True)
    layers = batch_normalizations(model)
    assert len(layers) > 3
    assert all(layer.momentum == 0.5 and not layer.trainable for layer in layers)


@pytest.mark.parametrize(("size", "new_size"), [(2, 4), (2, 3), (2, 5), (3, 3)])
def test_upsampling(size: int, new_size: int) -> None:
    maps = np.arange(size**2, dtype=np.float32).reshape(1, size, size, 1)
    found = Upsample(new_size)(maps).numpy()[0, ..., 0]
    assert found.shape == (new_size, new_size)
    if new_size in (2 * size, 2 * size - 1):
        twice = maps[0, ..., 0].repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(found, twice[:new_size, :new_size])
    # A slope stays one, and keeps its ends.
    assert (np.diff(found, axis=0) >= 0).all() and (np.diff(found, axis=1) >= 0).all()
    assert found[0, 0] == 0 and found[-1, -1] == size**2 - 1


def test_it_starts_from_the_weights_of_a_classifier(tmp_path: Path) -> None:
    """Of its own kind, of as many slices, or of fewer."""
    kinds: dict[str, dict[str, Any]] = {
        "same": {"neighbours": 3, "segmentation": True},
        "classifier": {"neighbours": 3},
        "fewer": {},
    }
    images = slices("tiny", neighbours=3).inputs(2)
    for name, options in kinds.items():
        spec = slices("tiny", **options).spec
        former = spec.build()
        save_best(tmp_path / name, former, spec, epoch=1, val_loss=0.5)
        path = str(tmp_path / name / "best.weights.h5")
        options = {"neighbours": 3, "segmentation": True, "weights": path}
        model = build_model("tiny", (32, 32, 3), 32, **options)
        logits, masks = model(images)
        if name == "same":
            np.testing.assert_array_equal(masks, former(images)[1])
            former = classifier(former)
        seen = images if name != "fewer" else images[..., 3:6]
        np.testing.assert_allclose(logits, former(seen), atol=1e-5)
    with pytest.raises(InputError, match="not weights of this tiny"):
        build_model("tiny", (32, 32, 3), 32, weights=str(tmp_path / "same" / "best.weights.h5"))
